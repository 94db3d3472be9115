//! The Deployment controller: brings pods from one template to the next, through ReplicaSets.

mod arithmetic;
mod model;
mod pass;
mod rollout;
mod status;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::claim::{Claim, Owning};
use crate::reconcile::view::{Pod, selects};
use crate::reconcile::{Controller, Memo, Plan};
use crate::store::{Event, EventKind, Key, Object, Resource, Snapshot};
use model::{Deployment, Set, StoredSet};
use pass::Pass;

/// The Deployment controller.
pub struct Deployments {
    pods: Arc<Memo<Pod>>,
    deployments: Memo<Deployment>,
    sets: Memo<StoredSet>,
    resource: Resource,
    set_resource: Resource,
}

impl fmt::Debug for Deployments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployments").finish_non_exhaustive()
    }
}

impl Deployments {
    /// With the parsed pods that the controllers share.
    pub fn new(pods: Arc<Memo<Pod>>) -> Self {
        Self {
            pods,
            deployments: Memo::new(1024),
            sets: Memo::new(4096),
            resource: "deployments.apps".into(),
            set_resource: "replicasets.apps".into(),
        }
    }

    fn owner(&self, set: &Object) -> Option<Key> {
        let owner = set.controller().filter(|o| &*o.kind == "Deployment" && o.api_version.starts_with("apps/"))?;
        Some(Key { resource: self.resource.clone(), namespace: set.key.namespace.clone(), name: (&*owner.name).into() })
    }

    /// The Deployments that may adopt an orphaned set.
    fn adopters(&self, set: &Object, snapshot: &Snapshot) -> Vec<Key> {
        if set.controller().is_some() {
            return Vec::new();
        }
        let matches = |o: &&Arc<Object>| {
            let selector = self.deployments.get(o).and_then(|d| d.spec.selector.label_selector());
            selector.is_some_and(|s| !s.is_empty() && selects(&s, set))
        };
        snapshot.list(&self.resource, Some(&set.key.namespace)).filter(matches).map(|o| o.key.clone()).collect()
    }

    /// The Deployment that waits for a pod to be gone.
    fn waiting_for(&self, pod: &Object, snapshot: &Snapshot) -> Option<Key> {
        let owner = pod.controller().filter(|o| &*o.kind == "ReplicaSet")?;
        let set = Key {
            resource: self.set_resource.clone(),
            namespace: pod.key.namespace.clone(),
            name: (&*owner.name).into(),
        };
        let key = self.owner(snapshot.get(&set)?)?;
        self.deployments.get(snapshot.get(&key)?)?.recreates().then_some(key)
    }
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let object = &event.object;
        if object.key.resource == self.resource {
            return vec![object.key.clone()];
        }
        if object.key.resource == self.set_resource {
            let states = [Some(object), event.previous.as_ref()];
            let owners: Vec<Key> = states.into_iter().flatten().filter_map(|o| self.owner(o)).collect();
            return if owners.is_empty() { self.adopters(object, snapshot) } else { owners };
        }
        if event.kind == EventKind::Deleted && &*object.key.resource == "pods" {
            return self.waiting_for(object, snapshot).into_iter().collect();
        }
        Vec::new()
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.resource, None).map(|o| o.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(object) = snapshot.get(key) else { return Plan::nothing() };
        let Some(deployment) = self.deployments.get(object) else { return Plan::nothing() };
        let Some(selector) = deployment.spec.selector.label_selector().filter(|s| !s.is_empty()) else {
            return Plan::nothing();
        };
        let owning = Owning { api_version: "apps/v1", kind: "Deployment", object };
        let mut plan = Plan::nothing();
        let mut sets = Vec::new();
        for candidate in snapshot.list(&self.set_resource, Some(&key.namespace)) {
            match owning.claim(&selector, candidate) {
                Claim::Foreign => continue,
                Claim::Release => {
                    plan.writes.push(owning.release(candidate));
                    continue;
                }
                Claim::Adopt => plan.writes.push(owning.adopt(candidate)),
                Claim::Owned => {}
            }
            sets.extend(self.sets.get(candidate).map(|stored| Set::stored(candidate, stored)));
        }
        sets.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
        let mut pass = Pass {
            object,
            deployment: &deployment,
            snapshot,
            pods: &self.pods,
            now,
            sets,
            new: None,
            delete: Vec::new(),
            status: deployment.status.clone(),
            revision: None,
            create: None,
            events: Vec::new(),
        };
        if let Some(at) = step(&mut pass) {
            plan.requeue(at);
        }
        pass.finish(plan)
    }
}

/// What to do next; when to look again although nothing changes.
fn step(pass: &mut Pass<'_>) -> Option<Timestamp> {
    if pass.object.meta.deleting || super::replicaset::namespace_is_going(pass.snapshot, &pass.object.key) {
        pass.adopt_new();
        pass.count();
        return None;
    }
    pass.note_pause();
    if pass.deployment.spec.paused || pass.was_resized() {
        pass.rescale();
        pass.count();
        return None;
    }
    if pass.deployment.recreates() {
        pass.recreate();
    } else {
        pass.roll();
    }
    pass.count();
    pass.judge_progress()
}
