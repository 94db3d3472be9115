//! The scheduler: one pass places every waiting pod over one snapshot. A controller like the others, with a single key,
//! so that no two passes decide at once.

pub mod filter;
pub mod message;
pub mod node;
pub mod pod;
pub mod score;
pub mod spread;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::view::{NewCondition, with_condition};
use crate::reconcile::{Controller, EventDraft, Memo, Plan, PlannedWrite, memo};
use crate::store::{Event, EventKind, Key, Object, Resource, Snapshot};
use filter::Refusal;
use node::{Node, Slot};
use pod::{Pending, Pod};
use spread::Domains;

/// Most pods bound in one pass; the next pass follows at once. Bounds how long a pass takes to be written.
const MAX_PER_PASS: usize = 1024;

/// The scheduler.
pub struct Scheduler {
    pods: Memo<Pod>,
    nodes: Memo<Node>,
    pod_resource: Resource,
    node_resource: Resource,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            // Beyond that passes parse more, nothing else.
            pods: Memo::new(memo::PODS),
            nodes: Memo::new(2_000),
            pod_resource: "pods".into(),
            node_resource: "nodes".into(),
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "default-scheduler"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        let resource = &event.object.key.resource;
        let matters = if *resource == self.pod_resource {
            self.pod_matters(event)
        } else {
            *resource == self.node_resource && self.node_matters(event)
        };
        if matters { vec![self.key()] } else { Vec::new() }
    }

    fn all(&self, _snapshot: &Snapshot) -> Vec<Key> {
        vec![self.key()]
    }

    fn reconcile(&self, _key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let (waiting, placed) = self.sort(snapshot);
        let mut plan = Plan::nothing();
        if waiting.is_empty() {
            return plan;
        }
        let mut world = self.world(snapshot, &placed);
        let mut unplaced = Vec::new();
        for (object, pod) in &waiting {
            if plan.writes.len() == MAX_PER_PASS {
                plan.requeue(now);
                break;
            }
            let Some(wish) = &pod.pending else { continue };
            match world.place(object, pod, wish) {
                Ok(node) => plan.writes.push(bind(object, &node)),
                Err(message) => unplaced.push((object, wish, message)),
            }
        }
        for (object, wish, message) in unplaced {
            plan.report_unschedulable(object, wish, &message, now);
        }
        plan.why = format!("{} pods wait on {} nodes", waiting.len(), world.slots.len());
        plan
    }
}

impl Scheduler {
    fn key(&self) -> Key {
        Key { resource: self.pod_resource.clone(), namespace: "".into(), name: "".into() }
    }

    /// A pod that waits, or one that leaves room.
    fn pod_matters(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Added => self.pods.get(&event.object).is_some_and(|p| p.waits_for_us()),
            EventKind::Deleted => {
                self.pods.forget(&event.object.key);
                true
            }
            EventKind::Modified => {
                // The earlier state first, which is known: what is asked for last is kept for the next pass.
                let before = event.previous.as_ref().and_then(|previous| Some((previous, self.pods.get(previous)?)));
                let Some(now) = self.pods.get(&event.object) else { return false };
                let took = before.as_ref().is_some_and(|(_, p)| !p.node.is_empty() && p.takes_room);
                // With thousands that wait, what each is told of its status must not start another pass.
                let waits_as_before = before.is_some_and(|(previous, before)| {
                    previous.meta.labels == event.object.meta.labels && now.waits_as(&before)
                });
                (now.waits_for_us() && !waits_as_before) || (took && !now.takes_room)
            }
        }
    }

    fn node_matters(&self, event: &Event) -> bool {
        let view = |object: &Arc<Object>| self.nodes.get(object);
        event.kind != EventKind::Modified || event.previous.as_ref().and_then(view) != view(&event.object)
    }

    /// The pods to place, the most important first, then the oldest (gated ones only get told so), and those that take
    /// room on a node. All pods are gone through, so this is done once a pass.
    fn sort<'s>(&self, snapshot: &'s Snapshot) -> (Vec<Seen<'s>>, Vec<Seen<'s>>) {
        let (mut waiting, mut placed) = (Vec::new(), Vec::new());
        for object in snapshot.list(&self.pod_resource, None) {
            match self.pods.get(object) {
                Some(pod) if pod.waits_for_us() => waiting.push((object, pod)),
                Some(pod) if pod.takes_room && !pod.node.is_empty() => placed.push((object, pod)),
                Some(_) | None => {}
            }
        }
        waiting.sort_by_key(|(_, p)| (std::cmp::Reverse(p.priority), p.created));
        (waiting, placed)
    }

    fn world<'s>(&self, snapshot: &'s Snapshot, placed: &[Seen<'s>]) -> World<'s> {
        let nodes = snapshot.list(&self.node_resource, None);
        let slots: Vec<Slot> = nodes
            .filter(|n| !n.meta.deleting)
            .filter_map(|n| Some(Slot::new(n.key.name.clone(), self.nodes.get(n)?)))
            .collect();
        let index = slots.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        let mut world = World { slots, index, placed: Vec::new() };
        for (object, pod) in placed {
            world.put(object, pod, &pod.node);
        }
        world
    }
}

