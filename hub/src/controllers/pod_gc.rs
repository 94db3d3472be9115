//! The pod garbage collector: removes pods whose node is gone, pods that were never bound and are to go, and the oldest
//! ended pods beyond a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::reconcile::view::{self, Pod, later};
use crate::reconcile::{Controller, Memo, Plan, PlannedWrite};
use crate::store::{Event, EventKind, Key, Object, Snapshot};

/// How long a node must be missing before its pods go (Kubernetes' quarantine): it may be about to be registered anew.
const QUARANTINE_SECONDS: i64 = 40;

/// Ended pods that are kept: kube-controller-manager's `--terminated-pod-gc-threshold`.
pub const DEFAULT_ENDED: usize = 12_500;

/// The pod garbage collector. One key, since it weighs all pods against each other.
#[derive(Debug)]
pub struct PodGc {
    pods: Arc<Memo<Pod>>,
    max_ended: usize,
    missing_since: Mutex<HashMap<Box<str>, Timestamp>>,
}

impl PodGc {
    /// Keeps at most `max_ended` ended pods.
    pub fn new(pods: Arc<Memo<Pod>>, max_ended: usize) -> Self {
        Self { pods, max_ended, missing_since: Mutex::default() }
    }

    /// Since when a node has been missing, and from now on if it has just been missed.
    fn missing_since(&self, node: &str, now: Timestamp) -> Timestamp {
        let mut missing = self.missing_since.lock().unwrap_or_else(PoisonError::into_inner);
        *missing.entry(node.into()).or_insert(now)
    }

    fn forget_nodes_that_are_back(&self, snapshot: &Snapshot) {
        let mut missing = self.missing_since.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|node, _| !exists(snapshot, node));
    }
}

fn exists(snapshot: &Snapshot, node: &str) -> bool {
    snapshot.get(&view::key("nodes", "", node)).is_some()
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        let matters = match event.kind {
            EventKind::Deleted => &*key.resource == "nodes",
            EventKind::Added => &*key.resource == "pods" && self.is_lost(&event.object, snapshot),
            EventKind::Modified => false,
        };
        if matters { self.all(snapshot) } else { Vec::new() }
    }

    fn all(&self, _snapshot: &Snapshot) -> Vec<Key> {
        vec![view::key("pods", "", "")]
    }

    fn reconcile(&self, _key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        self.forget_nodes_that_are_back(snapshot);
        let mut plan = Plan::nothing();
        let mut ended = Vec::new();
        for object in snapshot.list(&"pods".into(), None) {
            let Some(pod) = self.pods.get(object) else { continue };
            if pod.node.is_empty() {
                if pod.deleting {
                    plan.writes.push(delete(object));
                }
            } else if !exists(snapshot, &pod.node) {
                let at = later(self.missing_since(&pod.node, now), QUARANTINE_SECONDS);
                if at <= now {
                    plan.writes.push(delete(object));
                } else {
                    plan.requeue(at);
                }
                continue;
            }
            if pod.phase.is_terminal() && !pod.deleting {
                ended.push((pod.created, object));
            }
        }
        let surplus = ended.len().saturating_sub(self.max_ended);
        ended.sort_by_key(|(created, _)| *created);
        plan.writes.extend(ended.into_iter().take(surplus).map(|(_, object)| delete(object)));
        if !plan.writes.is_empty() {
            plan.why = format!("{} pods without a node or beyond the bound", plan.writes.len());
        }
        plan
    }
}

impl PodGc {
    fn is_lost(&self, object: &Arc<Object>, snapshot: &Snapshot) -> bool {
        self.pods.get(object).is_some_and(|p| !p.node.is_empty() && !exists(snapshot, &p.node))
    }
}

/// Removes a pod at once: there is no node to stop it.
fn delete(pod: &Object) -> PlannedWrite {
    PlannedWrite::Delete {
        key: pod.key.clone(),
        uid: pod.meta.uid.to_string(),
        grace_seconds: Some(0),
        propagation: None,
        event: None,
    }
}
