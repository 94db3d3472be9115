//! The scheduler: nodes and pods in, plan text out.

use super::*;
use crate::controllers::testing::{World, yaml};
use crate::reconcile::view::key;

fn node(name: &str, cpu: &str, extra: &str) -> Value {
    let mut node = yaml(&format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}}}}}, \
         status: {{allocatable: {{cpu: '{cpu}', memory: 1Gi, pods: '110'}}, conditions: [{{type: Ready, status: 'True'}}]}}}}"
    ));
    if !extra.is_empty() {
        node["spec"] = yaml(extra);
    }
    node
}

fn pod(name: &str, spec: &str) -> Value {
    let mut pod = yaml(&format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: web}}}}}}"));
    pod["spec"] = yaml(spec);
    pod
}

fn pass(world: &mut World) -> String {
    let scheduler = Scheduler::default();
    let key = scheduler.key();
    world.step(&scheduler, &key)
}

/// Why a pod waits, as its condition says.
fn reason(world: &World, name: &str) -> String {
    let pod = world.get(&key("pods", "default", name)).unwrap();
    pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_pod_goes_to_the_emptier_node_and_says_so() {
    let mut world = World::new();
    world.put(node("a", "2", ""));
    world.put(node("b", "2", ""));
    world.put(pod("there", "{nodeName: a, containers: [{name: c, resources: {requests: {cpu: 500m}}}]}"));
    world.put(pod("new", "{containers: [{name: c}]}"));
    assert_eq!(pass(&mut world), "bind pods/new to b\nevent Normal Scheduled: Successfully assigned default/new to b");
    assert_eq!(pass(&mut world), "");
}

#[test]
fn each_filter_says_why_in_kubernetes_words() {
    let big = "{containers: [{name: c, resources: {requests: {cpu: 1500m, memory: 2Gi}}}]}";
    let plain = "{containers: [{name: c}]}";
    let rows = [
        ("{taints: [{key: k, value: v, effect: NoSchedule}]}", plain, "1 node(s) had untolerated taint {k: v}", false),
        ("{unschedulable: true}", plain, "1 node(s) were unschedulable", false),
        (
            "",
            "{nodeSelector: {disk: ssd}, containers: [{name: c}]}",
            "1 node(s) didn't match Pod's node affinity/selector",
            false,
        ),
        (
            "",
            "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}, containers: [{name: c}]}",
            "1 node(s) didn't match Pod's node affinity/selector",
            false,
        ),
        (
            "",
            "{containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]}",
            "1 node(s) didn't have free ports for the requested pod ports",
            true,
        ),
        ("", big, "1 Insufficient cpu, 1 Insufficient memory", false),
        ("", "{containers: [{name: c, resources: {requests: {cpu: 800m}}}]}", "1 Insufficient cpu", true),
        (
            "",
            "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}], containers: [{name: c}]}",
            "1 node(s) didn't match pod topology spread constraints (missing required label)",
            false,
        ),
    ];
    for (on_node, spec, expected, may_preempt) in rows {
        let mut world = World::new();
        world.put(node("a", "1", on_node));
        world.put(pod("there", "{nodeName: a, containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}], resources: {requests: {cpu: 500m}}}]}"));
        world.put(pod("new", spec));
        let preemption = if may_preempt {
            "No preemption victims found for incoming pod"
        } else {
            "Preemption is not helpful for scheduling"
        };
        let message =
            format!("0/1 nodes are available: {expected}. preemption: 0/1 nodes are available: 1 {preemption}.");
        let text = pass(&mut world);
        assert!(text.ends_with(&format!("event Warning FailedScheduling: {message}")), "{text}");
        assert_eq!(reason(&world, "new"), message);
        assert_eq!(pass(&mut world), "", "said once");
    }
}

#[test]
fn reasons_are_counted_over_nodes() {
    let mut world = World::new();
    world.put(node("a", "1", ""));
    world.put(node("b", "1", "{taints: [{key: k, effect: NoExecute}]}"));
    let mut unready = node("c", "9", "");
    unready["status"]["conditions"][0]["status"] = "Unknown".into();
    world.put(unready);
    world.put(pod("big", "{containers: [{name: c, resources: {requests: {cpu: '4'}}}]}"));
    pass(&mut world);
    assert_eq!(
        reason(&world, "big"),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: }, \
         1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_full_node_and_no_node_at_all() {
    let mut world = World::new();
    world.put(pod("new", "{containers: [{name: c}]}"));
    pass(&mut world);
    assert_eq!(reason(&world, "new"), "no nodes available to schedule pods");
    let mut full = node("a", "1", "");
    full["status"]["allocatable"]["pods"] = "0".into();
    world.put(full);
    pass(&mut world);
    assert!(reason(&world, "new").contains("1 Too many pods"), "{}", reason(&world, "new"));
}

#[test]
fn tolerations_and_gates_and_other_schedulers() {
    let mut world = World::new();
    world.put(node("a", "1", "{unschedulable: true, taints: [{key: k, value: v, effect: NoSchedule}]}"));
    world.put(pod("tolerant", "{tolerations: [{operator: Exists}], containers: [{name: c}]}"));
    world.put(pod(
        "gated",
        "{schedulingGates: [{name: g}], tolerations: [{operator: Exists}], containers: [{name: c}]}",
    ));
    world.put(pod("theirs", "{schedulerName: mine, tolerations: [{operator: Exists}], containers: [{name: c}]}"));
    let text = pass(&mut world);
    assert!(text.contains("bind pods/tolerant to a"), "{text}");
    assert!(!text.contains("theirs") && !text.contains("FailedScheduling"), "{text}");
    assert_eq!(reason(&world, "gated"), "Scheduling is blocked due to non-empty scheduling gates");
}

#[test]
fn pods_of_one_owner_spread_and_important_pods_go_first() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.put(node(name, "4", ""));
    }
    for n in 0..6 {
        let mut replica = pod(&format!("web-{n}"), "{containers: [{name: c}]}");
        replica["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "w", "controller": true}]);
        world.put(replica);
    }
    world.put(pod("vip", "{priority: 10, containers: [{name: c}]}"));
    let text = pass(&mut world);
    assert!(text.starts_with("bind pods/vip to a\n"), "{text}");
    for node in ["a", "b", "c"] {
        let count =
            text.lines().filter(|l| l.starts_with("bind pods/web") && l.ends_with(&format!("to {node}"))).count();
        assert_eq!(count, 2, "{text}");
    }
}

#[test]
fn hard_spread_constraints_hold() {
    let mut world = World::new();
    for (name, zone) in [("a", "x"), ("b", "y")] {
        let mut node = node(name, if name == "a" { "64" } else { "1" }, "");
        node["metadata"]["labels"]["zone"] = zone.into();
        world.put(node);
    }
    for n in 0..4 {
        world.put(pod(&format!("p{n}"), "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}], containers: [{name: c}]}"));
    }
    let text = pass(&mut world);
    assert_eq!(text.lines().filter(|l| l.starts_with("bind") && l.ends_with("to b")).count(), 2, "{text}");
}

#[test]
fn only_changes_that_matter_wake_it() {
    let mut world = World::new();
    let scheduler = Scheduler::default();
    let a = world.put(node("a", "1", ""));
    let waiting = world.put(pod("w", "{containers: [{name: c}]}"));
    let bound = world.put(pod("b", "{nodeName: a, containers: [{name: c}]}"));
    let revision = world.snapshot().revision();
    world.edit(&a, |n| n["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-01T00:00:00Z".into());
    world.edit(&bound, |p| p["status"]["phase"] = "Running".into());
    world.edit(&a, |n| n["spec"]["unschedulable"] = true.into());
    world.edit(&waiting, |p| p["metadata"]["labels"]["x"] = "y".into());
    world.edit(&bound, |p| p["status"]["phase"] = "Succeeded".into());
    world.remove(&bound);
    world.edit(&waiting, |p| p["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False"}]));
    world.edit(&waiting, |p| p["spec"]["tolerations"] = json!([{"operator": "Exists"}]));
    let woken: Vec<bool> =
        world.changes(revision).iter().map(|e| !scheduler.keys(e, &world.snapshot()).is_empty()).collect();
    assert_eq!(woken, [false, false, true, true, true, true, false, true]);
}
