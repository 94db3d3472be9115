//! The Endpoints controller: for each Service with a selector, the addresses of its pods.

mod mirror;
mod pack;
mod slices;
mod sources;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use mirror::Mirroring;
pub use slices::Slices;

use super::replicaset::namespace_is_going;
use crate::reconcile::view::label;
use crate::reconcile::{Controller, Memo, Plan, PlannedWrite, memo};
use crate::store::{Event, EventKind, Key, Object, Resource, Snapshot};
use sources::Sources;
use view::{Backend, Port, Service};

/// Marks a headless Service's endpoints.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Marks Endpoints that this controller writes, since Kubernetes 1.33.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Says that there were more addresses.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses of one Endpoints.
const CAPACITY: usize = 1000;

/// The controllers that follow pods for Services.
pub fn all() -> [Arc<dyn Controller>; 3] {
    // Both need the same of each pod.
    let pods = Arc::new(Memo::new(memo::PODS));
    [
        Arc::new(Endpoints::new(Sources::new(Arc::clone(&pods)))),
        Arc::new(Slices::new(Sources::new(pods))),
        Arc::new(Mirroring::default()),
    ]
}

/// The Endpoints controller.
#[derive(Debug)]
pub struct Endpoints {
    sources: Sources,
    resource: Resource,
}

/// An address and all that is said about it.
struct Address {
    ip: Ipv4Addr,
    uid: Box<str>,
    shown: Value,
    ready: bool,
    ports: BTreeSet<Port>,
}

impl Endpoints {
    fn new(sources: Sources) -> Self {
        Self { sources, resource: "endpoints".into() }
    }

    fn key(&self, service: &Key) -> Key {
        Key { resource: self.resource.clone(), ..service.clone() }
    }

    fn addresses(&self, object: &Object, service: &Service, snapshot: &Snapshot) -> Vec<Address> {
        let Some(selector) = &service.selector else { return Vec::new() };
        let pods = self.sources.pods(&object.key, selector, snapshot);
        let address = |(pod, backend): (&Arc<Object>, Arc<Backend>)| {
            if backend.ended || (backend.deleting && !service.publish_not_ready) {
                return None;
            }
            let ports = backend.ports(service);
            let (ip, bare) = (backend.ip?, service.headless && service.ports.is_empty());
            (!ports.is_empty() || bare).then(|| Address {
                ip,
                uid: pod.meta.uid.clone(),
                shown: shown(ip, pod, &backend, &object.key.name),
                ready: backend.ready || service.publish_not_ready,
                ports: ports.into_iter().collect(),
            })
        };
        pods.into_iter().filter_map(address).collect()
    }
}

fn shown(ip: Ipv4Addr, pod: &Object, backend: &Backend, service: &str) -> Value {
    let mut address = json!({"ip": ip.to_string(), "targetRef": reference(pod)});
    if let Some(hostname) = backend.hostname_in(service) {
        address["hostname"] = hostname.into();
    }
    if !backend.node.is_empty() {
        address["nodeName"] = (*backend.node).into();
    }
    address
}

/// A reference to a pod.
fn reference(pod: &Object) -> Value {
    json!({"kind": "Pod", "namespace": &*pod.key.namespace, "name": &*pod.key.name, "uid": &*pod.meta.uid})
}

/// Addresses with the same ports together, the ready ones apart from the others; at most [`CAPACITY`] in all, for which
/// the ready ones come first. Tells whether some were left out.
fn subsets(mut addresses: Vec<Address>) -> (Vec<Value>, bool) {
    let truncated = addresses.len() > CAPACITY;
    if truncated {
        addresses.sort_by_key(|a| !a.ready);
        addresses.truncate(CAPACITY);
    }
    addresses.sort_by(|a, b| (a.ip, &a.uid).cmp(&(b.ip, &b.uid)));
    let mut groups: BTreeMap<BTreeSet<Port>, [Vec<Value>; 2]> = BTreeMap::new();
    for address in addresses {
        groups.entry(address.ports).or_default()[usize::from(!address.ready)].push(address.shown);
    }
    let subset = |(ports, [ready, not_ready]): (BTreeSet<Port>, [Vec<Value>; 2])| {
        let mut subset = json!({});
        let ports: Vec<Value> = ports.iter().map(port).collect();
        for (field, list) in [("addresses", ready), ("notReadyAddresses", not_ready), ("ports", ports)] {
            if !list.is_empty() {
                subset[field] = list.into();
            }
        }
        subset
    };
    (groups.into_iter().map(subset).collect(), truncated)
}

