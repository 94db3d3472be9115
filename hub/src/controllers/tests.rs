//! The smaller controllers: namespaces, accounts, garbage, pods without a node, old events.

use std::sync::Arc;

use serde_json::{Value, json};

use super::testing::{World, yaml};
use super::*;
use crate::reconcile::view::key;
use crate::store::Key;

fn config_map(name: &str, owners: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}})
}

fn owner(name: &str, block: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": format!("uid-{name}"), "blockOwnerDeletion": block})
}

fn map(name: &str) -> Key {
    key("configmaps", "default", name)
}

/// Feeds every change since `revision` to the collector, then reconciles what it asks for.
fn collect(world: &mut World, garbage: &garbage::Garbage, revision: u64) -> String {
    let mut keys: Vec<Key> = world.changes(revision).iter().flat_map(|e| garbage.keys(e, &world.snapshot())).collect();
    keys.sort();
    keys.dedup();
    let texts: Vec<String> = keys.iter().map(|k| world.step(garbage, k)).filter(|t| !t.is_empty()).collect();
    texts.join("\n")
}

fn collector() -> garbage::Garbage {
    garbage::Garbage::new(Arc::new(Registry::builtin()))
}

#[test]
fn dependents_follow_their_last_owner() {
    let mut world = World::new();
    let garbage = collector();
    world.put(config_map("a", &json!([])));
    world.put(config_map("b", &json!([])));
    world.put(config_map("of-a", &json!([owner("a", true)])));
    world.put(config_map("of-both", &json!([owner("a", true), owner("b", true)])));
    world.put(config_map("of-unknown", &json!([{"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": "x"}])));
    assert_eq!(collect(&mut world, &garbage, 0), "");
    let revision = world.snapshot().revision();
    world.remove(&map("a"));
    let text = collect(&mut world, &garbage, revision);
    assert!(text.starts_with("delete configmaps/of-a\npatch configmaps/of-both"), "{text}");
    assert_eq!(world.get(&map("of-both")).unwrap()["metadata"]["ownerReferences"], json!([owner("b", true)]));
    assert!(world.get(&map("of-unknown")).is_some());
}

#[test]
fn an_object_whose_owner_never_was_goes_too() {
    let mut world = World::new();
    world.put(config_map("lost", &json!([owner("nobody", false)])));
    assert_eq!(collect(&mut world, &collector(), 0), "delete configmaps/lost");
    world.put(config_map("lost", &json!([owner("nobody", false)])));
    assert_eq!(collector().all(&world.snapshot()), vec![map("lost")], "the full resync finds it as well");
}

