//! What one node is to know: the pods bound to it and the ConfigMaps and Secrets they refer to. Pure.
//!
//! Only digests are kept; an item is built again from the snapshot when it is to be sent. A change of the store
//! touches single keys, and only those are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::pod::{Extra, Item, ItemKey};
use skiff_shared::wire::Digest;
use skiff_shared::wire::frame::{digest, inventory_digest};

use super::convert;
use crate::store::{Key, Object, Resource, Snapshot};

/// The resource of pods.
pub(super) const PODS: &str = "pods";
/// The resource of ConfigMaps.
pub(super) const CONFIG_MAPS: &str = "configmaps";
/// The resource of Secrets.
pub(super) const SECRETS: &str = "secrets";
/// The resource of Services.
pub(super) const SERVICES: &str = "services";
/// The resource of nodes.
pub(super) const NODES: &str = "nodes";

/// The key of an object.
pub(super) fn key(resource: &str, namespace: &str, name: &str) -> Key {
    Key { resource: resource.into(), namespace: namespace.into(), name: name.into() }
}

/// The node that a stored pod is bound to; empty for none.
pub(super) fn bound_to(object: &Object) -> String {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        node_name: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Bound {
        spec: Spec,
    }
    object.parse::<Bound>().unwrap_or_default().spec.node_name
}

/// Digests of everything a node is to know.
#[derive(Debug)]
pub struct Assignment {
    node: NodeName,
    items: BTreeMap<ItemKey, Digest>,
    pods: BTreeMap<Key, Bound>,
}

#[derive(Debug, PartialEq, Eq)]
struct Bound {
    uid: PodUid,
    /// Sorted. A set would take its first item for eleven.
    references: Box<[ItemKey]>,
}

impl Assignment {
    /// Everything, from scratch.
    pub fn of(node: &NodeName, snapshot: &Snapshot) -> Self {
        let mut all = Self { node: node.clone(), items: BTreeMap::new(), pods: BTreeMap::new() };
        let pods: BTreeSet<Key> = snapshot.list(&Resource::from(PODS), None).map(|o| o.key.clone()).collect();
        all.update(&pods, snapshot);
        all
    }

    /// The digest of it all, to compare with an agent's.
    pub fn digest(&self) -> Digest {
        inventory_digest(self.items.iter().map(|(k, d)| (k, *d)))
    }

    /// The items with their digests.
    pub fn items(&self) -> &BTreeMap<ItemKey, Digest> {
        &self.items
    }

    /// The key of the pod of this uid, where it is bound to this node.
    pub fn pod_key(&self, uid: &PodUid) -> Option<&Key> {
        self.pods.iter().find(|(_, bound)| bound.uid == *uid).map(|(key, _)| key)
    }

    /// The ConfigMaps and Secrets that the node's pods refer to, existing or not.
    pub fn references(&self) -> impl Iterator<Item = &ItemKey> {
        self.pods.values().flat_map(|p| &p.references)
    }

    /// Looks again at these objects (pods, ConfigMaps, Secrets, Services; others are passed over).
    pub fn update(&mut self, touched: &BTreeSet<Key>, snapshot: &Snapshot) {
        let mut data: BTreeSet<ItemKey> = touched.iter().filter_map(item_key).collect();
        // Pods have variables of the Services of their namespace.
        let served: BTreeSet<&str> =
            touched.iter().filter(|k| &*k.resource == SERVICES).map(|k| &*k.namespace).collect();
        let beside: Vec<Key> = self.pods.keys().filter(|k| served.contains(&*k.namespace)).cloned().collect();
        for key in touched.iter().filter(|k| &*k.resource == PODS).chain(&beside) {
            data.extend(self.update_pod(key, snapshot));
        }
        for item in data {
            let wanted = self.pods.values().any(|p| p.references.contains(&item));
            match wanted.then(|| build_data(&item, snapshot)).flatten() {
                Some(built) => self.items.insert(item, digest(&built)),
                None => self.items.remove(&item),
            };
        }
    }

