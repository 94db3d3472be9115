//! The node life cycle: a node whose agent is silent past the grace period is unknown, its taints follow its conditions,
//! and its pods are no longer ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::taints;
use super::view::{Node, Taint};
use crate::reconcile::events::seconds;
use crate::reconcile::liveness::Session;
use crate::reconcile::view::{NewCondition, Pod, changed, later, with_condition};
use crate::reconcile::{Controller, EventDraft, Liveness, Memo, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Resource, Snapshot};

/// Conditions that a silent node no longer vouches for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The node life cycle.
#[derive(Debug)]
pub struct NodeLifecycle {
    liveness: Arc<Liveness>,
    grace: SignedDuration,
    pods: Arc<Memo<Pod>>,
    nodes: Memo<Node>,
    resource: Resource,
    /// Uids of the nodes whose registration was announced.
    known: Mutex<HashMap<Key, Box<str>>>,
}

impl NodeLifecycle {
    /// `grace` is how long a node may be without a session before it counts as unknown.
    pub fn new(liveness: Arc<Liveness>, grace: SignedDuration, pods: Arc<Memo<Pod>>) -> Self {
        Self { liveness, grace, pods, nodes: Memo::new(2000), resource: "nodes".into(), known: Mutex::default() }
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        changed(event, &self.resource)
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.resource, None).map(|n| n.key.clone()).collect()
    }

    fn liveness(&self) -> Option<&Arc<Liveness>> {
        Some(&self.liveness)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let object = snapshot.get(key);
        plan.events.extend(self.registration(key, object));
        if !plan.events.is_empty() {
            // Events of a plan whose writes fail are lost, and this one is only given once: the writes come after it.
            plan.requeue(now);
            return plan;
        }
        let Some((object, node)) = object.and_then(|o| Some((o, self.nodes.get(o)?))) else { return plan };
        let silent = self.is_silent(key, now, &mut plan);
        // One write of the node a pass: each is based on the state that this pass saw.
        if let Some(unknown) = silent.then(|| unknown(object, now)).flatten() {
            if node.condition("Ready") == "True" {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                plan.events.push(draft(object, false, "NodeNotReady", message));
            }
            plan.writes.push(unknown);
            plan.why = "silent past the grace period".to_owned();
        } else if let Some(taints) = taints::wanted(&node, now) {
            plan.why = "taints follow conditions".to_owned();
            plan.writes.push(patch(
                object,
                "",
                json!({"taints": taints.iter().map(Taint::to_value).collect::<Vec<_>>()}),
                "spec",
            ));
        }
        if silent || matches!(node.condition("Ready"), "False" | "Unknown") {
            self.mark_pods(&key.name, snapshot, now, &mut plan);
        }
        plan
    }
}

impl NodeLifecycle {
    /// Announces a node that is new, or gone, once.
    fn registration(&self, key: &Key, object: Option<&Arc<Object>>) -> Vec<EventDraft> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = object.map(|o| o.meta.uid.clone());
        if known.get(key) == uid.as_ref() {
            return Vec::new();
        }
        let about = |uid: &str, reason, message| EventDraft {
            about: key.clone(),
            uid: uid.to_owned(),
            warning: false,
            reason,
            message,
        };
        let name = &key.name;
        let mut events = Vec::new();
        if let Some(gone) = known.remove(key) {
            self.liveness_of_gone(object, name);
            events.push(about(
                &gone,
                "RemovingNode",
                format!("Node {name} event: Removing Node {name} from Controller"),
            ));
        }
        if let Some(uid) = uid {
            events.push(about(
                &uid,
                "RegisteredNode",
                format!("Node {name} event: Registered Node {name} in Controller"),
            ));
            known.insert(key.clone(), uid);
        }
        events
    }

    /// A node that was replaced at once keeps its session.
    fn liveness_of_gone(&self, replacement: Option<&Arc<Object>>, name: &str) {
        if replacement.is_none() {
            self.liveness.forget(name);
        }
    }

    /// Whether the node has been without a session for longer than the grace period; plans to look again when it will.
    fn is_silent(&self, key: &Key, now: Timestamp, plan: &mut Plan) -> bool {
        match self.liveness.state(&key.name) {
            Session::Connected => false,
            Session::Lost(since) => {
                let at = later(since, self.grace.as_secs());
                if at > now {
                    plan.requeue(at);
                }
                at <= now
            }
        }
    }

    /// Pods on a node that is not ready are not ready either: no one can tell.
    fn mark_pods(&self, node: &str, snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
        for object in snapshot.list(&"pods".into(), None) {
            let ready = |p: &Arc<Pod>| &*p.node == node && p.ready_since.is_some();
            if self.pods.get(object).filter(ready).is_none() {
                continue;
            }
            let stored: Value = object.parse().unwrap_or_default();
            let mut conditions = stored["status"]["conditions"].clone();
            for condition in conditions.as_array_mut().into_iter().flatten().filter(|c| c["type"] == "Ready") {
                condition["status"] = json!("False");
                condition["lastTransitionTime"] = json!(seconds(now));
            }
            plan.writes.push(patch(object, "status", json!({"conditions": conditions}), "status"));
            plan.events.push(draft(object, true, "NodeNotReady", "Node is not ready".to_owned()));
        }
    }
}

/// The patch that makes everything a node vouched for unknown; `None` if it already is.
fn unknown(object: &Object, now: Timestamp) -> Option<PlannedWrite> {
    let stored: Value = object.parse().unwrap_or_default();
    let mut conditions = stored["status"]["conditions"].clone();
    let mut changed = false;
    for kind in VOUCHED {
        let old = conditions.as_array().and_then(|l| l.iter().find(|c| c["type"] == kind));
        if old.is_some_and(|c| c["status"] == "Unknown") {
            continue;
        }
        let (reason, message) = match old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        if let Some(with) = with_condition(&conditions, NewCondition { kind, status: "Unknown", reason, message }, now)
        {
            conditions = Value::Array(with);
            changed = true;
        }
    }
    changed.then(|| patch(object, "status", json!({"conditions": conditions}), "status"))
}

/// A patch of one part of an object that must still be as this pass saw it.
fn patch(object: &Object, subresource: &'static str, value: Value, part: &str) -> PlannedWrite {
    let mut patch = json!({"metadata": {"uid": &*object.meta.uid, "resourceVersion": object.revision.to_string()}});
    patch[part] = value;
    PlannedWrite::Patch { key: object.key.clone(), subresource, patch }
}

fn draft(object: &Object, warning: bool, reason: &'static str, message: String) -> EventDraft {
    EventDraft { about: object.key.clone(), uid: object.meta.uid.to_string(), warning, reason, message }
}
