//! The namespace controller: empties a namespace that is being deleted, then lets it go.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::view::{NewCondition, with_condition};
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::registry::Registry;
use crate::store::{Event, EventKind, Key, Object, Resource, Snapshot};

/// Most objects deleted in one pass; the deletions themselves bring the next one.
const MAX_PER_PASS: usize = 500;

const CONTENT: &str = "NamespaceContentRemaining";
const FINALIZERS: &str = "NamespaceFinalizersRemaining";
/// The conditions of a namespace that is being deleted, as they are when nothing is in the way.
const FINE: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (CONTENT, "ContentRemoved", "All content successfully removed"),
    (FINALIZERS, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// The namespace controller.
#[derive(Debug)]
pub struct Namespaces {
    resource: Resource,
    /// Where namespaced objects are kept.
    content: Vec<Resource>,
}

impl Namespaces {
    /// For the namespaced kinds of a registry.
    pub fn new(registry: &Registry) -> Self {
        let mut content: Vec<Resource> =
            registry.kinds().iter().filter(|k| k.namespaced).map(|k| k.storage.clone()).collect();
        content.sort();
        content.dedup();
        Self { resource: "namespaces".into(), content }
    }

    fn namespace_of(&self, key: &Key) -> Key {
        Key { resource: self.resource.clone(), namespace: "".into(), name: key.namespace.clone() }
    }
}

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        if key.resource == self.resource {
            return vec![key.clone()];
        }
        // What goes brings the end nearer; what was created just before the deletion must go too.
        let namespace = self.namespace_of(key);
        let matters = event.kind != EventKind::Modified && snapshot.get(&namespace).is_some_and(|n| n.meta.deleting);
        if matters { vec![namespace] } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&self.resource, None).filter(|n| n.meta.deleting).map(|n| n.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(namespace) = snapshot.get(key).filter(|n| n.meta.deleting) else { return Plan::nothing() };
        let left: Vec<&Arc<Object>> =
            self.content.iter().flat_map(|resource| snapshot.list(resource, Some(&key.name))).collect();
        let mut plan = Plan::nothing();
        if left.is_empty() {
            plan.why = "empty: finalize".to_owned();
            plan.writes.extend(finalize(namespace));
            if plan.writes.is_empty() {
                plan.why = "empty, but others hold it".to_owned();
                plan.writes.extend(report(namespace, &left, now));
            }
            return plan;
        }
        plan.writes = left.iter().filter(|o| !o.meta.deleting).take(MAX_PER_PASS).map(|o| delete(o)).collect();
        if plan.writes.len() == MAX_PER_PASS {
            plan.requeue(now);
        }
        plan.writes.extend(report(namespace, &left, now));
        plan.why = format!("{} objects left, delete {}", left.len(), plan.writes.len());
        plan
    }
}

fn delete(object: &Object) -> PlannedWrite {
    PlannedWrite::Delete {
        key: object.key.clone(),
        uid: object.meta.uid.to_string(),
        grace_seconds: None,
        propagation: Some(crate::objects::Propagation::Background),
        event: None,
    }
}

fn finalize(namespace: &Arc<Object>) -> Option<PlannedWrite> {
    let mut object: Value = namespace.parse().ok()?;
    let finalizers = object["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    let others: Vec<Value> = finalizers.iter().filter(|f| *f != "kubernetes").cloned().collect();
    if others.len() == finalizers.len() {
        return None;
    }
    object["spec"]["finalizers"] = json!(others);
    Some(PlannedWrite::Update {
        key: namespace.key.clone(),
        revision: namespace.revision,
        subresource: "finalize",
        object,
    })
}

/// Says what is left once everything was asked to go.
fn report(namespace: &Arc<Object>, left: &[&Arc<Object>], now: Timestamp) -> Option<PlannedWrite> {
    if left.iter().any(|o| !o.meta.deleting) {
        return None;
    }
    let mut counts = BTreeMap::new();
    let mut finalizers = BTreeMap::new();
    for object in left {
        *counts.entry(&object.key.resource).or_insert(0) += 1;
        for finalizer in &object.meta.finalizers {
            *finalizers.entry(finalizer).or_insert(0) += 1;
        }
    }
    let remaining =
        texts(counts.iter().map(|(resource, count)| format!("{} has {count} resource instances", dotted(resource))));
    let blocking =
        texts(finalizers.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")));
    let object: Value = namespace.parse().ok()?;
    let mut conditions = object["status"]["conditions"].clone();
    let remaining = format!("Some resources are remaining: {remaining}");
    let blocking = format!("Some content in the namespace has finalizers remaining: {blocking}");
    let mut changed = false;
    for (kind, reason, message) in FINE {
        let (status, reason, message) = match kind {
            CONTENT if !counts.is_empty() => ("True", "SomeResourcesRemain", &*remaining),
            FINALIZERS if !finalizers.is_empty() => ("True", "SomeFinalizersRemain", &*blocking),
            _ => ("False", reason, message),
        };
        if let Some(with) = with_condition(&conditions, NewCondition { kind, status, reason, message }, now) {
            conditions = Value::Array(with);
            changed = true;
        }
    }
    changed.then(|| PlannedWrite::Patch {
        key: namespace.key.clone(),
        subresource: "status",
        patch: json!({"status": {"conditions": conditions}}),
    })
}

fn texts(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Kubernetes writes the core group's resources with a trailing dot (`pods.`).
fn dotted(resource: &str) -> String {
    if resource.contains('.') { resource.to_owned() } else { format!("{resource}.") }
}
