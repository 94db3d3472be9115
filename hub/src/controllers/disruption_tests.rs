//! Budgets, the pods they select, and what their status says.

use super::*;
use crate::controllers::testing::World;
use crate::reconcile::view::key;

fn controller() -> Disruption {
    Disruption::new(Arc::new(Memo::new(64)), Arc::new(Registry::builtin()))
}

const OWNERS: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: d}, spec: {replicas: 5}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, uid: r, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}, spec: {replicas: 3}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: each, uid: e}}
"#;

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn pod(world: &mut World, name: &str, ready: bool, owners: &Value) {
    let ready = if ready { "True" } else { "False" };
    world.put(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}, "ownerReferences": owners},
        "spec": {"nodeName": "edge"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    }));
}

fn budget(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec})
}

/// `healthy/desired of expected, allowed: reason`.
fn shown(status: &Value) -> String {
    format!(
        "{}/{} of {}, {}: {}",
        status["currentHealthy"],
        status["desiredHealthy"],
        status["expectedPods"],
        status["disruptionsAllowed"],
        status["conditions"][0]["reason"].as_str().unwrap_or_default()
    )
}

#[test]
fn counts_follow_the_bound_and_the_owners() {
    let in_set = owner("ReplicaSet", "web-1", "r");
    let (none, lost, each) = (json!([]), owner("ReplicaSet", "gone", "g"), owner("DaemonSet", "each", "e"));
    for (spec, owners, expected) in [
        (json!({"minAvailable": 1}), &none, "2/1 of 3, 1: SufficientPods"),
        (json!({"minAvailable": 2}), &none, "2/2 of 3, 0: InsufficientPods"),
        (json!({"minAvailable": "50%"}), &in_set, "2/3 of 5, 0: InsufficientPods"),
        (json!({"minAvailable": "20%"}), &in_set, "2/1 of 5, 1: SufficientPods"),
        (json!({"maxUnavailable": 4}), &in_set, "2/1 of 5, 1: SufficientPods"),
        (json!({"maxUnavailable": "30%"}), &in_set, "2/3 of 5, 0: InsufficientPods"),
        (json!({"maxUnavailable": 9}), &in_set, "2/0 of 5, 2: SufficientPods"),
        (json!({"maxUnavailable": 1}), &none, "2/0 of 0, 0: InsufficientPods"),
        (json!({}), &in_set, "2/0 of 0, 0: InsufficientPods"),
        (json!({"maxUnavailable": 1}), &lost, "null/null of null, 0: SyncFailed"),
        (json!({"maxUnavailable": 1}), &each, "null/null of null, 0: SyncFailed"),
    ] {
        let mut world = World::of(OWNERS);
        for (name, ready) in [("one", true), ("two", true), ("three", false)] {
            pod(&mut world, name, ready, owners);
        }
        let key = world.put(budget(spec.clone()));
        world.settle(&controller(), &key);
        let status = world.get(&key).unwrap()["status"].clone();
        assert_eq!(shown(&status), expected, "{spec} {owners}");
    }
}

#[test]
fn failures_and_unmanaged_pods_are_told() {
    let mut world = World::of(OWNERS);
    let key = world.put(budget(json!({"maxUnavailable": 1})));
    let text = world.step(&controller(), &key);
    assert!(text.ends_with("event Normal NoPods: No matching pods found"), "{text}");
    pod(&mut world, "one", true, &json!([]));
    world.edit(&key, |b| b["spec"]["maxUnavailable"] = json!(2));
    let text = world.step(&controller(), &key);
    let expected = "event Warning UnmanagedPods: Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As";
    assert!(text.contains(expected), "{text}");
    pod(&mut world, "one", true, &owner("DaemonSet", "each", "e"));
    let text = world.step(&controller(), &key);
    let expected = "event Warning CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: daemonsets.apps does not implement the scale subresource";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn an_evicted_pod_is_not_healthy_until_it_is_deleted_or_two_minutes_are_over() {
    let mut world = World::of(OWNERS);
    for name in ["one", "two"] {
        pod(&mut world, name, true, &json!([]));
    }
    let budget = world.put(budget(json!({"minAvailable": 1})));
    world.settle(&controller(), &budget);
    let evicted = crate::reconcile::events::seconds(world.now);
    world.edit(&budget, |b| b["status"]["disruptedPods"] = json!({"one": evicted, "gone": evicted}));
    let plan = world.plan(&controller(), &budget);
    assert_eq!(plan.requeue_at, Some(later(world.now, 120)));
    world.apply(plan);
    let status = world.get(&budget).unwrap()["status"].clone();
    assert_eq!(shown(&status), "1/1 of 2, 0: InsufficientPods");
    assert_eq!(status["disruptedPods"], json!({"one": evicted}));
    world.wait(121);
    let text = world.step(&controller(), &budget);
    assert!(text.ends_with("event Warning NotDeleted: Pod was expected by PDB default/b to be deleted but it wasn't"));
    let status = world.get(&budget).unwrap()["status"].clone();
    assert_eq!((shown(&status).as_str(), status.get("disruptedPods")), ("2/1 of 2, 1: SufficientPods", None));
    world.delete(&key("pods", "default", "one"));
    world.settle(&controller(), &budget);
    assert_eq!(shown(&world.get(&budget).unwrap()["status"]), "1/1 of 2, 0: InsufficientPods");
}

#[test]
fn pods_wake_the_budgets_that_select_or_selected_them() {
    let mut world = World::of(OWNERS);
    let budget = world.put(budget(json!({"minAvailable": 1})));
    let revision = world.snapshot().revision();
    pod(&mut world, "one", true, &json!([]));
    let one = key("pods", "default", "one");
    world.edit(&one, |p| p["metadata"]["labels"] = json!({"app": "db"}));
    world.edit(&one, |p| p["status"]["phase"] = json!("Failed"));
    let keys: Vec<Vec<Key>> = world.changes(revision).iter().map(|e| controller().keys(e, &world.snapshot())).collect();
    assert_eq!(keys, [vec![budget.clone()], vec![budget], vec![]]);
}
