//! What every [`Store`] must do. [`contract_tests!`] runs it against one implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Event, EventKind, Expected, Key, Object, Op, Revision, Snapshot, Store, StoreError, Write};

/// Makes a module of tests out of an expression that gives an empty `Arc<dyn Store>`.
macro_rules! contract_tests {
    ($open:expr) => {
        $crate::store::contract::contract_tests! { $open;
            a_write_must_find_what_it_expects, a_batch_is_all_or_nothing, a_batch_sees_its_own_writes,
            every_write_takes_the_next_revision, one_of_many_racing_writers_wins, concurrent_writers_leave_no_gap,
            a_snapshot_never_changes, lists_are_ordered_and_narrowed, a_deletion_shows_the_last_state,
            changes_follow_from_every_retained_revision, a_compacted_revision_is_refused, revisions_wake,
            malformed_objects_are_refused,
        }
    };
    ($open:expr; $($name:ident),* $(,)?) => {
        mod contract {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let store: std::sync::Arc<dyn $crate::store::Store> = $open;
                $crate::store::contract::$name(store).await;
            })*
        }
    };
}
pub(crate) use contract_tests;

pub(crate) fn key(resource: &str, namespace: &str, name: &str) -> Key {
    Key { resource: resource.into(), namespace: namespace.into(), name: name.into() }
}

fn pod(name: &str) -> Key {
    key("pods", "default", name)
}

pub(crate) fn value(key: &Key, payload: impl Into<Value>) -> Value {
    json!({"metadata": {"name": &*key.name}, "payload": payload.into()})
}

pub(crate) fn create(key: &Key) -> Write {
    Write { key: key.clone(), expected: Expected::Absent, op: Op::Put(value(key, 0)) }
}

pub(crate) fn update(key: &Key, at: Revision, payload: impl Into<Value>) -> Write {
    Write { key: key.clone(), expected: Expected::At(at), op: Op::Put(value(key, payload)) }
}

pub(crate) fn delete(key: &Key, at: Revision) -> Write {
    Write { key: key.clone(), expected: Expected::At(at), op: Op::Delete(None) }
}

async fn one(store: &Arc<dyn Store>, write: Write) -> Result<Arc<Object>, StoreError> {
    store.commit(vec![write]).await.map(|mut objects| objects.remove(0))
}

fn names(snapshot: &Snapshot, resource: &str, namespace: Option<&str>) -> Vec<String> {
    let name = |object: &Arc<Object>| format!("{}/{}", object.key.namespace, object.key.name);
    snapshot.list(&resource.into(), namespace).map(name).collect()
}

