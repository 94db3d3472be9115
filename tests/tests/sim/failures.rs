//! Hubs, agents, machines and connections that fail: pods go on, and nothing is made twice.

use serde_json::{Value, json};
use skiff_tests::sim::{DEPLOYMENTS, IMAGES, Node, Pod, World, condition};
use skiff_tests::wait::{ensure, wait_for};

/// What was done to containers so far, on every node.
fn calls(world: &World) -> Vec<Vec<String>> {
    world.nodes.iter().map(|node| node.podman.calls()).collect()
}

/// Makes a pod on every node, to see that each takes orders from the hub again, and removes them.
fn probe(world: &World) {
    world.deploy("probe", 2 * world.nodes.len() as u64, IMAGES[0]);
    world.settle();
    world.scale("probe", 0);
    world.settle();
}

/// A cluster of two nodes with three pods.
fn started() -> (World, Vec<Pod>) {
    let world = World::start(2);
    world.deploy("web", 3, IMAGES[0]);
    let pods = world.settle();
    (world, pods)
}

#[test]
fn a_restarted_hub_changes_nothing_on_nodes() {
    let (mut world, pods) = started();
    let before = calls(&world);
    world.stop_hub();
    world.start_hub();
    world.nodes.iter().for_each(|node| world.wait_node(node.name(), "True"));
    assert_eq!(calls(&world), before, "no container was touched");
    probe(&world);
    assert_eq!(world.settle(), pods);
}

#[test]
fn after_a_power_cut_without_the_hub_all_pods_come_back_and_the_hub_makes_none_again() {
    let (mut world, pods) = started();
    world.kill_hub();
    for (node, loss) in world.nodes.iter_mut().zip([false, true]) {
        node.kill();
        if loss {
            node.podman.lose_everything();
        }
        node.reboot();
    }
    let expected = |node: &str| {
        let mut uids: Vec<_> = pods.iter().filter(|pod| pod.node == node).map(|pod| pod.uid.clone()).collect();
        uids.sort();
        uids
    };
    for node in &world.nodes {
        world.wait("the pods to run again", || {
            ensure(node.running() == expected(node.name()), || format!("{:?} run", node.running()))
        });
    }
    world.start_hub();
    probe(&world);
    let after = world.settle();
    let restarted: Vec<_> = after.iter().map(|pod| Pod { restarts: 0, ..pod.clone() }).collect();
    assert_eq!(restarted, pods, "the same pods");
    assert!(after.iter().all(|pod| pod.restarts >= 1), "{after:?}");
}

#[test]
fn a_node_whose_agent_dies_is_unreachable_until_it_is_back() {
    let mut world = World::with_grace(2, "1s");
    world.deploy("web", 2, IMAGES[0]);
    let pods = world.settle();
    let before = calls(&world);
    world.nodes[0].kill();
    // The hub hears nothing until the connection counts as dead.
    wait_for(90, "node-0 to be unreachable", || {
        let node = world.api.get("/api/v1/nodes/node-0")?;
        ensure(taints(&node) == UNREACHABLE && condition(&node, "Ready") == "Unknown", || format!("it is {node}"))
    });
    world.wait("its pod not to be ready", || {
        let ready: Vec<_> = world.pods()?.into_iter().map(|pod| (pod.ready, pod.node, pod.phase)).collect();
        ensure(ready.iter().all(|(ready, node, phase)| *ready == (node == "node-1") && phase == "Running"), || {
            format!("there is {ready:?}")
        })
    });
    world.nodes[0].start();
    world.wait("node-0 to be back", || {
        let node = world.api.get("/api/v1/nodes/node-0")?;
        ensure(taints(&node).is_empty() && condition(&node, "Ready") == "True", || format!("it is {node}"))
    });
    assert_eq!(world.settle(), pods);
    assert_eq!(calls(&world), before, "no container was touched");
}

/// Key and effect of what a silent node gets.
const UNREACHABLE: [(&str, &str); 2] =
    [("node.kubernetes.io/unreachable", "NoExecute"), ("node.kubernetes.io/unreachable", "NoSchedule")];

