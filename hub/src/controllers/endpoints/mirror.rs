//! Mirrors Endpoints that users write for Services without a selector into slices, for clients that read only those.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::pack::{self, Conditions, Content, Endpoint, MANAGED_BY, SERVICE_NAME, Set, existing};
use super::view::{Port, Service};
use super::{HEADLESS, OVER_CAPACITY};
use crate::controllers::claim::Owning;
use crate::controllers::replicaset::namespace_is_going;
use crate::reconcile::view::{label, nullable};
use crate::reconcile::{Controller, Plan};
use crate::store::{Event, Key, Object, Resource, Snapshot};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Tells that Endpoints are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most addresses of a subset that are mirrored, and so of a slice.
const MOST: usize = 1000;

/// The mirroring controller. Its keys are Endpoints.
#[derive(Debug)]
pub struct Mirroring {
    endpoints: Resource,
    services: Resource,
    slices: Resource,
}

impl Default for Mirroring {
    fn default() -> Self {
        Self {
            endpoints: "endpoints".into(),
            services: "services".into(),
            slices: "endpointslices.discovery.k8s.io".into(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    metadata: Metadata,
    #[serde(deserialize_with = "nullable")]
    subsets: Vec<Subset>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subset {
    #[serde(deserialize_with = "nullable")]
    addresses: Vec<Address>,
    #[serde(deserialize_with = "nullable")]
    not_ready_addresses: Vec<Address>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    ip: String,
    hostname: Option<String>,
    node_name: Option<String>,
    target_ref: Option<Value>,
}

impl Address {
    fn endpoint(self, ready: bool) -> Endpoint {
        Endpoint {
            addresses: vec![self.ip],
            conditions: Conditions { ready: Some(ready), ..Conditions::default() },
            hostname: self.hostname.filter(|h| !h.is_empty()),
            target_ref: self.target_ref,
            node_name: self.node_name,
            zone: None,
        }
    }
}

/// Endpoints with the same ports and family together.
fn groups(subsets: Vec<Subset>) -> Vec<Content> {
    let mut groups: BTreeMap<(String, Vec<Port>), Vec<Endpoint>> = BTreeMap::new();
    for subset in subsets {
        let ready = subset.addresses.into_iter().map(|a| (a, true));
        let not_ready = subset.not_ready_addresses.into_iter().map(|a| (a, false));
        for (address, ready) in ready.chain(not_ready).take(MOST) {
            let family = if address.ip.contains(':') { "IPv6" } else { "IPv4" };
            groups.entry((family.to_owned(), subset.ports.clone())).or_default().push(address.endpoint(ready));
        }
    }
    let content = |((address_type, ports), endpoints)| Content { address_type, ports, endpoints };
    groups.into_iter().map(content).collect()
}

impl Mirroring {
    fn key(&self, of: &Key, name: &str) -> Key {
        Key { resource: self.endpoints.clone(), namespace: of.namespace.clone(), name: name.into() }
    }

    /// The Endpoints of a key, if they are to be mirrored.
    fn mirrored<'s>(&self, key: &Key, snapshot: &'s Snapshot) -> Option<(&'s Arc<Object>, Endpoints)> {
        let object = snapshot.get(key).filter(|e| !e.meta.deleting && label(e, SKIP) != Some("true"))?;
        let service = snapshot.get(&Key { resource: self.services.clone(), ..key.clone() })?;
        let by_hand = service.parse::<Service>().is_ok_and(|s| s.selector.is_none());
        let endpoints: Endpoints = object.parse().ok()?;
        (by_hand && !endpoints.metadata.annotations.contains_key(LEADER)).then_some((object, endpoints))
    }
}

impl Controller for Mirroring {
    fn name(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        let object = &event.object;
        let key = &object.key;
        if key.resource == self.endpoints || key.resource == self.services {
            return vec![self.key(key, &key.name)];
        }
        if key.resource != self.slices || label(object, MANAGED_BY) != Some(MANAGER) {
            return Vec::new();
        }
        label(object, SERVICE_NAME).map(|name| self.key(key, name)).into_iter().collect()
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        let mut keys: Vec<Key> = snapshot.list(&self.endpoints, None).map(|o| o.key.clone()).collect();
        let slices = snapshot.list(&self.slices, None).filter(|s| label(s, MANAGED_BY) == Some(MANAGER));
        keys.extend(slices.filter_map(|s| label(s, SERVICE_NAME).map(|name| self.key(&s.key, name))));
        keys
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let slices = existing(snapshot, &key.namespace, &key.name, MANAGER);
        let Some((object, endpoints)) = self.mirrored(key, snapshot) else { return pack::remove(&slices) };
        if namespace_is_going(snapshot, key) {
            return Plan::nothing();
        }
        let own = object.meta.labels.iter().filter(|(k, _)| !matches!(&**k, SERVICE_NAME | MANAGED_BY | HEADLESS));
        let mut annotations = endpoints.metadata.annotations;
        annotations.retain(|name, _| name != LAST_APPLIED && name != OVER_CAPACITY);
        let set = Set {
            namespace: &key.namespace,
            service: &key.name,
            manager: MANAGER,
            labels: own.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            annotations,
            owner: Owning { api_version: "v1", kind: "Endpoints", object }.reference(),
        };
        set.plan(&slices, groups(endpoints.subsets), MOST)
    }
}
