//! Resizes of running containers.

use skiff_shared::pod::{Extra, Resources, RestartOnResize, RestartPolicy};

use super::world::{World, pod};
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
    let problem = Problem { reason: "ResizeError".into(), message: String::new(), retry_ms, failures: 1 };
    world.progress.problems.insert("a".into(), problem);
    assert_eq!(world.settle().wake_ms, Some(retry_ms));
    world.now_ms = retry_ms;
    world.settle();
    assert_eq!(world.log.len(), 3);
}
