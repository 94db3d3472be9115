//! Resizes of running containers.

use skiff_shared::pod::{Extra, Pod, Resources, RestartOnResize, RestartPolicy};
use skiff_shared::report::ContainerResources;

use super::world::{World, pod};
use crate::pods::allocation::{Pending, RETRY_MS, Room, judge};
use crate::pods::status::RESIZE_ERROR;
use crate::pods::view::Problem;

/// What a container asks for: a CPU request in milli-units and a memory limit in MiB.
fn asks(cpu: u64, memory: u64) -> Resources {
    Resources { cpu_request_milli: Some(cpu), memory_limit_bytes: Some(memory << 20), ..Resources::default() }
}

/// A running pod of one container that asks for 100m and 64 MiB, and restarts for what is named.
fn running(cpu: bool, memory: bool) -> World {
    let mut pod = pod(RestartPolicy::Always, &[], &["a"]);
    pod.containers[0].resources = asks(100, 64);
    pod.extras = vec![Extra::RestartOnResize(RestartOnResize { container: "a".into(), cpu, memory })];
    let mut world = World::new(pod);
    world.settle();
    world.log.clear();
    world
}

#[test]
fn resources_change_live_or_by_a_restart() {
    for ((cpu, memory), resources, expected) in [
        ((false, false), asks(100, 64), &[][..]),
        ((false, false), asks(200, 64), &["resize a"]),
        ((false, false), asks(100, 128), &["resize a"]),
        ((true, false), asks(100, 128), &["resize a"]),
        ((false, true), asks(200, 64), &["resize a"]),
        ((true, false), asks(200, 64), &["SIGTERM a"]),
        ((false, true), asks(200, 32), &["SIGTERM a"]),
    ] {
        let mut world = running(cpu, memory);
        world.pod.containers[0].resources = resources;
        world.settle();
        assert_eq!(world.log, expected, "{cpu} {memory} {resources:?}");
        world.exit("a", 0);
        world.settle();
        world.log.clear();
        world.settle();
        assert!(world.log.is_empty(), "once: {:?}", world.log);
    }
}

#[test]
fn a_restarted_agent_and_a_failure_try_again() {
    let mut world = running(false, false);
    let had = world.observed.containers[0].limits;
    world.pod.containers[0].resources = asks(200, 64);
    world.settle();
    world.observed.containers[0].limits = had;
    world.settle();
    assert_eq!(world.log, ["resize a", "resize a"], "the agent forgot, and does it again");
    world.observed.containers[0].limits = had;
    let retry_ms = world.now_ms + 10_000;
    let problem = Problem { reason: RESIZE_ERROR.into(), message: String::new(), retry_ms, failures: 1 };
    world.progress.problems.insert("a".into(), problem);
    assert_eq!(world.settle().wake_ms, Some(retry_ms));
    world.now_ms = retry_ms;
    world.settle();
    assert_eq!(world.log.len(), 3);
}

/// A pod of two containers, a sidecar and an init container, with these CPU requests.
fn asking(init: u64, sidecar: u64, main: u64, memory: u64) -> Pod {
    let mut pod = pod(RestartPolicy::Always, &["side", "init"], &["a", "b"]);
    let cpu = |cpu| Resources { cpu_request_milli: Some(cpu), ..Resources::default() };
    pod.init_containers[0].resources = cpu(sidecar);
    pod.init_containers[1].resources = cpu(init);
    pod.containers[0].resources = cpu(main);
    pod.containers[1].resources = Resources { memory_request_bytes: Some(memory), ..cpu(main) };
    pod
}

#[test]
fn a_resize_needs_room_on_the_node() {
    let room = Room { cpu_milli: 1000, memory_bytes: 1000 };
    let used = Room { cpu_milli: 400, memory_bytes: 600 };
    let no_room = "Node didn't have enough resource: ";
    let too_small = "Node didn't have enough capacity: ";
    for (pod, expected) in [
        (asking(500, 100, 250, 400), None),
        (
            asking(501, 100, 250, 400),
            Some(("Deferred", format!("{no_room}cpu, requested: 601, used: 400, capacity: 1000"))),
        ),
        (
            asking(0, 100, 251, 400),
            Some(("Deferred", format!("{no_room}cpu, requested: 602, used: 400, capacity: 1000"))),
        ),
        (
            asking(0, 0, 0, 401),
            Some(("Deferred", format!("{no_room}memory, requested: 401, used: 600, capacity: 1000"))),
        ),
        (asking(0, 0, 501, 0), Some(("Infeasible", format!("{too_small}cpu, requested: 1002, capacity: 1000")))),
        (asking(0, 0, 501, 1001), Some(("Infeasible", format!("{too_small}memory, requested: 1001, capacity: 1000")))),
    ] {
        let pending = judge(&pod, used, room, 7);
        assert_eq!(pending.as_ref().map(|p| (p.reason, p.message.clone())), expected);
        let retry_ms = pending.and_then(|p| p.retry_ms);
        assert_eq!(retry_ms, expected.filter(|(reason, _)| *reason == "Deferred").map(|_| 7 + RETRY_MS));
    }
}

#[test]
fn a_resize_that_is_not_done_is_told() {
    let mut world = running(false, false);
    let told = |world: &World| {
        let report = world.report();
        let resizes = report.conditions.into_iter().filter(|c| c.kind.starts_with("PodResize"));
        let resizes: Vec<_> = resizes.map(|c| format!("{} {} {}", c.kind, c.reason, c.message)).collect();
        (resizes, report.resources)
    };
    let given = |allocated, actual| vec![ContainerResources { container: "a".into(), allocated, actual }];
    assert_eq!(told(&world), (vec![], given(asks(100, 64), asks(100, 64))));
    world.pod.containers[0].resources = asks(200, 128);
    assert_eq!(told(&world), (vec!["PodResizeInProgress  ".to_owned()], given(asks(200, 128), asks(100, 64))));
    let problem = Problem { reason: RESIZE_ERROR.into(), message: "no".into(), retry_ms: i64::MAX, failures: 1 };
    world.progress.problems.insert("a".into(), problem);
    assert_eq!(told(&world).0, ["PodResizeInProgress Error no"]);
    world.progress.problems.clear();
    world.settle();
    assert_eq!(told(&world), (vec![], given(asks(200, 128), asks(200, 128))));
    let pending = Pending { reason: "Deferred", message: "no room".into(), retry_ms: Some(world.now_ms + 5) };
    world.progress.resize = Some(pending);
    assert_eq!(told(&world).0, ["PodResizePending Deferred no room"]);
    assert_eq!(world.settle().wake_ms, Some(world.now_ms + 5));
}
