//! The garbage collector: objects whose owners are all gone go too; owners that wait for their dependents (foreground)
//! or let them live on (orphan) are finished. Works on every kind of the registry.
//!
//! An index of dependents by owner uid is kept from the changes it sees, so that a deletion costs a look-up and not a
//! scan. It only proposes keys: what to do follows from the snapshot alone, and the full resync rebuilds it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::claim::{unblocked, without_owner};
use crate::objects::Propagation;
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::registry::Registry;
use crate::store::{Event, EventKind, Key, Object, Owner, Resource, Snapshot};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// The garbage collector.
#[derive(Debug)]
pub struct Garbage {
    registry: Arc<Registry>,
    dependents: Mutex<HashMap<Box<str>, BTreeSet<Key>>>,
}

impl Garbage {
    /// For the kinds of a registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, dependents: Mutex::default() }
    }

    fn resources(&self) -> BTreeSet<Resource> {
        self.registry.kinds().iter().map(|k| k.storage.clone()).collect()
    }

    /// Where an owner would be; `None` for a kind that is not known here, which can be neither present nor absent.
    fn owner_key(&self, dependent: &Object, owner: &Owner) -> Option<Key> {
        let kind = self.registry.kind(&owner.api_version, &owner.kind)?;
        let namespace = if kind.namespaced { dependent.key.namespace.clone() } else { "".into() };
        Some(Key { resource: kind.storage.clone(), namespace, name: (&*owner.name).into() })
    }

    fn fate(&self, dependent: &Object, owner: &Owner, snapshot: &Snapshot) -> Fate {
        let Some(key) = self.owner_key(dependent, owner) else { return Fate::Alive };
        match snapshot.get(&key).filter(|o| o.meta.uid == owner.uid) {
            None => Fate::Gone,
            Some(o) if o.meta.deleting && has(o, FOREGROUND) && owner.block_owner_deletion => Fate::Waiting,
            Some(_) => Fate::Alive,
        }
    }

    /// Whether some owner of an object is gone or waits for it.
    fn concerns(&self, object: &Object, snapshot: &Snapshot) -> bool {
        object.meta.owners.iter().any(|o| self.fate(object, o, snapshot) != Fate::Alive)
    }

    fn index(&self, object: &Object) {
        if object.meta.owners.is_empty() {
            return;
        }
        let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in &object.meta.owners {
            dependents.entry(owner.uid.clone()).or_default().insert(object.key.clone());
        }
    }

    fn unindex(&self, object: &Object) {
        let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in &object.meta.owners {
            if let Some(keys) = dependents.get_mut(&owner.uid) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn indexed(&self, uid: &str) -> Vec<Key> {
        let dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        dependents.get(uid).map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// The objects that name this owner now, each with that reference.
    fn dependents<'s>(&self, uid: &str, snapshot: &'s Snapshot) -> Vec<(&'s Arc<Object>, &'s Owner)> {
        let owned = |key: Key| {
            let object = snapshot.get(&key)?;
            Some((object, object.meta.owners.iter().find(|o| &*o.uid == uid)?))
        };
        self.indexed(uid).into_iter().filter_map(owned).collect()
    }
}

/// What has become of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is there, or its kind is not known: the dependent stays.
    Alive,
    /// It waits for the dependent to be deleted first.
    Waiting,
    /// It is gone.
    Gone,
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.meta.finalizers.iter().any(|f| &**f == finalizer)
}

fn is_finishing(object: &Object) -> bool {
    object.meta.deleting && (has(object, FOREGROUND) || has(object, ORPHAN))
}

impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let object = &event.object;
        let mut keys = Vec::new();
        if let Some(previous) = event.previous.as_ref().filter(|p| p.meta.owners != object.meta.owners) {
            self.unindex(previous);
            // An owner may have waited for this to let go of it.
            let waiting = previous.meta.owners.iter().filter_map(|o| self.owner_key(object, o));
            keys.extend(waiting.filter(|key| snapshot.get(key).is_some_and(|o| is_finishing(o))));
        }
        if event.kind == EventKind::Deleted {
            keys.extend(self.indexed(&object.meta.uid));
            self.unindex(object);
            // An owner may have waited for this.
            let waiting = object.meta.owners.iter().filter(|o| self.fate(object, o, snapshot) == Fate::Waiting);
            keys.extend(waiting.filter_map(|o| self.owner_key(object, o)));
            return keys;
        }
        self.index(object);
        if is_finishing(object) || self.concerns(object, snapshot) {
            keys.push(object.key.clone());
        }
        keys
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        self.dependents.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut keys = Vec::new();
        for resource in self.resources() {
            for object in snapshot.list(&resource, None) {
                self.index(object);
                if is_finishing(object) || self.concerns(object, snapshot) {
                    keys.push(object.key.clone());
                }
            }
        }
        keys
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let Some(object) = snapshot.get(key) else { return Plan::nothing() };
        if object.meta.deleting {
            return self.finish(object, snapshot);
        }
        let fates: Vec<(&Owner, Fate)> =
            object.meta.owners.iter().map(|o| (o, self.fate(object, o, snapshot))).collect();
        if fates.iter().all(|(_, fate)| *fate == Fate::Alive) {
            return Plan::nothing();
        }
        if fates.iter().any(|(_, fate)| *fate == Fate::Alive) {
            let dead = fates.iter().filter(|(_, fate)| *fate != Fate::Alive).map(|(o, _)| &*o.uid);
            // One owner a pass: the write brings the next one.
            return plan(dead.take(1).map(|uid| without_owner(object, uid)).collect(), "an owner is gone, others live");
        }
        let waits = fates.iter().any(|(_, fate)| *fate == Fate::Waiting);
        let has_dependents = !self.dependents(&object.meta.uid, snapshot).is_empty();
        let propagation = if waits && has_dependents { Propagation::Foreground } else { propagation(object) };
        plan(vec![delete(object, propagation)], "every owner is gone")
    }
}

impl Garbage {
    /// Finishes the deletion of an owner that waits for its dependents, or that lets them go.
    fn finish(&self, object: &Arc<Object>, snapshot: &Snapshot) -> Plan {
        let dependents = self.dependents(&object.meta.uid, snapshot);
        if has(object, ORPHAN) {
            let mut writes: Vec<PlannedWrite> =
                dependents.iter().map(|(d, _)| without_owner(d, &object.meta.uid)).collect();
            writes.extend(without_finalizer(object, ORPHAN));
            return plan(writes, "orphan the dependents");
        }
        if !has(object, FOREGROUND) {
            return Plan::nothing();
        }
        let pending = dependents.iter().filter(|(d, _)| !d.meta.deleting);
        let mut writes: Vec<PlannedWrite> = pending.flat_map(|(d, _)| self.doom(d, object, snapshot)).collect();
        if !dependents.iter().any(|(_, owner)| owner.block_owner_deletion) {
            writes.extend(without_finalizer(object, FOREGROUND));
        }
        plan(writes, "delete the dependents first")
    }

    /// What becomes of a dependent of an owner that is deleted in the foreground: it loses that owner while another one
    /// lives, else it goes. Where it is an owner of what waits for it in turn, it first stops blocking its owners, or
    /// a circle would never end.
    fn doom(&self, dependent: &Object, owner: &Object, snapshot: &Snapshot) -> Vec<PlannedWrite> {
        let others = dependent.meta.owners.iter().filter(|o| o.uid != owner.meta.uid);
        if others.into_iter().any(|o| self.fate(dependent, o, snapshot) == Fate::Alive) {
            return vec![without_owner(dependent, &owner.meta.uid)];
        }
        let own = self.dependents(&dependent.meta.uid, snapshot);
        let circular = own.iter().any(|(d, _)| d.meta.deleting && has(d, FOREGROUND));
        let gone = delete(dependent, if own.is_empty() { propagation(dependent) } else { Propagation::Foreground });
        circular.then(|| unblocked(dependent)).into_iter().chain([gone]).collect()
    }
}

/// How an object wants to be deleted, by its finalizers.
fn propagation(object: &Object) -> Propagation {
    if has(object, ORPHAN) {
        Propagation::Orphan
    } else if has(object, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

fn plan(writes: Vec<PlannedWrite>, why: &str) -> Plan {
    let why = if writes.is_empty() { String::new() } else { why.to_owned() };
    Plan { writes, why, ..Plan::nothing() }
}

fn delete(object: &Object, propagation: Propagation) -> PlannedWrite {
    PlannedWrite::Delete {
        key: object.key.clone(),
        uid: object.meta.uid.to_string(),
        grace_seconds: None,
        propagation: Some(propagation),
        event: None,
    }
}

fn without_finalizer(object: &Object, finalizer: &str) -> Option<PlannedWrite> {
    let mut value: Value = object.parse().ok()?;
    let rest: Vec<&str> = object.meta.finalizers.iter().map(|f| &**f).filter(|f| *f != finalizer).collect();
    value["metadata"]["finalizers"] = json!(rest);
    let (key, revision) = (object.key.clone(), object.revision);
    Some(PlannedWrite::Update { key, revision, subresource: "", object: value })
}
