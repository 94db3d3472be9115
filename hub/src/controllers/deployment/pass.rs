//! One reconciliation of a Deployment: finds its ReplicaSets, tracks what changes, and turns that into a plan.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::{DESIRED, Deployment, MAX, REVISION, REVISION_HISTORY, Set, Status};
use super::template::{self, HASH_LABEL};
use crate::controllers::claim::Owning;
use crate::reconcile::view::{Condition, Pod};
use crate::reconcile::{EventDraft, Memo, Plan, PlannedWrite};
use crate::store::{Object, Snapshot};

/// Annotations of a Deployment that say something about itself only.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// Longest revision history kept on a set (Kubernetes' limit).
const MAX_HISTORY: usize = 2000;

/// One reconciliation.
pub(super) struct Pass<'a> {
    pub(super) object: &'a Object,
    pub(super) deployment: &'a Deployment,
    pub(super) snapshot: &'a Snapshot,
    pub(super) pods: &'a Memo<Pod>,
    pub(super) now: Timestamp,
    /// The sets that are ours, oldest first.
    pub(super) sets: Vec<Set>,
    /// The set of the current template.
    pub(super) new: Option<usize>,
    /// Sets to delete.
    pub(super) delete: Vec<usize>,
    /// The status to write.
    pub(super) status: Status,
    /// The revision to note on the Deployment.
    pub(super) revision: Option<String>,
    /// The set to create.
    pub(super) create: Option<Value>,
    pub(super) events: Vec<EventDraft>,
}