/// A stored pod and what the scheduler sees of it.
type Seen<'s> = (&'s Arc<Object>, Arc<Pod>);

/// The nodes and what is on them, while a pass fills them.
struct World<'s> {
    slots: Vec<Slot>,
    index: HashMap<Arc<str>, usize>,
    placed: Vec<(&'s Object, usize)>,
}

impl<'s> World<'s> {
    fn put(&mut self, object: &'s Object, pod: &Pod, node: &str) {
        let Some(i) = self.index.get(node).copied() else { return };
        self.slots[i].take(pod, object.controller().map(|o| &*o.uid));
        self.placed.push((object, i));
    }

    /// The node a pod goes to, or why there is none.
    fn place(&mut self, object: &'s Object, pod: &Pod, wish: &Pending) -> Result<Arc<str>, String> {
        if wish.gated {
            return Err("Scheduling is blocked due to non-empty scheduling gates".to_owned());
        }
        let domains = Domains::count(object, wish, &self.slots, &self.placed);
        let judge = |slot: &Slot| -> Result<(), Refusal> {
            filter::fits(pod, wish, slot)?;
            domains.iter().try_for_each(|d| d.allows(slot))
        };
        let (mut fitting, mut refusals) = (Vec::new(), Vec::new());
        for (i, slot) in self.slots.iter().enumerate() {
            match judge(slot) {
                Ok(()) => fitting.push(i),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let owner = object.controller().map(|o| &*o.uid);
        let best = score::best(pod, wish, owner, &self.slots, &fitting)
            .ok_or_else(|| message::unschedulable(&refusals, wish.never_preempts))?;
        let node = self.slots[best].name.clone();
        self.put(object, pod, &node);
        Ok(node)
    }
}

fn bind(pod: &Object, node: &str) -> PlannedWrite {
    let message = format!("Successfully assigned {}/{} to {node}", pod.key.namespace, pod.key.name);
    PlannedWrite::Bind {
        pod: pod.key.clone(),
        uid: pod.meta.uid.to_string(),
        node: node.to_owned(),
        event: Some(event(pod, false, "Scheduled", message)),
    }
}

fn event(pod: &Object, warning: bool, reason: &'static str, message: String) -> EventDraft {
    EventDraft { about: pod.key.clone(), uid: pod.meta.uid.to_string(), warning, reason, message }
}

impl Plan {
    /// Says on the pod, and with an event unless gated, why it waits; once for the same reason.
    fn report_unschedulable(&mut self, object: &Object, wish: &Pending, message: &str, now: Timestamp) {
        let reason = if wish.gated { "SchedulingGated" } else { "Unschedulable" };
        let told =
            wish.scheduled.as_ref().is_some_and(|c| c.status == "False" && c.reason == reason && c.message == message);
        if told {
            return;
        }
        let stored: Value = object.parse().unwrap_or_default();
        let condition = NewCondition { kind: "PodScheduled", status: "False", reason, message };
        if let Some(conditions) = with_condition(&stored["status"]["conditions"], condition, now) {
            self.writes.push(PlannedWrite::Patch {
                key: object.key.clone(),
                subresource: "status",
                patch: json!({"metadata": {"uid": &*object.meta.uid}, "status": {"conditions": conditions}}),
            });
        }
        if !wish.gated {
            self.events.push(event(object, true, "FailedScheduling", message.to_owned()));
        }
    }
}
