//! The EndpointSlice controller: the pods of each Service with a selector, in slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::pack::{Conditions, Content, Endpoint, MANAGED_BY, SERVICE_NAME, Set, existing};
use super::sources::Sources;
use super::view::{Backend, Port, Service};
use super::{labels, reference};
use crate::controllers::claim::Owning;
use crate::controllers::replicaset::namespace_is_going;
use crate::reconcile::view::label;
use crate::reconcile::{Controller, Plan};
use crate::store::{Event, Key, Object, Resource, Snapshot};

const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Most endpoints of a slice: kube-controller-manager's `--max-endpoints-per-slice`.
const MOST: usize = 100;

/// The EndpointSlice controller. Slices of a Service that is gone are garbage of their owner.
#[derive(Debug)]
pub struct Slices {
    sources: Sources,
    resource: Resource,
}

impl Slices {
    pub(super) fn new(sources: Sources) -> Self {
        Self { sources, resource: "endpointslices.discovery.k8s.io".into() }
    }

    /// The endpoints of a Service, those with the same ports together. One that has none has an empty group.
    fn groups(&self, object: &Object, service: &Service, snapshot: &Snapshot) -> Vec<Content> {
        let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
        let pods = service.selector.as_ref().map(|s| self.sources.pods(&object.key, s, snapshot));
        for (pod, backend) in pods.into_iter().flatten() {
            let Some(ip) = backend.ip.filter(|_| !backend.ended) else { continue };
            let endpoint = self.endpoint(ip.to_string(), object, service, pod, &backend, snapshot);
            groups.entry(backend.ports(service)).or_default().push(endpoint);
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        let content = |(ports, endpoints)| Content { address_type: "IPv4".to_owned(), ports, endpoints };
        groups.into_iter().map(content).collect()
    }

    fn endpoint(
        &self,
        ip: String,
        object: &Object,
        service: &Service,
        pod: &Object,
        backend: &Backend,
        snapshot: &Snapshot,
    ) -> Endpoint {
        let ready = service.publish_not_ready || (backend.ready && !backend.deleting);
        Endpoint {
            addresses: vec![ip],
            conditions: Conditions {
                ready: Some(ready),
                serving: Some(backend.ready),
                terminating: Some(backend.deleting),
            },
            hostname: backend.hostname_in(&object.key.name).map(str::to_owned),
            target_ref: Some(reference(pod)),
            node_name: Some(backend.node.to_string()).filter(|n| !n.is_empty()),
            zone: self.sources.zone(&backend.node, snapshot).map(str::to_owned),
        }
    }
}

impl Controller for Slices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let object = &event.object;
        if object.key.resource != self.resource {
            return self.sources.changed(event, snapshot);
        }
        // Someone else's change is put right.
        let changed: [Option<&Arc<Object>>; 2] = [Some(object), event.previous.as_ref()];
        let ours = changed.into_iter().flatten().filter(|o| label(o, MANAGED_BY) == Some(MANAGER));
        let services =
            ours.filter_map(|o| label(o, SERVICE_NAME)).map(|name| self.sources.key(&object.key.namespace, name));
        services.filter(|service| snapshot.get(service).is_some()).collect()
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        self.sources.all(snapshot)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let Some(object) = snapshot.get(key).filter(|o| !o.meta.deleting) else { return Plan::nothing() };
        let Some(service) = self.sources.service(object).filter(|s| s.selector.is_some() && !s.external) else {
            return Plan::nothing();
        };
        if namespace_is_going(snapshot, key) {
            return Plan::nothing();
        }
        let owner = Owning { api_version: "v1", kind: "Service", object }.reference();
        let set = Set {
            namespace: &key.namespace,
            service: &key.name,
            manager: MANAGER,
            labels: labels(object, service.headless, &[SERVICE_NAME, MANAGED_BY]),
            annotations: BTreeMap::new(),
            owner,
        };
        let slices = existing(snapshot, &key.namespace, &key.name, MANAGER);
        set.plan(&slices, self.groups(object, &service, snapshot), MOST)
    }
}
