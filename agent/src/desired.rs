//! The desired state of this node: every item by key, with its digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_shared::ids::PodUid;
use skiff_shared::pod::{Data, Item, ItemKey, ObjectRef, Pod};
use skiff_shared::report::{NodeReport, PodReport};
use skiff_shared::wire::Digest;
use skiff_shared::wire::frame::digest;

/// Everything this node is to know. Cheap to clone behind its `Arc`s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The items, each with the digest of its encoding.
    pub items: BTreeMap<ItemKey, (Digest, Arc<Item>)>,
}

/// Everything this node reports, as it now stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reported {
    /// The node's status, once known.
    pub node: Option<Arc<NodeReport>>,
    /// The status of each pod the node knows.
    pub pods: BTreeMap<PodUid, Arc<PodReport>>,
}

impl Desired {
    /// Adds or replaces an item.
    pub fn put(&mut self, item: Item) {
        self.items.insert(item.key(), (digest(&item), Arc::new(item)));
    }

    /// The pod of this uid.
    pub fn pod(&self, uid: &PodUid) -> Option<&Pod> {
        match self.items.get(&ItemKey::Pod(uid.clone())).map(|(_, item)| &**item) {
            Some(Item::Pod(pod)) => Some(pod),
            Some(Item::ConfigMap(_) | Item::Secret(_)) | None => None,
        }
    }

    /// The content of a ConfigMap or Secret.
    pub fn data(&self, namespace: &str, object: &ObjectRef) -> Option<&Data> {
        let namespace = namespace.to_owned();
        let key = match object {
            ObjectRef::ConfigMap(name) => ItemKey::ConfigMap { namespace, name: name.clone() },
            ObjectRef::Secret(name) => ItemKey::Secret { namespace, name: name.clone() },
        };
        match self.items.get(&key).map(|(_, item)| &**item) {
            Some(Item::ConfigMap(data) | Item::Secret(data)) => Some(data),
            Some(Item::Pod(_)) | None => None,
        }
    }
}
