//! The ReplicaSet controller: keeps the wanted number of pods.

mod ranking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::claim::{Claim, Owning};
use crate::reconcile::events::seconds;
use crate::reconcile::view::{self, Pod, Selector, label, nullable};
use crate::reconcile::{Controller, EventDraft, Memo, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Resource, Snapshot};
use ranking::{Candidate, deletion_order};

/// Most pods created or deleted for one ReplicaSet in one pass (Kubernetes' `BurstReplicas`).
const BURST: usize = 500;

/// The ReplicaSet controller.
#[derive(Debug)]
pub struct ReplicaSets {
    pods: Arc<Memo<Pod>>,
    sets: Memo<ReplicaSet>,
    resource: Resource,
    pod_resource: Resource,
}

impl ReplicaSets {
    /// With the parsed pods that the controllers share.
    pub fn new(pods: Arc<Memo<Pod>>) -> Self {
        Self { pods, sets: Memo::new(2048), resource: "replicasets.apps".into(), pod_resource: "pods".into() }
    }
}

#[derive(Debug, Default, Deserialize)]
struct ReplicaSet {
    #[serde(default)]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<usize>,
    #[serde(deserialize_with = "nullable")]
    min_ready_seconds: i64,
    #[serde(deserialize_with = "nullable")]
    selector: Selector,
    #[serde(deserialize_with = "nullable")]
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    #[serde(deserialize_with = "nullable")]
    metadata: TemplateMetadata,
    spec: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    finalizers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    replicas: usize,
    fully_labeled_replicas: usize,
    ready_replicas: usize,
    available_replicas: usize,
    observed_generation: i64,
    conditions: Value,
}

/// A pod of the set.
struct Replica<'a> {
    object: &'a Object,
    pod: Arc<Pod>,
}

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let object = &event.object;
        if object.key.resource == self.resource {
            return vec![object.key.clone()];
        }
        if object.key.resource != self.pod_resource {
            return Vec::new();
        }
        let owners: Vec<Key> =
            [Some(object), event.previous.as_ref()].into_iter().flatten().filter_map(|o| self.owner(o)).collect();
        if owners.is_empty() { self.adopters(object, snapshot) } else { owners }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.resource, None).map(|o| o.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(object) = snapshot.get(key) else { return Plan::nothing() };
        let Some(set) = self.sets.get(object) else { return Plan::nothing() };
        let Some(selector) = set.spec.selector.label_selector().filter(|s| !s.is_empty()) else {
            return Plan::nothing();
        };
        let owning = Owning { api_version: "apps/v1", kind: "ReplicaSet", object };
        let mut plan = Plan::nothing();
        let mut replicas = Vec::new();
        for candidate in snapshot.list(&self.pod_resource, Some(&key.namespace)) {
            let claim = owning.claim(&selector, candidate);
            if claim == Claim::Foreign {
                continue;
            }
            let Some(pod) = self.pods.get(candidate).filter(|p| p.is_active()) else { continue };
            match claim {
                Claim::Release => plan.writes.push(owning.release(candidate)),
                Claim::Adopt => plan.writes.push(owning.adopt(candidate)),
                Claim::Owned | Claim::Foreign => {}
            }
            if claim != Claim::Release {
                replicas.push(Replica { object: candidate, pod });
            }
        }
        let pass = Pass { object, set: &set, snapshot, pods: &self.pods, owning, now };
        if !object.meta.deleting && !namespace_is_going(snapshot, key) {
            pass.manage(&replicas, &mut plan);
        }
        pass.report(&replicas, &mut plan);
        plan
    }
}

impl ReplicaSets {
    fn owner(&self, pod: &Object) -> Option<Key> {
        let owner = pod.controller().filter(|o| &*o.kind == "ReplicaSet" && o.api_version.starts_with("apps/"))?;
        Some(Key { resource: self.resource.clone(), namespace: pod.key.namespace.clone(), name: (&*owner.name).into() })
    }