fn revision_in(object: &Object) -> String {
    object.parse::<Value>().unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

pub(crate) async fn a_write_must_find_what_it_expects(store: Arc<dyn Store>) {
    let (here, gone) = (pod("here"), pod("gone"));
    let revision = one(&store, create(&here)).await.unwrap().revision;

    assert!(matches!(one(&store, create(&here)).await, Err(StoreError::Exists(k)) if k == here));
    assert!(matches!(one(&store, update(&gone, 1, 1)).await, Err(StoreError::Missing(k)) if k == gone));
    assert!(matches!(one(&store, delete(&gone, 1)).await, Err(StoreError::Missing(k)) if k == gone));
    for write in [update(&here, revision + 7, 1), delete(&here, revision + 7)] {
        let refusal = one(&store, write).await;
        assert!(
            matches!(&refusal, Err(StoreError::Conflict { key, actual }) if *key == here && *actual == revision),
            "{refusal:?}"
        );
    }
    let absent = Write { key: gone.clone(), expected: Expected::Absent, op: Op::Delete(None) };
    assert!(matches!(one(&store, absent).await, Err(StoreError::Missing(k)) if k == gone));
    assert_eq!(store.snapshot().revision(), revision, "a refused write takes no revision");
}

pub(crate) async fn a_batch_is_all_or_nothing(store: Arc<dyn Store>) {
    one(&store, create(&pod("b"))).await.unwrap();
    let before = store.snapshot().revision();
    let batch = vec![create(&pod("a")), create(&pod("b")), create(&pod("c"))];
    assert!(matches!(store.commit(batch).await, Err(StoreError::Exists(k)) if k == pod("b")));
    let snapshot = store.snapshot();
    assert_eq!((names(&snapshot, "pods", None), snapshot.revision()), (vec!["default/b".to_owned()], before));
    assert!(store.changes(before, 9).unwrap().is_empty());
    assert!(store.commit(Vec::new()).await.unwrap().is_empty());
    assert_eq!(store.snapshot().revision(), before);
}

pub(crate) async fn a_batch_sees_its_own_writes(store: Arc<dyn Store>) {
    let next = store.snapshot().revision() + 1;
    let batch = vec![create(&pod("a")), update(&pod("a"), next, "new"), delete(&pod("a"), next + 1), create(&pod("a"))];
    let objects = store.commit(batch).await.unwrap();
    let revisions: Vec<_> = objects.iter().map(|o| o.revision).collect();
    assert_eq!(revisions, [next, next + 1, next + 2, next + 3]);
    assert_eq!(store.snapshot().get(&pod("a")).unwrap().revision, next + 3);
}

pub(crate) async fn every_write_takes_the_next_revision(store: Arc<dyn Store>) {
    let first = store.snapshot().revision() + 1;
    let objects = store.commit(vec![create(&pod("a")), create(&key("nodes", "", "n"))]).await.unwrap();
    let changed = one(&store, update(&pod("a"), first, "x")).await.unwrap();
    assert_eq!([objects[0].revision, objects[1].revision, changed.revision], [first, first + 1, first + 2]);
    for object in objects.iter().chain([&changed]) {
        assert_eq!(revision_in(object), object.revision.to_string());
    }
    let snapshot = store.snapshot();
    assert_eq!(snapshot.revision(), first + 2);
    assert_eq!(snapshot.get(&pod("a")).unwrap().json, changed.json);
}

pub(crate) async fn one_of_many_racing_writers_wins(store: Arc<dyn Store>) {
    let at = one(&store, create(&pod("a"))).await.unwrap().revision;
    let key = pod("a");
    let racers = (0..20).map(|n| store.commit(vec![update(&key, at, n)]));
    let outcomes = futures_util::future::join_all(racers).await;
    let winner = outcomes.iter().filter_map(|o| o.as_ref().ok()).collect::<Vec<_>>();
    assert_eq!(winner.len(), 1);
    for refusal in outcomes.iter().filter_map(|o| o.as_ref().err()) {
        assert!(
            matches!(refusal, StoreError::Conflict { actual, .. } if *actual == winner[0][0].revision),
            "{refusal:?}"
        );
    }
}

pub(crate) async fn concurrent_writers_leave_no_gap(store: Arc<dyn Store>) {
    let start = store.snapshot().revision();
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let object = one(&store, create(&pod(&format!("{writer}-{n}")))).await.unwrap();
                assert_eq!(
                    store.snapshot().get(&object.key).unwrap().revision,
                    object.revision,
                    "visible when acknowledged"
                );
            }
        })
    });
    futures_util::future::try_join_all(writers).await.unwrap();
    let events = store.changes(start, usize::MAX).unwrap();
    let revisions: Vec<_> = events.iter().map(|e| e.revision).collect();
    assert_eq!(revisions, (start + 1..=start + 200).collect::<Vec<_>>());
    assert_eq!(store.snapshot().revision(), start + 200);
}

pub(crate) async fn a_snapshot_never_changes(store: Arc<dyn Store>) {
    let at = one(&store, create(&pod("a"))).await.unwrap().revision;
    let old = store.snapshot();
    store.commit(vec![delete(&pod("a"), at), create(&pod("b"))]).await.unwrap();
    assert_eq!((names(&old, "pods", None), old.revision()), (vec!["default/a".to_owned()], at));
    assert_eq!(names(&store.snapshot(), "pods", None), ["default/b"]);
}

pub(crate) async fn lists_are_ordered_and_narrowed(store: Arc<dyn Store>) {
    let keys = [
        ("pods", "b", "1"),
        ("pods", "a", "2"),
        ("pods", "a", "1"),
        ("podtemplates", "a", "x"),
        ("nodes", "", "n"),
        ("pods", "aa", "0"),
    ];
    store.commit(keys.map(|(r, ns, n)| create(&key(r, ns, n))).into()).await.unwrap();
    let snapshot = store.snapshot();
    assert_eq!(names(&snapshot, "pods", None), ["a/1", "a/2", "aa/0", "b/1"]);
    assert_eq!(names(&snapshot, "pods", Some("")), ["a/1", "a/2", "aa/0", "b/1"]);
    assert_eq!(names(&snapshot, "pods", Some("a")), ["a/1", "a/2"]);
    assert_eq!(names(&snapshot, "nodes", None), ["/n"]);
    assert_eq!(names(&snapshot, "services", None), [""; 0]);
}

pub(crate) async fn a_deletion_shows_the_last_state(store: Arc<dyn Store>) {
    let at = one(&store, create(&pod("a"))).await.unwrap().revision;
    let last = one(&store, update(&pod("a"), at, "last words")).await.unwrap();
    let removed = one(&store, delete(&pod("a"), last.revision)).await.unwrap();
    let event = store.changes(last.revision, 9).unwrap().remove(0);
    assert_eq!((event.kind, event.revision), (EventKind::Deleted, last.revision + 1));
    for object in [&removed, &event.object] {
        assert_eq!((object.revision, revision_in(object)), (event.revision, event.revision.to_string()));
        assert_eq!(object.parse::<Value>().unwrap()["payload"], "last words");
    }
    assert_eq!(event.previous.unwrap().json, last.json);
    assert!(store.snapshot().get(&pod("a")).is_none());
}