fn taints(node: &Value) -> Vec<(&str, &str)> {
    let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut taints: Vec<_> =
        taints.iter().map(|t| (t["key"].as_str().unwrap(), t["effect"].as_str().unwrap())).collect();
    taints.sort_unstable();
    taints
}

#[test]
fn pods_of_a_deleted_node_are_collected_and_replaced() {
    let (mut world, pods) = started();
    world.nodes[1].stop();
    world.api.delete("/api/v1/nodes/node-1").unwrap();
    // The quarantine of a node that is gone is 40 s.
    wait_for(120, "all pods to be on node-0", || {
        let now = world.pods()?;
        let good = now.len() == 3 && now.iter().all(|pod| pod.serves() && pod.node == "node-0");
        ensure(good, || format!("there is {now:?}"))
    });
    let now = world.pods().unwrap();
    let kept: Vec<_> = pods.iter().filter(|pod| pod.node == "node-0").collect();
    assert!(kept.iter().all(|pod| now.contains(pod)), "{kept:?} are not among {now:?}");
}

#[test]
fn what_is_asked_while_nobody_listens_is_done_later() {
    let (world, _) = started();
    for replicas in [6, 1] {
        world.nodes.iter().for_each(|node| node.relay.cut(true));
        world.scale("web", replicas);
        world.wait("the hub to know what it wants", || {
            let bound = world.pods()?.iter().filter(|pod| !pod.deleting && !pod.node.is_empty()).count();
            ensure(bound == replicas as usize, || format!("{bound} pods are bound"))
        });
        world.nodes.iter().for_each(|node| node.relay.cut(false));
        assert_eq!(world.settle().len(), replicas as usize);
    }
}

#[test]
fn a_connection_that_dies_amid_changes_loses_none_of_them() {
    let world = World::with_grace(2, "1s");
    world.deploy("web", 3, IMAGES[0]);
    world.settle();
    world.nodes.iter().for_each(|node| node.relay.cut(true));
    world.scale("web", 8);
    // The connections are given up on both sides.
    wait_for(90, "the nodes to be unreachable", || {
        world.nodes.iter().try_for_each(|node| {
            let node = world.api.get(&format!("/api/v1/nodes/{}", node.name()))?;
            ensure(condition(&node, "Ready") == "Unknown", || format!("it is {node}"))
        })
    });
    world.scale("web", 2);
    world.nodes.iter().for_each(|node| node.relay.cut(false));
    let two = world.settle();
    assert!(two.len() == 2 && two.iter().all(|pod| pod.restarts == 0), "{two:?}");
}

#[test]
fn a_pod_deleted_by_force_leaves_its_node_whether_its_agent_hears_of_it_then_or_later() {
    let mut world = World::start(1);
    for agent_lives in [true, false] {
        world.deploy("web", 2, IMAGES[0]);
        let pods = world.settle();
        if !agent_lives {
            world.nodes[0].kill();
        }
        world.api.delete(&format!("/api/v1/namespaces/default/pods/{}?gracePeriodSeconds=0", pods[0].name)).unwrap();
        world.wait("the pod to be gone", || {
            let now = world.pods()?;
            ensure(now.iter().all(|pod| pod.uid != pods[0].uid), || format!("there is {now:?}"))
        });
        if !agent_lives {
            world.nodes[0].start();
        }
        let after = world.settle();
        assert!(after.len() == 2 && after.contains(&pods[1]), "{after:?}");
        world.api.delete(&format!("{DEPLOYMENTS}/web")).unwrap();
        world.wait("all pods to be gone", || ensure(world.settled()?.is_empty(), || "some are left".into()));
    }
}

#[test]
fn an_image_that_changes_while_the_hub_restarts_is_rolled_out_once() {
    let (mut world, _) = started();
    world.change("web", &json!({"template": {"spec": {"containers": [{"name": "main", "image": IMAGES[1]}]}}}));
    world.kill_hub();
    world.nodes.iter_mut().for_each(Node::kill);
    world.nodes.iter_mut().for_each(Node::start);
    world.start_hub();
    let pods = world.settle();
    assert!(pods.len() == 3 && pods.iter().all(|pod| pod.image == IMAGES[1]), "{pods:?}");
}
