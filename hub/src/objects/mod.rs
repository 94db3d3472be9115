//! The one write path. Every object that anyone writes (API, controllers, scheduler, agents) goes through [`Objects`]:
//! uid, resourceVersion, generation, defaults, validation, admission, finalizers, preconditions and graceful
//! deletion live here and nowhere else.

mod admission;
mod apply;
mod binding;
mod decode;
mod delete;
pub mod error;
pub mod eviction;
mod meta;
mod networks;
mod ownership;
pub mod pod_security;
mod pod_standards;
pub mod quota;
mod strategies;
pub mod subresource;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

pub use crate::auth::User;
pub use admission::storage::{CLAIM_PROTECTION, VOLUME_PROTECTION};
pub use apply::{Applied, Configuration};
pub use decode::yaml_errors;
pub use error::Error;
pub use meta::new_uid;
pub use networks::Networks;
pub use pod_security::PodSecurity;
pub use strategies::created_by_update;

use crate::auth::Authorizer;
use crate::registry::{Kind, Registry};
use crate::store::{Object, Snapshot, Store};

/// What a write is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kind.
    pub kind: Arc<Kind>,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name; empty for a create whose body names the object (or has `generateName`).
    pub name: String,
    /// `status`, `scale`, `binding`, `eviction`, `finalize`; empty for the object itself.
    pub subresource: String,
}

/// Options of a write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Who writes.
    pub user: User,
    /// `dryRun=All`: everything but the commit.
    pub dry_run: bool,
    /// `fieldManager`.
    pub field_manager: String,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
    /// What the body's parser found beside its value.
    pub source: Source,
    /// Takes what the audit log is to know of the write.
    pub audit: AuditAnnotations,
}

/// What a body was made from, for the strict check of its fields.
#[derive(Debug, Clone)]
pub enum Source {
    /// A value: the parser found nothing, or these complaints, which come before those about the value.
    Value(Vec<String>),
    /// A JSON document, and whether it has fields twice. The order in which fields are told is that of the document.
    Json(Bytes, bool),
    /// A YAML document with these keys twice (`line 5: key "x" already set in map`).
    Yaml(Vec<String>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Value(Vec::new())
    }
}

/// Annotations of a request's audit event, by key. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct AuditAnnotations(Arc<Mutex<BTreeMap<String, String>>>);

impl AuditAnnotations {
    /// Sets one.
    pub fn set(&self, key: String, value: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    /// All that have been set.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What to do about unknown and duplicate fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them in silence.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    #[default]
    Warn,
    /// Refuse the request (400).
    Strict,
}

/// Options of a delete (`meta/v1.DeleteOptions`).
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_period_seconds: Option<i64>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// `propagationPolicy`.
    pub propagation: Option<Propagation>,
    /// The deprecated `orphanDependents`, which `propagation` follows.
    pub orphan_dependents: Option<bool>,
    /// `dryRun`.
    pub dry_run: bool,
    /// Who deletes.
    pub user: User,
}

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents keep living, without the owner reference.
    Orphan,
    /// The object goes at once, dependents follow.
    Background,
    /// Dependents go first.
    Foreground,
}

/// A patch body.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
}

/// A finished write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object as it now is (as it would be, for a dry run; as it last was, for a removal).
    pub object: Arc<Object>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// For a delete: the object is gone (not only marked).
    pub removed: bool,
}

impl Written {
    /// With warnings of the body before its own.
    fn with_warnings(mut self, mut first: Vec<String>) -> Self {
        first.append(&mut self.warnings);
        Self { warnings: first, ..self }
    }
}

/// The write path. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    networks: Arc<Networks>,
    authorizer: Arc<Authorizer>,
    pod_security: Arc<PodSecurity>,
    quotas: Arc<quota::Counter>,
}

impl Objects {
    /// Storage name of namespaces.
    pub const NAMESPACES: &str = "namespaces";
    /// Storage name of pods.
    pub const PODS: &str = "pods";
    /// Storage name of Services.
    pub const SERVICES: &str = "services";

    /// Over a store, a table of kinds and the cluster's networks.
    pub fn new(store: Arc<dyn Store>, registry: Arc<Registry>, networks: Networks) -> Self {
        Self {
            store,
            registry,
            networks: Arc::new(networks),
            authorizer: Arc::default(),
            pod_security: Arc::default(),
            quotas: Arc::default(),
        }
    }

    /// With the cluster's configuration of Pod Security.
    #[must_use]
    pub fn with_pod_security(self, pod_security: PodSecurity) -> Self {
        Self { pod_security: Arc::new(pod_security), ..self }
    }

    /// The table of kinds.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Judges what users may do.
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// The store, for reads and watches.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The stored object that a target names, as it now is.
    pub fn get(&self, target: &Target) -> Option<Arc<Object>> {
        self.store.snapshot().get(&target.key(&target.name)).cloned()
    }

    /// Checks that a body is of the kind that a target takes, and decodes it by its schema, for what is not stored.
    /// Returns warnings.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub fn decode(&self, target: &Target, body: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Error> {
        decode::decode(target, body, decode::Purpose::Create, options)
    }

    /// The newest committed state.
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }
}