fn port(port: &Port) -> Value {
    let mut value = json!(port);
    if port.name.is_empty() {
        value.as_object_mut().map(|p| p.remove("name"));
    }
    value
}

/// The labels that endpoints take over from their Service, and whether it is headless.
fn labels(service: &Object, headless: bool, reserved: &[&str]) -> BTreeMap<String, String> {
    let own = service.meta.labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let mut labels: BTreeMap<String, String> =
        own.filter(|(k, _)| k != HEADLESS && !reserved.contains(&k.as_str())).collect();
    if headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        MANAGER
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        if key.resource != self.resource {
            return self.sources.changed(event, snapshot);
        }
        // Someone else's change is put right.
        let service = self.sources.key(&key.namespace, &key.name);
        let exists = snapshot.get(&service).is_some() && event.kind != EventKind::Added;
        if exists { vec![service] } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        let mut keys = self.sources.all(snapshot);
        let left = snapshot.list(&self.resource, None).filter(|e| label(e, MANAGED_BY) == Some(MANAGER));
        let services = left.map(|e| self.sources.key(&e.key.namespace, &e.key.name));
        keys.extend(services.filter(|service| snapshot.get(service).is_none()));
        keys
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let stored = snapshot.get(&self.key(key));
        let Some(object) = snapshot.get(key) else {
            // Endpoints go with their Service, whoever wrote them.
            return stored.map_or_else(Plan::nothing, |e| remove(e));
        };
        let Some(service) = self.sources.service(object).filter(|s| s.selector.is_some() && !s.external) else {
            return Plan::nothing();
        };
        if object.meta.deleting {
            return Plan::nothing();
        }
        let (subsets, truncated) = subsets(self.addresses(object, &service, snapshot));
        let mut labels = labels(object, service.headless, &[]);
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        let content = Content { subsets, truncated, labels };
        match stored {
            None if namespace_is_going(snapshot, key) => Plan::nothing(),
            None => content.create(key),
            Some(stored) => content.update(stored),
        }
    }
}

fn remove(endpoints: &Object) -> Plan {
    let write = PlannedWrite::Delete {
        key: endpoints.key.clone(),
        uid: endpoints.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: None,
    };
    Plan { writes: vec![write], why: format!("the Service {} is gone", endpoints.key.name), ..Plan::nothing() }
}

/// What an Endpoints is to say.
struct Content {
    subsets: Vec<Value>,
    truncated: bool,
    labels: BTreeMap<String, String>,
}

impl Content {
    fn create(self, service: &Key) -> Plan {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"namespace": &*service.namespace, "name": &*service.name},
        });
        let why = format!("{} subsets", self.subsets.len());
        self.put(&mut object);
        let write = PlannedWrite::Create { object, tolerate_exists: false, event: None, failed: None };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }

    fn update(self, stored: &Object) -> Plan {
        let Ok(mut object) = stored.parse::<Value>() else { return Plan::nothing() };
        let before = object.clone();
        let why = format!("{} subsets", self.subsets.len());
        self.put(&mut object);
        if object == before {
            return Plan::nothing();
        }
        let (key, revision) = (stored.key.clone(), stored.revision);
        let write = PlannedWrite::Update { key, revision, subresource: "", object };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }

    fn put(self, object: &mut Value) {
        object["metadata"]["labels"] = json!(self.labels);
        if self.subsets.is_empty() {
            object.as_object_mut().map(|o| o.remove("subsets"));
        } else {
            object["subsets"] = self.subsets.into();
        }
        if self.truncated {
            object["metadata"]["annotations"][OVER_CAPACITY] = "truncated".into();
        } else if let Some(annotations) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(OVER_CAPACITY);
        }
    }
}