impl Pass<'_> {
    /// The sets of other templates, oldest first.
    pub(super) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|i| Some(*i) != self.new).collect()
    }

    /// Finds the set of the current template, and gives it the newest revision and the Deployment's annotations.
    pub(super) fn adopt_new(&mut self) {
        let template = &self.deployment.spec.template;
        self.new = self.sets.iter().position(|s| s.stored.template() == &**template && s.object.is_some());
        let Some(new) = self.new else { return };
        let revision = self.next_revision();
        self.annotate(new, revision);
        self.sets[new].min_ready_seconds = self.deployment.spec.min_ready_seconds;
        self.revision = self.sets[new].annotations.get(REVISION).cloned();
        if self.deployment.progress_deadline().is_some() && self.condition("Progressing").is_none() {
            let message = format!("Found new replica set {:?}", self.sets[new].name);
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    /// Like [`Pass::adopt_new`], and plans the set where there is none.
    pub(super) fn ensure_new(&mut self) {
        self.adopt_new();
        if self.new.is_some() || self.create.is_some() {
            return;
        }
        let collisions = self.status.collision_count.unwrap_or(0);
        let hash = template::hash(&self.deployment.spec.template, collisions);
        let name = format!("{}-{hash}", self.object.key.name);
        let mut key = self.object.key.clone();
        (key.resource, key.name) = ("replicasets.apps".into(), name.as_str().into());
        if self.snapshot.get(&key).is_some() {
            // Another template has this hash: count up, and try again with another name.
            self.status.collision_count = Some(collisions + 1);
            return;
        }
        self.plan_new(&name, &hash);
    }

    fn plan_new(&mut self, name: &str, hash: &str) {
        let revision = self.next_revision();
        let size = self.size_for_new(0);
        self.sets.push(Set::planned(name, self.deployment.spec.min_ready_seconds));
        let new = self.sets.len() - 1;
        self.new = Some(new);
        self.annotate(new, revision);
        self.note_size(new);
        self.sets[new].replicas = size;
        self.revision = self.sets[new].annotations.get(REVISION).cloned();
        if size > 0 {
            self.event("ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {size}"));
        }
        if self.deployment.progress_deadline().is_some() {
            self.set_condition(
                "Progressing",
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set {name:?}"),
            );
        }
        self.create = Some(self.new_set(&self.sets[new], hash));
    }

    fn next_revision(&self) -> i64 {
        self.old().into_iter().map(|i| self.sets[i].revision()).max().unwrap_or(0) + 1
    }

    /// Copies the Deployment's annotations to the set and raises its revision.
    fn annotate(&mut self, set: usize, revision: i64) {
        let set = &mut self.sets[set];
        for (name, value) in &self.deployment.metadata.annotations {
            if !OWN_ANNOTATIONS.contains(&name.as_str()) {
                set.annotate(name, value.clone());
            }
        }
        let before = set.annotations.get(REVISION).cloned();
        if set.revision() >= revision {
            return;
        }
        set.annotate(REVISION, revision.to_string());
        if let Some(before) = before {
            let history = set.annotations.get(REVISION_HISTORY).filter(|h| !h.is_empty());
            let mut history = history.map_or_else(|| before.clone(), |h| format!("{h},{before}"));
            while history.len() > MAX_HISTORY
                && let Some((_, rest)) = history.split_once(',')
            {
                history = rest.to_owned();
            }
            set.annotate(REVISION_HISTORY, history);
        }
    }

    /// Scales a set and says so; whether that changed its size.
    pub(super) fn scale(&mut self, set: usize, size: i64) -> bool {
        let (name, before) = (self.sets[set].name.clone(), self.sets[set].replicas);
        if before == size {
            return false;
        }
        self.sets[set].replicas = size;
        self.note_size(set);
        let direction = if before < size { "up" } else { "down" };
        self.event("ScalingReplicaSet", format!("Scaled {direction} replica set {name} from {before} to {size}"));
        true
    }

    /// Whether pods of other templates still run (or are still on their way out).
    pub(super) fn old_pods_run(&self) -> bool {
        if self.old().into_iter().any(|i| self.sets[i].stored.counts().0 > 0) {
            return true;
        }
        let old: Vec<&str> =
            self.old().into_iter().filter_map(|i| self.sets[i].object.as_ref()).map(|o| &*o.meta.uid).collect();
        let pods = self.snapshot.list(&"pods".into(), Some(&self.object.key.namespace));
        let of_old = pods.filter(|p| p.controller().is_some_and(|c| old.contains(&&*c.uid)));
        of_old.filter_map(|p| self.pods.get(p)).any(|p| !p.phase.is_terminal())
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    pub(super) fn event(&mut self, reason: &'static str, message: String) {
        self.events.push(self.draft(false, reason, message));
    }

    pub(super) fn draft(&self, warning: bool, reason: &'static str, message: String) -> EventDraft {
        EventDraft { about: self.object.key.clone(), uid: self.object.meta.uid.to_string(), warning, reason, message }
    }

    fn new_set(&self, set: &Set, hash: &str) -> Value {
        let deployment: Value = self.object.parse().unwrap_or_default();
        let mut template = deployment["spec"]["template"].clone();
        template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let owning = Owning { api_version: "apps/v1", kind: "Deployment", object: self.object };
        let mut spec = json!({"replicas": set.replicas, "selector": selector, "template": template});
        if set.min_ready_seconds > 0 {
            spec["minReadySeconds"] = json!(set.min_ready_seconds);
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": &*set.name,
                "namespace": &*self.object.key.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": set.annotations,
                "ownerReferences": [owning.reference()],
            },
            "spec": spec,
        })
    }

    /// The writes that bring about what this pass changed.
    pub(super) fn finish(mut self, mut plan: Plan) -> Plan {
        if let Some(object) = self.create.take() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let message = format!("Failed to create new replica set {name:?}: {{error}}");
            let failed = Some(self.draft(true, "ReplicaSetCreateError", message.clone()));
            plan.on_failure = self.failure(message);
            plan.writes.push(PlannedWrite::Create { object, tolerate_exists: false, event: None, failed });
        }
        plan.writes.extend(self.sets.iter().filter_map(set_patch));
        plan.writes.extend(self.delete.iter().filter_map(|i| self.sets[*i].object.as_ref()).map(delete));
        // Beside the status the revision counts up no generation.
        let mut patch = Map::new();
        let noted = self.deployment.metadata.annotations.get(REVISION);
        if let Some(revision) = self.revision.take().filter(|revision| noted != Some(revision)) {
            patch.insert("metadata".into(), json!({"annotations": {REVISION: revision}}));
        }
        if self.status != self.deployment.status {
            patch.insert("status".into(), self.status.to_value());
        }
        if !patch.is_empty() {
            plan.writes.push(self.patch(patch.into()));
        }
        plan.why = self.events.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("; ");
        plan.events = self.events;
        plan
    }

    /// A patch of the status of the deployment as this pass saw it: what others wrote into its lists since is kept.
    pub(super) fn patch(&self, mut patch: Value) -> PlannedWrite {
        patch["metadata"]["resourceVersion"] = self.object.revision.to_string().into();
        PlannedWrite::Patch { key: self.object.key.clone(), subresource: "status", patch }
    }
}

fn delete(set: &Arc<Object>) -> PlannedWrite {
    PlannedWrite::Delete {
        key: set.key.clone(),
        uid: set.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: None,
    }
}

/// The patch that brings a stored set to what the pass made of it.
fn set_patch(set: &Set) -> Option<PlannedWrite> {
    let object = set.object.as_ref()?;
    let mut patch = Map::new();
    let changed: Map<String, Value> = set
        .annotations
        .iter()
        .filter(|(name, value)| set.stored.annotations().get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if !changed.is_empty() {
        patch.insert("metadata".into(), json!({"annotations": changed}));
    }
    let mut spec = Map::new();
    if set.replicas != set.stored.replicas() {
        spec.insert("replicas".into(), json!(set.replicas));
    }
    if set.min_ready_seconds != set.stored.min_ready_seconds() {
        spec.insert("minReadySeconds".into(), json!(set.min_ready_seconds));
    }
    if !spec.is_empty() {
        patch.insert("spec".into(), Value::Object(spec));
    }
    let patch = Value::Object(patch);
    (patch != json!({})).then(|| PlannedWrite::Patch { key: object.key.clone(), subresource: "", patch })
}
