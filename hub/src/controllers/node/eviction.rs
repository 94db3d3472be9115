//! Taint-based eviction: pods leave a node with `NoExecute` taints once they no longer tolerate them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::taints::{NOT_READY, UNREACHABLE};
use super::view::{Node, Taint};
use crate::reconcile::view::{Pod, Toleration, later, nullable};
use crate::reconcile::{Controller, EventDraft, Memo, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Resource, Snapshot};

/// How long a pod without a toleration of its own stays on a node that is not ready or unreachable: what Kubernetes'
/// `DefaultTolerationSeconds` admission gives every pod.
const DEFAULT_SECONDS: i64 = 300;

/// The taint eviction controller, by node.
#[derive(Debug)]
pub struct TaintEviction {
    started: Timestamp,
    pods: Arc<Memo<Pod>>,
    nodes: Memo<Node>,
    resource: Resource,
}

impl TaintEviction {
    /// `started` is when this hub started: time in which it was away counts against no pod.
    pub fn new(started: Timestamp, pods: Arc<Memo<Pod>>) -> Self {
        Self { started, pods, nodes: Memo::new(2000), resource: "nodes".into() }
    }

    /// The node of a pod that has just come to it, if pods are evicted there.
    fn node_of(&self, event: &Event, snapshot: &Snapshot) -> Option<Key> {
        let pod = self.pods.get(&event.object).filter(|p| !p.node.is_empty())?;
        let key = Key { resource: self.resource.clone(), namespace: "".into(), name: (&*pod.node).into() };
        let node = self.nodes.get(snapshot.get(&key)?)?;
        node.evicting().next().is_some().then_some(key)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tolerating {
    #[serde(deserialize_with = "nullable")]
    spec: TolerationSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TolerationSpec {
    #[serde(deserialize_with = "nullable")]
    tolerations: Vec<Toleration>,
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        if key.resource == self.resource {
            return vec![key.clone()];
        }
        if &*key.resource == "pods" { self.node_of(event, snapshot).into_iter().collect() } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.resource, None).map(|n| n.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = snapshot.get(key).and_then(|o| self.nodes.get(o)) else { return plan };
        if node.evicting().next().is_none() {
            return plan;
        }
        for object in snapshot.list(&"pods".into(), None) {
            let here = |p: &Arc<Pod>| *p.node == *key.name && p.is_active();
            if self.pods.get(object).filter(here).is_none() {
                continue;
            }
            match self.leaves_at(object, &node) {
                Some(at) if at <= now => plan.writes.push(evict(object)),
                Some(at) => plan.requeue(at),
                None => {}
            }
        }
        if !plan.writes.is_empty() {
            plan.why = format!("{} pods do not tolerate the node's taints", plan.writes.len());
        }
        plan
    }
}

impl TaintEviction {
    /// When a pod has to leave; `None` if it tolerates all taints for ever.
    fn leaves_at(&self, object: &Object, node: &Node) -> Option<Timestamp> {
        let pod: Tolerating = object.parse().unwrap_or_default();
        let stays = |taint: &Taint| stay(&pod.spec.tolerations, taint).map(|s| later(self.since(taint), s));
        node.evicting().filter_map(stays).min()
    }

    fn since(&self, taint: &Taint) -> Timestamp {
        taint.time_added.map_or(self.started, |at| at.max(self.started))
    }
}

/// For how many seconds a pod tolerates a taint; `None` for ever.
fn stay(tolerations: &[Toleration], taint: &Taint) -> Option<i64> {
    let mut matching = tolerations.iter().filter(|t| t.tolerates(&taint.key, &taint.value, &taint.effect)).peekable();
    if matching.peek().is_none() {
        let default = if [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) { DEFAULT_SECONDS } else { 0 };
        return Some(default);
    }
    matching.filter_map(|t| t.toleration_seconds).min().map(|s| s.max(0))
}

fn evict(pod: &Object) -> PlannedWrite {
    let message = format!("Marking for deletion Pod {}/{}", pod.key.namespace, pod.key.name);
    PlannedWrite::Delete {
        key: pod.key.clone(),
        uid: pod.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: Some(EventDraft {
            about: pod.key.clone(),
            uid: pod.meta.uid.to_string(),
            warning: false,
            reason: "TaintManagerEviction",
            message,
        }),
    }
}
