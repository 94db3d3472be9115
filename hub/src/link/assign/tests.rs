//! Changes of the store in, differences for one node out.

use serde_json::{Value, json};

use super::*;
use crate::store::{Expected, MemoryStore, Op, Store, Write};

fn pod(node: &str, uid: &str, config: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": uid, "uid": uid},
        "spec": {"nodeName": node, "containers": [{
            "name": "c", "image": "i:1", "envFrom": [{"configMapRef": {"name": config}}],
        }]},
    })
}

fn map(value: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": "m"}, "data": {"k": value}})
}

/// Puts an object, or removes it for `None`, and returns what the assignment looks at again.
async fn put(store: &MemoryStore, resource: &str, name: &str, object: Option<Value>) -> BTreeSet<Key> {
    let key = key(resource, "ns", name);
    let expected = store.snapshot().get(&key).map_or(Expected::Absent, |o| Expected::At(o.revision));
    let op = object.map_or(Op::Delete(None), Op::Put);
    store.commit(vec![Write { key: key.clone(), expected, op }]).await.unwrap();
    BTreeSet::from([key])
}

fn names(items: &[Item], removals: &[ItemKey]) -> Vec<String> {
    let name = |key: &ItemKey| match key {
        ItemKey::Pod(uid) => format!("pod {uid}"),
        ItemKey::ConfigMap { name, .. } => format!("map {name}"),
        ItemKey::Secret { name, .. } => format!("secret {name}"),
    };
    let sent = items.iter().map(|i| format!("+{}", name(&i.key())));
    sent.chain(removals.iter().map(|k| format!("-{}", name(k)))).collect()
}

#[tokio::test]
async fn single_changes_lead_to_the_same_as_a_look_at_everything() {
    let store = MemoryStore::new();
    let node = NodeName::parse("edge").unwrap();
    let mut assignment = Assignment::of(&node, &store.snapshot());
    let mut has = BTreeMap::new();
    let steps: Vec<(&str, &str, Option<Value>, &[&str])> = vec![
        ("configmaps", "m", Some(map("1")), &[]),
        ("pods", "a", Some(pod("other", "a", "m")), &[]),
        ("pods", "b", Some(pod("edge", "b", "m")), &["+map m", "+pod b"]),
        ("pods", "c", Some(pod("edge", "c", "m")), &["+pod c"]),
        ("configmaps", "m", Some(map("2")), &["+map m"]),
        ("configmaps", "x", Some(map("2")), &[]),
        ("pods", "b", None, &["-pod b"]),
        ("configmaps", "m", None, &["-map m"]),
        ("configmaps", "m", Some(map("3")), &["+map m"]),
        ("pods", "c", Some(pod("edge", "c2", "m")), &["+pod c2", "-pod c"]),
        ("pods", "c", None, &["-pod c2", "-map m"]),
    ];
    for (resource, name, object, expected) in steps {
        let touched = put(&store, resource, name, object).await;
        let snapshot = store.snapshot();
        assignment.update(&touched, &snapshot);
        let (items, removals) = assignment.missing(&has, &snapshot);
        assert_eq!(names(&items, &removals), expected, "{resource} {name}");
        has = assignment.items().clone();
        let afresh = Assignment::of(&node, &snapshot);
        assert_eq!((afresh.items(), &afresh.pods), (assignment.items(), &assignment.pods), "{resource} {name}");
        assert_eq!(afresh.digest(), assignment.digest());
    }
}
