//! Watches over a volatile store.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::store::{Expected, Key, LogLimits, MemoryStore, Op, Snapshot, Write};

fn key(name: &str) -> Key {
    Key { resource: "pods".into(), namespace: "default".into(), name: name.into() }
}

/// Writes a pod with the label `app`, or another kind of object.
async fn put(store: &MemoryStore, key: Key, app: &str) -> Revision {
    let expected = store.snapshot().get(&key).map_or(Expected::Absent, |object| Expected::At(object.revision));
    let op = Op::Put(json!({"metadata": {"name": &*key.name, "labels": {"app": app}}}));
    store.commit(vec![Write { key, expected, op }]).await.unwrap()[0].revision
}

async fn delete(store: &MemoryStore, key: Key) -> Revision {
    let expected = Expected::At(store.snapshot().get(&key).unwrap().revision);
    store.commit(vec![Write { key, expected, op: Op::Delete(None) }]).await.unwrap()[0].revision
}

fn app(object: &Object) -> String {
    object.parse::<Value>().unwrap()["metadata"]["labels"]["app"].as_str().unwrap().to_owned()
}

fn is_web(object: &Object) -> bool {
    &*object.key.resource == "pods" && app(object) == "web"
}

fn watch_web(store: &Arc<MemoryStore>, start: Start, bookmarks: bool) -> Result<Watch, StoreError> {
    Watch::with_filter(store.clone(), "pods".into(), None, Box::new(is_web), start, bookmarks)
}

fn show(item: &Item) -> String {
    match item {
        Item::Event { kind, object } => format!("{kind:?} {} {}@{}", object.key.name, app(object), object.revision),
        Item::Bookmark { revision, initial_events_end: true } => format!("end@{revision}"),
        Item::Bookmark { revision, initial_events_end: false } => format!("bookmark@{revision}"),
    }
}

/// Everything that is there without waiting.
fn drain(watch: &mut Watch) -> Vec<String> {
    std::iter::from_fn(|| watch.next().now_or_never()).map(|item| show(&item.unwrap())).collect()
}

#[tokio::test]
async fn objects_enter_and_leave_through_the_selector() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(0), false).unwrap();
    put(&store, key("a"), "db").await;
    put(&store, key("a"), "web").await;
    put(&store, key("a"), "web").await;
    put(&store, Key { resource: "nodes".into(), ..key("n") }, "web").await;
    put(&store, key("a"), "db").await;
    delete(&store, key("a")).await;
    put(&store, key("b"), "web").await;
    delete(&store, key("b")).await;
    let expected = ["Added a web@2", "Modified a web@3", "Deleted a web@5", "Added b web@7", "Deleted b web@8"];
    assert_eq!(drain(&mut watch), expected);
    let mut later = watch_web(&store, Start::After(3), false).unwrap();
    assert_eq!(drain(&mut later), expected[2..]);
}

#[tokio::test]
async fn initial_events_show_the_state_and_then_what_follows() {
    let store = MemoryStore::new();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        put(&store, key(name), app).await;
    }
    let mut marked = watch_web(&store, Start::Initial { end_mark: true }, false).unwrap();
    let mut plain = watch_web(&store, Start::Initial { end_mark: false }, false).unwrap();
    put(&store, key("b"), "web").await;
    assert_eq!(drain(&mut marked), ["Added a web@1", "Added c web@3", "end@3", "Added b web@4"]);
    assert_eq!(drain(&mut plain), ["Added a web@1", "Added c web@3", "Added b web@4"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_carry_the_newest_revision() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(0), true).unwrap();
    let start = Instant::now();
    put(&store, key("a"), "db").await;
    assert_eq!(show(&watch.next().await.unwrap()), "bookmark@1");
    assert_eq!(start.elapsed().as_secs(), 60);
    put(&store, key("b"), "web").await;
    assert_eq!(show(&watch.next().await.unwrap()), "Added b web@2");
    assert_eq!(show(&watch.next().await.unwrap()), "bookmark@2");
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_bookmarks_waits_in_silence() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(0), false).unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(600), watch.next()).await;
    assert!(waited.is_err());
    put(&store, key("a"), "web").await;
    assert_eq!(show(&watch.next().await.unwrap()), "Added a web@1", "and loses nothing by being cancelled");
}