    /// The sets that may adopt an orphan.
    fn adopters(&self, pod: &Object, snapshot: &Snapshot) -> Vec<Key> {
        if pod.controller().is_some() {
            return Vec::new();
        }
        let matches = |o: &&Arc<Object>| {
            let selector = self.sets.get(o).and_then(|s| s.spec.selector.label_selector());
            selector.is_some_and(|s| !s.is_empty() && view::selects(&s, pod))
        };
        snapshot.list(&self.resource, Some(&pod.key.namespace)).filter(matches).map(|o| o.key.clone()).collect()
    }
}

/// Whether the namespace of a key is being deleted: nothing can be created in it any more.
pub(super) fn namespace_is_going(snapshot: &Snapshot, key: &Key) -> bool {
    snapshot.get(&view::key("namespaces", "", &key.namespace)).is_some_and(|n| n.meta.deleting)
}

/// One reconciliation.
struct Pass<'a> {
    object: &'a Arc<Object>,
    set: &'a ReplicaSet,
    snapshot: &'a Snapshot,
    pods: &'a Memo<Pod>,
    owning: Owning<'a>,
    now: Timestamp,
}

impl Pass<'_> {
    fn wanted(&self) -> usize {
        self.set.spec.replicas.unwrap_or(1)
    }

    fn manage(&self, replicas: &[Replica<'_>], plan: &mut Plan) {
        let (have, wanted) = (replicas.len(), self.wanted());
        if have < wanted {
            let missing = (wanted - have).min(BURST);
            plan.writes.extend((0..missing).map(|_| self.create()));
            plan.why = format!("{have} of {wanted} pods, create {missing}");
        } else if have > wanted {
            let surplus = (have - wanted).min(BURST);
            plan.writes.extend(self.surplus(replicas, surplus).into_iter().map(|r| self.delete(r)));
            plan.why = format!("{have} pods for {wanted}, delete {surplus}");
        }
        if !plan.why.is_empty() {
            plan.on_failure = Some(Box::new(self.failure(if have < wanted { "FailedCreate" } else { "FailedDelete" })));
        }
    }

    fn create(&self) -> PlannedWrite {
        let template = &self.set.spec.template;
        let mut metadata = json!({
            "generateName": format!("{}-", self.object.key.name),
            "namespace": &*self.object.key.namespace,
            "labels": template.metadata.labels,
            "ownerReferences": [self.owning.reference()],
        });
        if !template.metadata.annotations.is_empty() {
            metadata["annotations"] = json!(template.metadata.annotations);
        }
        if !template.metadata.finalizers.is_empty() {
            metadata["finalizers"] = json!(template.metadata.finalizers);
        }
        PlannedWrite::Create {
            object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}),
            tolerate_exists: false,
            event: Some(self.event(false, "SuccessfulCreate", "Created pod: {name}".to_owned())),
            failed: Some(self.event(true, "FailedCreate", "Error creating: {error}".to_owned())),
        }
    }

    fn delete(&self, replica: &Replica<'_>) -> PlannedWrite {
        PlannedWrite::Delete {
            key: replica.object.key.clone(),
            uid: replica.object.meta.uid.to_string(),
            grace_seconds: None,
            propagation: None,
            event: Some(self.event(false, "SuccessfulDelete", format!("Deleted pod: {}", replica.object.key.name))),
        }
    }

    fn surplus<'r, 'o>(&self, replicas: &'r [Replica<'o>], count: usize) -> Vec<&'r Replica<'o>> {
        let crowd = self.crowd();
        let mut ranked: Vec<(Candidate<'r>, &'r Replica<'o>)> = replicas
            .iter()
            .map(|r| (Candidate { pod: &r.pod, colocated: crowd.get(&r.pod.node).copied().unwrap_or(0) }, r))
            .collect();
        ranked.sort_by(|(a, _), (b, _)| deletion_order(a, b, self.now));
        ranked.into_iter().take(count).map(|(_, r)| r).collect()
    }

    /// Active pods by node, of this set and of its siblings (sets of the same Deployment).
    fn crowd(&self) -> HashMap<Box<str>, usize> {
        let own = self.object.controller().map(|o| &o.uid);
        let sibling = |o: &&Arc<Object>| {
            o.meta.uid == self.object.meta.uid || (own.is_some() && o.controller().map(|c| &c.uid) == own)
        };
        let sets = self.snapshot.list(&self.object.key.resource, Some(&self.object.key.namespace));
        let uids: Vec<&str> = sets.filter(sibling).map(|o| &*o.meta.uid).collect();
        let mut crowd = HashMap::new();
        for object in self.snapshot.list(&"pods".into(), Some(&self.object.key.namespace)) {
            if object.controller().is_some_and(|c| uids.contains(&&*c.uid))
                && let Some(pod) = self.pods.get(object).filter(|p| p.is_active())
            {
                *crowd.entry(pod.node.clone()).or_default() += 1;
            }
        }
        crowd
    }

    fn report(&self, replicas: &[Replica<'_>], plan: &mut Plan) {
        let min_ready = self.set.spec.min_ready_seconds;
        let labels = &self.set.spec.template.metadata.labels;
        let count = |test: &dyn Fn(&Replica<'_>) -> bool| replicas.iter().filter(|r| test(r)).count();
        let managed = plan.on_failure.is_some();
        let status = Status {
            replicas: replicas.len(),
            fully_labeled_replicas: count(&|r| labels.iter().all(|(k, v)| label(r.object, k) == Some(v))),
            ready_replicas: count(&|r| r.pod.ready_since.is_some()),
            available_replicas: count(&|r| r.pod.is_available(min_ready, self.now)),
            observed_generation: self.object.meta.generation,
            // A failure stays until a pass has nothing left to do.
            conditions: if managed { self.set.status.conditions.clone() } else { self.without_failure() },
        };
        let waiting = replicas.iter().filter_map(|r| r.pod.available_at(min_ready)).filter(|at| *at > self.now).min();
        if let Some(at) = waiting {
            plan.requeue(at);
        }
        if status != self.set.status {
            plan.writes.push(self.patch_status(&status));
        }
    }

    fn without_failure(&self) -> Value {
        match self.set.status.conditions.as_array() {
            Some(list) if list.iter().any(|c| c["type"] == "ReplicaFailure") => {
                list.iter().filter(|c| c["type"] != "ReplicaFailure").cloned().collect()
            }
            Some(_) | None => self.set.status.conditions.clone(),
        }
    }

    /// Counts of zero are left out, as Kubernetes does, except `replicas`.
    fn patch_status(&self, status: &Status) -> PlannedWrite {
        let count = |n: usize| if n == 0 { Value::Null } else { json!(n) };
        let conditions = status.conditions.as_array().is_some_and(|c| !c.is_empty());
        PlannedWrite::Patch {
            key: self.object.key.clone(),
            subresource: "status",
            patch: json!({"metadata": self.as_seen(), "status": {
                "replicas": status.replicas,
                "fullyLabeledReplicas": count(status.fully_labeled_replicas),
                "readyReplicas": count(status.ready_replicas),
                "availableReplicas": count(status.available_replicas),
                "observedGeneration": status.observed_generation,
                "conditions": if conditions { status.conditions.clone() } else { Value::Null },
            }}),
        }
    }

    /// Makes a patch one of the set that this pass saw: what others wrote into its lists since is kept.
    fn as_seen(&self) -> Value {
        json!({"uid": &*self.object.meta.uid, "resourceVersion": self.object.revision.to_string()})
    }

    fn failure(&self, reason: &str) -> PlannedWrite {
        let mut conditions = self.without_failure().as_array().cloned().unwrap_or_default();
        let old = self.set.status.conditions.as_array().and_then(|l| l.iter().find(|c| c["type"] == "ReplicaFailure"));
        let since = old.map_or_else(|| json!(seconds(self.now)), |c| c["lastTransitionTime"].clone());
        conditions.push(json!({
            "type": "ReplicaFailure", "status": "True", "reason": reason, "message": "{error}", "lastTransitionTime": since,
        }));
        PlannedWrite::Patch {
            key: self.object.key.clone(),
            subresource: "status",
            patch: json!({"metadata": self.as_seen(), "status": {
                "observedGeneration": self.object.meta.generation, "conditions": conditions,
            }}),
        }
    }

    fn event(&self, warning: bool, reason: &'static str, message: String) -> EventDraft {
        EventDraft { about: self.object.key.clone(), uid: self.object.meta.uid.to_string(), warning, reason, message }
    }
}