/// Writes something of every kind and returns the states at each revision, the first being the one before.
async fn history(store: &Arc<dyn Store>) -> Vec<Snapshot> {
    let mut states = vec![store.snapshot()];
    let mut at = BTreeMap::new();
    for (n, name) in ["a", "b", "a", "c", "a", "b", "b", "c"].into_iter().enumerate() {
        let write = match (at.get(name), n % 4) {
            (None, _) => create(&pod(name)),
            (Some(at), 1) => delete(&pod(name), *at),
            (Some(at), _) => update(&pod(name), *at, n),
        };
        let removes = matches!(write.op, Op::Delete(_));
        let object = one(store, write).await.unwrap();
        if removes {
            at.remove(name)
        } else {
            at.insert(name, object.revision)
        };
        states.push(store.snapshot());
    }
    states
}

/// Plays events onto a state, checking that each fits; gives name and encoded object.
fn replay(start: &Snapshot, events: &[Event]) -> BTreeMap<Key, Vec<u8>> {
    let all = start.list(&"pods".into(), None).map(|o| (o.key.clone(), o.json.to_vec()));
    let mut state: BTreeMap<_, _> = all.collect();
    for event in events {
        let key = event.object.key.clone();
        assert_eq!(event.previous.as_ref().map(|o| o.json.to_vec()), state.get(&key).cloned(), "{event:?}");
        assert_eq!(event.kind == EventKind::Added, event.previous.is_none(), "{event:?}");
        match event.kind {
            EventKind::Added | EventKind::Modified => state.insert(key, event.object.json.to_vec()),
            EventKind::Deleted => state.remove(&key),
        };
    }
    state
}

pub(crate) async fn changes_follow_from_every_retained_revision(store: Arc<dyn Store>) {
    let states = history(&store).await;
    let last = states.last().unwrap();
    for state in &states {
        let events = store.changes(state.revision(), usize::MAX).unwrap();
        assert_eq!(events.len() as u64, last.revision() - state.revision());
        assert_eq!(replay(state, &events), replay(last, &[]));
        let rewound = last.rewound(state.revision(), &events);
        assert_eq!((rewound.revision(), replay(&rewound, &[])), (state.revision(), replay(state, &[])));
    }
    let first = states[0].revision();
    assert_eq!(store.changes(first, 3).unwrap().len(), 3);
    assert!(store.changes(last.revision(), 9).unwrap().is_empty());
    assert!(store.changes(last.revision() + 100, 9).unwrap().is_empty());
}

pub(crate) async fn a_compacted_revision_is_refused(store: Arc<dyn Store>) {
    let states = history(&store).await;
    let (cut, newest) = (states[3].revision(), states.last().unwrap().revision());
    store.compact(cut).await.unwrap();
    let refusal = store.changes(cut - 1, 9);
    assert!(
        matches!(refusal, Err(StoreError::Compacted { asked, oldest }) if (asked, oldest) == (cut - 1, cut)),
        "{refusal:?}"
    );
    assert_eq!(replay(&states[3], &store.changes(cut, usize::MAX).unwrap()), replay(states.last().unwrap(), &[]));

    store.compact(newest + 100).await.unwrap();
    assert!(store.changes(newest, 9).unwrap().is_empty());
    assert!(matches!(store.changes(newest - 1, 9), Err(StoreError::Compacted { .. })));
    let object = one(&store, create(&pod("after"))).await.unwrap();
    assert_eq!((object.revision, store.changes(newest, 9).unwrap().len()), (newest + 1, 1));
}

pub(crate) async fn revisions_wake(store: Arc<dyn Store>) {
    let mut revisions = store.revisions();
    assert_eq!(*revisions.borrow_and_update(), store.snapshot().revision());
    let object = one(&store, create(&pod("a"))).await.unwrap();
    revisions.changed().await.unwrap();
    assert_eq!(*revisions.borrow_and_update(), object.revision);
    one(&store, create(&pod("a"))).await.unwrap_err();
    assert!(!revisions.has_changed().unwrap(), "a refused write wakes nobody");
}

pub(crate) async fn malformed_objects_are_refused(store: Arc<dyn Store>) {
    let write = Write { key: pod("a"), expected: Expected::Absent, op: Op::Put(json!("no object")) };
    assert!(matches!(one(&store, write).await, Err(StoreError::Backend { .. })));
    assert_eq!(store.snapshot().revision(), 0);
    one(&store, create(&pod("a"))).await.unwrap();
}