#[tokio::test]
async fn a_watch_that_is_read_too_slowly_ends() {
    let store = MemoryStore::with_limits(LogLimits { events: 3, bytes: usize::MAX });
    let mut watch = watch_web(&store, Start::After(0), false).unwrap();
    for _ in 0..4 {
        put(&store, key("a"), "web").await;
    }
    let end = watch.next().await;
    assert!(matches!(end, Err(StoreError::Compacted { asked: 0, oldest: 1 })), "{end:?}");
    let refusal = watch_web(&store, Start::After(0), false);
    assert!(matches!(refusal, Err(StoreError::Compacted { .. })), "{refusal:?}");
}

#[tokio::test]
async fn a_revision_to_come_is_waited_for() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(2), false).unwrap();
    for name in ["a", "b", "c"] {
        put(&store, key(name), "web").await;
    }
    assert_eq!(drain(&mut watch), ["Added c web@3"]);
}

#[tokio::test]
async fn a_waiting_watch_is_woken() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(0), false).unwrap();
    let (item, _) = tokio::join!(watch.next(), put(&store, key("a"), "web"));
    assert_eq!(show(&item.unwrap()), "Added a web@1");
}

#[tokio::test]
async fn more_events_than_a_batch_come_in_order() {
    let store = MemoryStore::new();
    let mut watch = watch_web(&store, Start::After(0), false).unwrap();
    for n in 0..BATCH * 3 {
        put(&store, key("a"), if n % 2 == 0 { "web" } else { "db" }).await;
    }
    let expected: Vec<_> = (1..=BATCH * 3)
        .map(|n| if n % 2 == 1 { format!("Added a web@{n}") } else { format!("Deleted a web@{n}") })
        .collect();
    assert_eq!(drain(&mut watch), expected);
}

type List = BTreeMap<String, Vec<u8>>;

fn list(snapshot: &Snapshot) -> List {
    let all = snapshot.list(&"pods".into(), None).filter(|object| is_web(object));
    all.map(|object| (object.key.name.to_string(), object.json.to_vec())).collect()
}

/// Plays what a watch gives onto a list, as an informer does; every event must fit.
fn replay(mut state: List, watch: &mut Watch) -> List {
    while let Some(item) = watch.next().now_or_never() {
        let Item::Event { kind, object } = item.unwrap() else { continue };
        let name = object.key.name.to_string();
        let before = match kind {
            EventKind::Added | EventKind::Modified => state.insert(name, object.json.to_vec()),
            EventKind::Deleted => state.remove(&name),
        };
        assert_eq!(before.is_some(), kind != EventKind::Added, "{kind:?} {object:?}");
    }
    state
}

/// Name, and the label to give it; `None` deletes it.
fn change() -> impl Strategy<Value = (String, Option<&'static str>)> {
    let label = prop_oneof![Just(None), Just(Some("web")), Just(Some("web")), Just(Some("db"))];
    ("[abc]", label)
}

proptest! {
    #[test]
    fn a_list_and_its_watch_give_the_list_now(
        changes in proptest::collection::vec(change(), 1..40),
        retained in 1_usize..40,
    ) {
        let store = MemoryStore::with_limits(LogLimits { events: retained, bytes: usize::MAX });
        let mut states = vec![store.snapshot()];
        for (name, label) in &changes {
            let done = match label {
                Some(label) => put(&store, key(name), label).now_or_never(),
                None if store.snapshot().get(&key(name)).is_some() => delete(&store, key(name)).now_or_never(),
                None => continue,
            };
            prop_assert!(done.is_some());
            states.push(store.snapshot());
        }
        let now = store.snapshot();
        for state in &states {
            match watch_web(&store, Start::After(state.revision()), false) {
                Ok(mut watch) => prop_assert_eq!(replay(list(state), &mut watch), list(&now)),
                Err(StoreError::Compacted { oldest, .. }) => {
                    prop_assert!(state.revision() < oldest && oldest + retained as u64 == now.revision());
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        let mut fresh = watch_web(&store, Start::Initial { end_mark: true }, false).unwrap();
        prop_assert_eq!(replay(List::new(), &mut fresh), list(&now));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_bookmark_comes_shortly_before_the_end() {
    for (seconds, expected) in [(30, vec![28]), (90, vec![60, 88]), (1, vec![]), (62, vec![60])] {
        let store = MemoryStore::new();
        let mut watch = watch_web(&store, Start::After(0), true).unwrap();
        let start = Instant::now();
        watch.ends_at(start + Duration::from_secs(seconds));
        let mut times = Vec::new();
        while tokio::time::timeout_at(start + Duration::from_secs(seconds), watch.next()).await.is_ok() {
            times.push(start.elapsed().as_secs());
        }
        assert_eq!(times, expected, "a watch of {seconds} s");
    }
}