#[test]
fn foreground_deletion_waits_for_blocking_dependents() {
    let mut world = World::new();
    let garbage = collector();
    world.put(config_map("a", &json!([])));
    world.put(config_map("child", &json!([owner("a", true)])));
    world.edit(&map("child"), |o| o["metadata"]["finalizers"] = json!(["test/hold"]));
    world.edit(&map("a"), |o| {
        o["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        o["metadata"]["deletionTimestamp"] = "2026-01-01T10:00:00Z".into();
    });
    let text = collect(&mut world, &garbage, 0);
    assert!(text.contains("delete configmaps/child") && !text.contains("update"), "{text}");
    let revision = world.snapshot().revision();
    world.remove(&map("child"));
    assert_eq!(collect(&mut world, &garbage, revision), "update configmaps/a");
    assert!(world.get(&map("a")).is_none());
}

fn foreground(world: &mut World, name: &str) {
    world.edit(&map(name), |o| {
        o["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        o["metadata"]["deletionTimestamp"] = "2026-01-01T10:00:00Z".into();
    });
}

#[test]
fn a_dependent_with_another_owner_is_let_go_by_one_that_waits() {
    let mut world = World::new();
    let garbage = collector();
    world.put(config_map("a", &json!([])));
    world.put(config_map("b", &json!([])));
    world.put(config_map("child", &json!([owner("a", true), owner("b", true)])));
    foreground(&mut world, "a");
    let text = collect(&mut world, &garbage, 0);
    assert!(text.contains("patch configmaps/child"), "{text}");
    let revision = world.snapshot().revision() - 1;
    assert_eq!(world.get(&map("child")).unwrap()["metadata"]["ownerReferences"], json!([owner("b", true)]));
    collect(&mut world, &garbage, revision);
    assert!(world.get(&map("a")).is_none() && world.get(&map("child")).is_some());
}

#[test]
fn a_circle_of_owners_goes_in_the_foreground() {
    let mut world = World::new();
    let garbage = collector();
    for (name, of) in [("a", "c"), ("b", "a"), ("c", "b")] {
        world.put(config_map(name, &json!([owner(of, true)])));
    }
    foreground(&mut world, "a");
    for _ in 0..10 {
        for name in ["a", "b", "c"] {
            collect(&mut world, &garbage, 0);
            // The harness deletes at once; what the API would do is to mark an owner of others.
            if world.get(&map(name)).is_some() && world.get(&map("a")).is_none() {
                foreground(&mut world, name);
            }
        }
    }
    assert!(["a", "b", "c"].iter().all(|name| world.get(&map(name)).is_none()), "the circle ends");
}

#[test]
fn orphaned_dependents_lose_their_owner_and_live() {
    let mut world = World::new();
    world.put(config_map("a", &json!([])));
    world.put(config_map("child", &json!([owner("a", true)])));
    world.edit(&map("a"), |o| {
        o["metadata"]["finalizers"] = json!(["orphan"]);
        o["metadata"]["deletionTimestamp"] = "2026-01-01T10:00:00Z".into();
    });
    let text = collect(&mut world, &collector(), 0);
    assert_eq!(text, "patch configmaps/child {\"metadata\":{\"ownerReferences\":null}}\nupdate configmaps/a");
    assert!(world.get(&map("child")).is_some() && world.get(&map("a")).is_none());
}

#[test]
fn a_namespace_is_emptied_then_goes() {
    let mut world =
        World::of("{apiVersion: v1, kind: Namespace, metadata: {name: default}, spec: {finalizers: [kubernetes]}}");
    let controller = namespace::Namespaces::new(&Registry::builtin());
    let namespace = key("namespaces", "", "default");
    world.put(config_map("held", &json!([])));
    world.edit(&map("held"), |o| o["metadata"]["finalizers"] = json!(["test/hold"]));
    world.put(config_map("free", &json!([])));
    assert_eq!(world.step(&controller, &namespace), "", "it is not being deleted");
    world.delete(&namespace);
    assert_eq!(world.step(&controller, &namespace), "delete configmaps/free\ndelete configmaps/held");
    world.step(&controller, &namespace);
    let conditions = world.get(&namespace).unwrap()["status"]["conditions"].clone();
    let told: Vec<_> = conditions.as_array().unwrap().iter().map(|c| (&c["type"], &c["status"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["NamespaceDeletionDiscoveryFailure", "False"],
            ["NamespaceDeletionGroupVersionParsingFailure", "False"],
            ["NamespaceDeletionContentFailure", "False"],
            ["NamespaceContentRemaining", "True"],
            ["NamespaceFinalizersRemaining", "True"],
        ])
    );
    assert_eq!(conditions[3]["message"], "Some resources are remaining: configmaps. has 1 resource instances");
    assert_eq!(
        conditions[4]["message"],
        "Some content in the namespace has finalizers remaining: test/hold in 1 resource instances"
    );
    let revision = world.snapshot().revision();
    world.remove(&map("held"));
    assert_eq!(controller.keys(&world.changes(revision)[0], &world.snapshot()), vec![namespace.clone()]);
    assert_eq!(world.step(&controller, &namespace), "update namespaces/default/finalize");
    assert!(world.get(&namespace).is_none());
}

#[test]
fn every_active_namespace_has_an_account_and_the_ca() {
    let mut world = World::of("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}");
    let namespace = key("namespaces", "", "shop");
    let ca = serviceaccount::RootCa::new("PEM".to_owned());
    assert_eq!(world.settle(&serviceaccount::ServiceAccounts, &namespace), "create serviceaccounts/default");
    assert_eq!(world.settle(&ca, &namespace), "create configmaps/kube-root-ca.crt");
    let published = key("configmaps", "shop", "kube-root-ca.crt");
    world.edit(&published, |o| o["data"] = json!({"ca.crt": "forged"}));
    assert_eq!(world.settle(&ca, &namespace), "update configmaps/kube-root-ca.crt");
    assert_eq!(world.get(&published).unwrap()["data"], json!({"ca.crt": "PEM"}));
}

#[test]
fn pods_of_a_missing_node_go_after_the_quarantine_and_old_ended_ones_beyond_the_bound() {
    let mut world = World::of("{apiVersion: v1, kind: Node, metadata: {name: here}}");
    for (name, node, phase) in [
        ("lost", "gone", "Running"),
        ("kept", "here", "Running"),
        ("done-1", "here", "Succeeded"),
        ("done-2", "here", "Failed"),
    ] {
        world.put(yaml(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}}}, status: {{phase: {phase}}}}}"
        )));
        world.wait(1);
    }
    let controller = pod_gc::PodGc::new(Arc::new(Memo::new(100)), 1);
    let all = controller.all(&world.snapshot());
    assert_eq!(world.step(&controller, &all[0]), "delete pods/done-1");
    let plan = world.plan(&controller, &all[0]);
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:00:44Z".parse().unwrap()));
    world.wait(40);
    assert_eq!(world.step(&controller, &all[0]), "delete pods/lost");
}

#[test]
fn events_expire_an_hour_after_they_last_happened() {
    let mut world = World::new();
    let (early, late) = ("2026-01-01T08:59:00Z", "2026-01-01T09:30:00Z");
    for (name, times) in [
        ("old", json!({"lastTimestamp": early})),
        ("new", json!({"lastTimestamp": late})),
        ("series", json!({"eventTime": early, "series": {"count": 2, "lastObservedTime": late}})),
    ] {
        let metadata = json!({"name": name, "creationTimestamp": "2026-01-01T05:00:00Z"});
        let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": metadata});
        json_patch::merge(&mut event, &times);
        world.put(event);
    }
    let controller = event_ttl::EventTtl::default();
    let all = controller.all(&world.snapshot());
    let plan = world.plan(&controller, &all[0]);
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:30:00Z".parse().unwrap()));
    assert_eq!(world.apply(plan), "delete events/old");
}