    /// Looks again at one pod; returns what it refers or referred to where that changed.
    fn update_pod(&mut self, key: &Key, snapshot: &Snapshot) -> BTreeSet<ItemKey> {
        let built = snapshot.get(key).and_then(|o| self.build_pod(o, snapshot));
        let bound = built
            .as_ref()
            .map(|((uid, _), references)| Bound { uid: uid.clone(), references: references.iter().cloned().collect() });
        let old = self.pods.remove(key);
        let same = old == bound;
        if let Some(old) = &old {
            self.items.remove(&ItemKey::Pod(old.uid.clone()));
        }
        if let Some(((uid, item), _)) = built {
            self.items.insert(ItemKey::Pod(uid), digest(&item));
        }
        let mut changed = BTreeSet::new();
        if !same {
            changed.extend(old.into_iter().flat_map(|b| b.references));
            changed.extend(bound.iter().flat_map(|b| b.references.iter().cloned()));
        }
        if let Some(bound) = bound {
            self.pods.insert(key.clone(), bound);
        }
        changed
    }

    fn build_pod(&self, object: &Arc<Object>, snapshot: &Snapshot) -> Option<((PodUid, Item), BTreeSet<ItemKey>)> {
        if bound_to(object) != self.node.as_str() {
            return None;
        }
        let stored = object.parse::<core::Pod>().ok()?;
        let mut pod = convert::pod(&stored).ok()?;
        let links = stored.spec.and_then(|spec| spec.enable_service_links).unwrap_or(true);
        pod.extras.extend(service_env(&pod.namespace, links, snapshot));
        let references = convert::references(&pod);
        Some(((pod.uid.clone(), Item::Pod(pod)), references))
    }

    /// What an agent that has `has` still needs: items to send, data before the pods that refer to it, and keys to remove.
    pub fn missing(&self, has: &BTreeMap<ItemKey, Digest>, snapshot: &Snapshot) -> (Vec<Item>, Vec<ItemKey>) {
        let differs = |key: &ItemKey| self.items.get(key).is_some_and(|d| has.get(key) != Some(d));
        let data = self.items.keys().filter(|k| differs(k)).filter_map(|k| build_data(k, snapshot));
        let pods = self
            .pods
            .iter()
            .filter(|(_, bound)| differs(&ItemKey::Pod(bound.uid.clone())))
            .filter_map(|(key, _)| self.build_pod(snapshot.get(key)?, snapshot))
            .map(|((_, item), _)| item);
        let removals = has.keys().filter(|k| !self.items.contains_key(k)).cloned().collect();
        (data.chain(pods).collect(), removals)
    }
}

/// The variables of the API's own Service and, by `links`, of those of the pod's namespace.
fn service_env(namespace: &str, links: bool, snapshot: &Snapshot) -> Option<Extra> {
    // The API's Service is made with the cluster and keeps its address: pods elsewhere are not told anew of it.
    let api = snapshot.get(&key(SERVICES, "default", "kubernetes"));
    let own = snapshot.list(&Resource::from(SERVICES), Some(namespace)).filter(|_| links);
    convert::service_env::extra(api.into_iter().chain(own).filter_map(|service| service.parse().ok()))
}

fn item_key(key: &Key) -> Option<ItemKey> {
    let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
    match &*key.resource {
        CONFIG_MAPS => Some(ItemKey::ConfigMap { namespace, name }),
        SECRETS => Some(ItemKey::Secret { namespace, name }),
        _ => None,
    }
}

fn build_data(item: &ItemKey, snapshot: &Snapshot) -> Option<Item> {
    match item {
        ItemKey::Pod(_) => None,
        ItemKey::ConfigMap { namespace, name } => {
            let object = snapshot.get(&key(CONFIG_MAPS, namespace, name))?;
            Some(Item::ConfigMap(convert::config_map(&object.parse().ok()?)))
        }
        ItemKey::Secret { namespace, name } => {
            let object = snapshot.get(&key(SECRETS, namespace, name))?;
            Some(Item::Secret(convert::secret(&object.parse().ok()?)))
        }
    }
}

#[cfg(test)]
mod tests;
