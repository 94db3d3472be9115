//! Which pods are behind which Services, kept up to date by changes, so that a change of one pod costs its Services and
//! not the world.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_shared::selector::LabelSelector;

use super::view::{Backend, Service};
use crate::reconcile::Memo;
use crate::reconcile::view::{self, selects};
use crate::store::{Event, EventKind, Key, Object, Resource, Snapshot};

/// The pods behind each Service. What is kept only narrows down where to look: every pod is checked against the
/// snapshot before it counts, and one too many does no harm. None is ever missing: a change adds its pod before it marks
/// the Service, and a Service whose selector was not seen before is searched for as a whole.
#[derive(Debug)]
pub(super) struct Sources {
    pods: Arc<Memo<Backend>>,
    services: Memo<Service>,
    members: Mutex<HashMap<Key, Members>>,
    pod_resource: Resource,
    service_resource: Resource,
}

#[derive(Debug, Default)]
struct Members {
    /// The selector that all pods have been searched with.
    searched: Option<LabelSelector>,
    names: BTreeSet<Arc<str>>,
}

impl Sources {
    pub(super) fn new(pods: Arc<Memo<Backend>>) -> Self {
        Self {
            pods,
            services: Memo::new(2048),
            members: Mutex::default(),
            pod_resource: "pods".into(),
            service_resource: "services".into(),
        }
    }

    pub(super) fn service(&self, object: &Object) -> Option<Arc<Service>> {
        self.services.get(object)
    }

    /// The key of a Service.
    pub(super) fn key(&self, namespace: &Arc<str>, name: &str) -> Key {
        Key { resource: self.service_resource.clone(), namespace: namespace.clone(), name: name.into() }
    }

    /// Every Service.
    pub(super) fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.service_resource, None).map(|o| o.key.clone()).collect()
    }

    /// The Services that a change of a pod or of a Service itself is about.
    pub(super) fn changed(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        if key.resource == self.service_resource {
            if event.kind == EventKind::Deleted {
                self.lock().remove(key);
            }
            return vec![key.clone()];
        }
        if key.resource != self.pod_resource {
            return Vec::new();
        }
        let selecting = self.selecting(event, snapshot);
        // The pod is parsed only where someone asks for it.
        if selecting.is_empty() || self.is_irrelevant(event) {
            return Vec::new();
        }
        let mut members = self.lock();
        for (service, is_there) in &selecting {
            let names = &mut members.entry(service.clone()).or_default().names;
            let _ = if *is_there { names.insert(key.name.clone()) } else { names.remove(&key.name) };
        }
        selecting.into_iter().map(|(service, _)| service).collect()
    }

    /// The Services that select a pod, and those that did; and whether they do after the change.
    fn selecting(&self, event: &Event, snapshot: &Snapshot) -> Vec<(Key, bool)> {
        let pod = &event.object;
        let selects_it = |service: &Arc<Object>| {
            let view = self.services.get(service)?;
            let selector = view.selector.as_ref()?;
            let matches = selects(selector, pod);
            let did = event.previous.as_ref().is_some_and(|p| selects(selector, p));
            (matches || did).then(|| (service.key.clone(), matches && event.kind != EventKind::Deleted))
        };
        snapshot.list(&self.service_resource, Some(&pod.key.namespace)).filter_map(selects_it).collect()
    }

    /// Most changes of pods concern nothing that Services show.
    fn is_irrelevant(&self, event: &Event) -> bool {
        let (EventKind::Modified, Some(previous)) = (event.kind, &event.previous) else { return false };
        previous.meta.labels == event.object.meta.labels
            && self.pods.get(&event.object).is_some_and(|new| previous.parse::<Backend>().is_ok_and(|old| old == *new))
    }

    /// The pods that a Service selects, by name.
    pub(super) fn pods<'s>(
        &self,
        key: &Key,
        selector: &LabelSelector,
        snapshot: &'s Snapshot,
    ) -> Vec<(&'s Arc<Object>, Arc<Backend>)> {
        let names: Vec<Arc<str>> = {
            let mut all = self.lock();
            let members = all.entry(key.clone()).or_default();
            if members.searched.as_ref() != Some(selector) {
                let found = snapshot.list(&self.pod_resource, Some(&key.namespace)).filter(|p| selects(selector, p));
                members.names.extend(found.map(|p| p.key.name.clone()));
                members.searched = Some(selector.clone());
            }
            members.names.iter().cloned().collect()
        };
        let pod = |name: Arc<str>| {
            let key = Key { resource: self.pod_resource.clone(), namespace: key.namespace.clone(), name };
            let object = snapshot.get(&key).filter(|pod| selects(selector, pod))?;
            Some((object, self.pods.get(object)?))
        };
        names.into_iter().filter_map(pod).collect()
    }

    /// The zone of a node, by its label.
    pub(super) fn zone<'s>(&self, node: &str, snapshot: &'s Snapshot) -> Option<&'s str> {
        view::label(snapshot.get(&view::key("nodes", "", node))?, "topology.kubernetes.io/zone")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Members>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
