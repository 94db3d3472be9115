//! Controllers of nodes: silence, taints, eviction and networks.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use skiff_shared::ids::NodeName;

use super::*;
use crate::controllers::testing::{World, yaml};
use crate::reconcile::view::key;
use crate::reconcile::{Controller, Liveness, Memo};
use crate::store::Key;

fn node_key() -> Key {
    key("nodes", "", "edge")
}

fn world() -> World {
    World::of(
        "
apiVersion: v1
kind: Node
metadata: {name: edge}
spec: {}
status: {conditions: [{type: Ready, status: 'True', reason: KubeletReady}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {nodeName: edge, containers: [{name: c}]}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
",
    )
}

fn lifecycle(world: &World) -> (Arc<Liveness>, NodeLifecycle) {
    let liveness = Arc::new(Liveness::new(world.now));
    let controller = NodeLifecycle::new(liveness.clone(), SignedDuration::from_secs(40), Arc::new(Memo::new(100)));
    (liveness, controller)
}

fn edge() -> NodeName {
    NodeName::parse("edge").unwrap()
}

fn taints(world: &World) -> Vec<String> {
    let node = world.get(&node_key()).unwrap();
    let list = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    list.iter().map(|t| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap())).collect()
}

#[test]
fn a_silent_node_becomes_unknown_after_its_grace_and_recovers() {
    let mut world = world();
    let (liveness, controller) = lifecycle(&world);
    liveness.connected(&edge());
    assert_eq!(
        world.settle(&controller, &node_key()),
        "event Normal RegisteredNode: Node edge event: Registered Node edge in Controller"
    );
    liveness.lost(&edge(), world.now);
    let plan = world.plan(&controller, &node_key());
    assert!(plan.writes.is_empty());
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:00:40Z".parse().unwrap()));
    world.wait(40);
    let text = world.settle(&controller, &node_key());
    assert!(text.contains("event Normal NodeNotReady: Node edge status is now: NodeNotReady"), "{text}");
    assert!(text.contains("event Warning NodeNotReady: Node is not ready"), "{text}");
    let ready = world.get(&node_key()).unwrap()["status"]["conditions"][0].clone();
    assert_eq!(
        ready,
        json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": "2026-01-01T10:00:40Z"})
    );
    assert_eq!(
        taints(&world),
        ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    );
    let pod = world.get(&key("pods", "default", "p")).unwrap();
    assert_eq!(pod["status"]["conditions"][0]["status"], "False");

    liveness.connected(&edge());
    assert_eq!(world.settle(&controller, &node_key()), "", "the taints stay until the agent says it is ready");
    world.edit(&node_key(), |n| n["status"]["conditions"][0]["status"] = "True".into());
    world.settle(&controller, &node_key());
    assert!(taints(&world).is_empty());
}

#[test]
fn a_node_never_seen_counts_from_the_hubs_start_and_a_removed_one_is_told() {
    let mut world = world();
    let (_, controller) = lifecycle(&world);
    world.step(&controller, &node_key());
    let plan = world.plan(&controller, &node_key());
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:00:40Z".parse().unwrap()));
    world.remove(&node_key());
    assert_eq!(
        world.step(&controller, &node_key()),
        "event Normal RemovingNode: Node edge event: Removing Node edge from Controller"
    );
    assert_eq!(world.step(&controller, &node_key()), "");
}

#[test]
fn a_registration_is_told_by_a_plan_that_cannot_fail() {
    let mut world = world();
    let tainted = |n: &mut serde_json::Value| n["status"]["conditions"][0]["status"] = "False".into();
    world.edit(&node_key(), tainted);
    let (_, controller) = lifecycle(&world);
    let plan = world.plan(&controller, &node_key());
    assert_eq!(plan.events.iter().map(|e| e.reason).collect::<Vec<_>>(), ["RegisteredNode"]);
    assert!(plan.writes.is_empty(), "a write that fails would lose the event");
    assert_eq!(plan.requeue_at, Some(world.now));
    assert!(!world.plan(&controller, &node_key()).writes.is_empty());
}

#[test]
fn pods_leave_when_their_toleration_ends() {
    let unreachable = |seconds: &str| {
        format!("[{{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute{seconds}}}]")
    };
    for (tolerations, leaves) in [
        ("[]".to_owned(), Some("2026-01-01T10:05:00Z")),
        (unreachable(", tolerationSeconds: 60"), Some("2026-01-01T10:01:00Z")),
        (unreachable(""), None),
        ("[{operator: Exists}]".to_owned(), None),
    ] {
        let mut world = world();
        let pod = key("pods", "default", "p");
        world.edit(&pod, |p| p["spec"]["tolerations"] = yaml(&tolerations));
        // Tainted before this hub started: the time it was away does not count.
        world.edit(&node_key(), |n| {
            n["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T08:00:00Z"}]);
        });
        let controller = TaintEviction::new(world.now, Arc::new(Memo::new(100)));
        let leaves: Option<Timestamp> = leaves.map(|l| l.parse().unwrap());
        let plan = world.plan(&controller, &node_key());
        assert!(plan.writes.is_empty(), "{tolerations}");
        assert_eq!(plan.requeue_at, leaves, "{tolerations}");
        if leaves.is_some() {
            world.wait(300);
            let text = world.step(&controller, &node_key());
            assert_eq!(text, "delete pods/p\nevent Normal TaintManagerEviction: Marking for deletion Pod default/p");
        }
    }
}

#[test]
fn each_node_gets_its_own_network() {
    let mut world = world();
    world.put(yaml("{apiVersion: v1, kind: Node, metadata: {name: other}, spec: {podCIDR: 10.42.0.0/24}}"));
    let controller = NodeIpam::new(Cidr::parse("10.42.0.0/23").unwrap());
    let all = controller.all(&world.snapshot());
    world.step(&controller, &all[0]);
    assert_eq!(
        world.get(&node_key()).unwrap()["spec"],
        json!({"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24"]})
    );
    world.put(yaml("{apiVersion: v1, kind: Node, metadata: {name: third}}"));
    assert_eq!(
        world.step(&controller, &all[0]),
        "event Normal CIDRNotAvailable: Node third status is now: CIDRNotAvailable"
    );
}
