//! The pure core of every store: what a batch of writes does to the current state.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Event, EventKind, Expected, Key, Object, Op, Revision, Snapshot, StoreError, Write};

/// The newest state, and what it takes to go to the next.
///
/// Invariant: `snapshot.revision` counts every write ever applied; each event of [`State::apply`] takes the next one.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) snapshot: Snapshot,
    names: Names,
}

impl State {
    /// Applies a batch entirely, or leaves the state as it was.
    pub(super) fn apply(&mut self, writes: Vec<Write>) -> Result<Vec<Event>, StoreError> {
        let mut next = self.snapshot.clone();
        let events =
            writes.into_iter().map(|write| apply_one(&mut next, &mut self.names, write)).collect::<Result<_, _>>()?;
        self.snapshot = next;
        Ok(events)
    }

    /// Puts an object that is known to be current, when loading.
    pub(super) fn load(&mut self, object: Arc<Object>) {
        self.snapshot.objects.insert(object.key.clone(), object);
    }

    /// Sets the revision, when loading.
    pub(super) fn set_revision(&mut self, revision: Revision) {
        self.snapshot.revision = revision;
    }

    /// A key that shares its strings with the others.
    pub(super) fn intern(&mut self, key: Key) -> Key {
        self.names.intern(key)
    }
}

fn apply_one(next: &mut Snapshot, names: &mut Names, write: Write) -> Result<Event, StoreError> {
    let Write { key, expected, op } = write;
    let previous = next.objects.get(&key).cloned();
    check(&key, expected, previous.as_deref())?;
    let revision = next.revision + 1;
    let (kind, object) = match (op, &previous) {
        (Op::Put(value), None) => (EventKind::Added, Arc::new(Object::encode(names.intern(key), revision, value)?)),
        (Op::Put(value), Some(old)) => {
            (EventKind::Modified, Arc::new(Object::encode(old.key.clone(), revision, value)?))
        }
        (Op::Delete(None), Some(old)) => (EventKind::Deleted, old.at_revision(revision)?),
        (Op::Delete(Some(last)), Some(old)) => {
            (EventKind::Deleted, Arc::new(Object::encode(old.key.clone(), revision, last)?))
        }
        (Op::Delete(_), None) => return Err(StoreError::Missing(key)),
    };
    match kind {
        EventKind::Added | EventKind::Modified => next.objects.insert(object.key.clone(), object.clone()),
        EventKind::Deleted => next.objects.remove(&object.key),
    };
    next.revision = revision;
    Ok(Event { revision, kind, object, previous })
}

fn check(key: &Key, expected: Expected, found: Option<&Object>) -> Result<(), StoreError> {
    match (expected, found) {
        (Expected::Absent, None) => Ok(()),
        (Expected::Absent, Some(_)) => Err(StoreError::Exists(key.clone())),
        (Expected::At(_), None) => Err(StoreError::Missing(key.clone())),
        (Expected::At(wanted), Some(object)) if object.revision == wanted => Ok(()),
        (Expected::At(_), Some(object)) => Err(StoreError::Conflict { key: key.clone(), actual: object.revision }),
    }
}

/// Resource and namespace names, each kept once: thousands of keys share them.
#[derive(Debug, Default)]
struct Names(HashSet<Arc<str>>);

/// Forgets names that no key uses any more once this many are held; namespaces come and go.
const NAMES_BEFORE_SWEEP: usize = 4096;

impl Names {
    fn intern(&mut self, key: Key) -> Key {
        Key { resource: self.one(key.resource), namespace: self.one(key.namespace), name: key.name }
    }

    fn one(&mut self, name: Arc<str>) -> Arc<str> {
        if let Some(known) = self.0.get(&name) {
            return known.clone();
        }
        if self.0.len() >= NAMES_BEFORE_SWEEP {
            self.0.retain(|name| Arc::strong_count(name) > 1);
        }
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn create(namespace: &str, name: &str) -> Write {
        let key = Key { resource: "pods".into(), namespace: namespace.into(), name: name.into() };
        Write { key, expected: Expected::Absent, op: Op::Put(json!({"metadata": {"name": name}})) }
    }

    #[test]
    fn keys_share_their_resource_and_namespace() {
        let mut state = State::default();
        let events = state.apply(vec![create("default", "a"), create("default", "b")]).unwrap();
        let [a, b] = [&events[0].object.key, &events[1].object.key];
        assert!(Arc::ptr_eq(&a.resource, &b.resource) && Arc::ptr_eq(&a.namespace, &b.namespace));
    }

    #[test]
    fn names_that_nothing_uses_are_forgotten() {
        let mut names = Names::default();
        for n in 0..NAMES_BEFORE_SWEEP * 2 {
            names.one(format!("ns-{n}").into());
        }
        assert!(names.0.len() <= NAMES_BEFORE_SWEEP);
    }
}
