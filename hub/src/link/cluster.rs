//! The narrow view that the link has of objects: read anything, write nodes and statuses, end pods.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use skiff_shared::ids::NodeName;

use crate::objects::{DeleteOptions, Error, Objects, Target, User, WriteOptions};
use crate::pki::{NODE_PREFIX, NODES};
use crate::store::{Key, Store};

/// Under this name Kubernetes knows what a node writes.
const FIELD_MANAGER: &str = "kubelet";

/// Reads and writes that agents cause, in their name.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// For reads and changes.
    fn store(&self) -> &Arc<dyn Store>;

    /// Registers a node.
    async fn create(&self, node: &NodeName, key: &Key, object: Value) -> Result<(), Error>;

    /// Replaces an object or its status, at the resourceVersion that `object` carries.
    async fn update(&self, node: &NodeName, key: &Key, subresource: &str, object: Value) -> Result<(), Error>;

    /// Removes a pod of this uid that has ended on its node.
    async fn remove_pod(&self, node: &NodeName, key: &Key, uid: &str) -> Result<(), Error>;
}

#[async_trait]
impl Cluster for Objects {
    fn store(&self) -> &Arc<dyn Store> {
        Objects::store(self)
    }

    async fn create(&self, node: &NodeName, key: &Key, object: Value) -> Result<(), Error> {
        let options = options(node);
        Objects::create(self, &target(self, key, "")?, object, &options).await.map(|_| ())
    }

    async fn update(&self, node: &NodeName, key: &Key, subresource: &str, object: Value) -> Result<(), Error> {
        let options = options(node);
        Objects::update(self, &target(self, key, subresource)?, object, &options).await.map(|_| ())
    }

    async fn remove_pod(&self, node: &NodeName, key: &Key, uid: &str) -> Result<(), Error> {
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: Some(uid.to_owned()),
            user: user(node),
            ..DeleteOptions::default()
        };
        Objects::delete(self, &target(self, key, "")?, &options).await.map(|_| ())
    }
}

fn options(node: &NodeName) -> WriteOptions {
    WriteOptions { user: user(node), field_manager: FIELD_MANAGER.into(), ..WriteOptions::default() }
}

fn user(node: &NodeName) -> User {
    User { name: format!("{NODE_PREFIX}{node}"), groups: vec![NODES.into()], ..User::default() }
}

fn target(objects: &Objects, key: &Key, subresource: &str) -> Result<Target, Error> {
    let missing = || Error::NotFound { resource: key.resource.to_string(), name: key.name.to_string() };
    Ok(Target {
        kind: objects.registry().resource("", "v1", &key.resource).ok_or_else(missing)?.clone(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        subresource: subresource.to_owned(),
    })
}
