//! Keeps `status.used` of ResourceQuotas.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::objects::quota::{QUOTAS, used};
use crate::reconcile::{Controller, Plan, PlannedWrite, view};
use crate::registry::Registry;
use crate::store::{Event, Key, Resource, Snapshot};

/// Counts what namespaces use.
#[derive(Debug)]
pub struct Quotas {
    kinds: Vec<Resource>,
}

impl Quotas {
    /// Over all kinds that live in namespaces.
    pub fn new(registry: &Arc<Registry>) -> Self {
        let stored = registry.kinds().iter().filter(|k| k.namespaced && !k.list_kind.is_empty());
        let mut kinds: Vec<Resource> = stored.map(|k| k.storage.clone()).collect();
        kinds.sort();
        kinds.dedup();
        Self { kinds }
    }
}

impl Controller for Quotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let namespace = &event.object.key.namespace;
        if namespace.is_empty() {
            return Vec::new();
        }
        snapshot.list(&QUOTAS.into(), Some(namespace)).map(|q| q.key.clone()).collect()
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        view::all(snapshot, QUOTAS)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let mut object: Value = stored.parse().unwrap_or_default();
        let (used, next_change) = used(&object, &key.namespace, snapshot, &self.kinds, now);
        // A pod counts up to and including that moment.
        let requeue_at = next_change.and_then(|at| at.checked_add(SignedDuration::from_secs(1)).ok());
        let used = json!(used);
        let hard = object["spec"]["hard"].clone();
        if object["status"]["used"] == used && object["status"]["hard"] == hard {
            return Plan { requeue_at, ..Plan::nothing() };
        }
        object["status"] = json!({"hard": hard, "used": used});
        let why = format!("{} uses {used}", key.namespace);
        let (key, revision) = (key.clone(), stored.revision);
        let write = PlannedWrite::Update { key, revision, subresource: "status", object };
        Plan { writes: vec![write], requeue_at, why, ..Plan::nothing() }
    }
}
