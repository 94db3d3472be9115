//! A pod's start, probes and hooks in its life, and what they make of its status.

use skiff_shared::pod::{
    Extra, Handler, Hook, HookKind, Pod, Probe, ProbeKind, ReadinessGate, RestartPolicy, Volume, VolumeSource,
};
use skiff_shared::report::{ContainerReport, ContainerState, Phase};

use super::world::{World, pod};
use crate::ledger::facts::Failure;
use crate::pods::probes::Why;
use crate::pods::view::{ImageFailure, ImageState, Problem};

fn probe(kind: ProbeKind) -> Probe {
    Probe {
        container: "a".into(),
        kind,
        handler: Handler::Exec(vec!["true".into()]),
        initial_delay_seconds: 0,
        timeout_seconds: 1,
        period_seconds: 10,
        success_threshold: 1,
        failure_threshold: 3,
        grace_seconds: None,
    }
}

fn hook(kind: HookKind) -> Extra {
    Extra::Hook(Hook { container: "a".into(), kind, handler: Handler::Sleep(5) })
}

fn probed(probes: Vec<Probe>) -> World {
    let extras = probes.into_iter().map(Extra::Probe).collect();
    World::new(Pod { extras, ..pod(RestartPolicy::Always, &[], &["a"]) })
}

#[test]
fn a_pod_starts_with_sandbox_image_and_container_at_once() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a", "b"]));
    world.settle();
    assert_eq!(
        world.log,
        [
            "create sandbox",
            "image a",
            "image b",
            "start sandbox",
            "create a 0",
            "create b 0",
            "find address",
            "start a",
            "start b"
        ]
    );
    assert_eq!(world.report().phase, Phase::Running);
}

/// Ready, started and restarts of the container.
fn status(world: &World) -> (bool, bool, u32) {
    let report = world.report();
    (report.containers[0].ready, report.containers[0].started, report.containers[0].restarts)
}

impl World {
    /// Lets time pass to the next thing that is due, and settles.
    fn next(&mut self) {
        self.now_ms = self.decide().wake_ms.expect("something is due");
        self.settle();
    }
}

#[test]
fn readiness_comes_after_the_delay_and_goes_after_so_many_failures() {
    let mut world = probed(vec![Probe { initial_delay_seconds: 30, ..probe(ProbeKind::Readiness) }]);
    let began = world.now_ms;
    world.settle();
    assert_eq!((status(&world), world.report().phase), ((false, true, 0), Phase::Running));
    world.next();
    assert_eq!((world.now_ms - began, status(&world)), (30_000, (true, true, 0)));
    world.healthy = false;
    for ready in [true, true, false, false] {
        world.next();
        assert_eq!(status(&world), (ready, true, 0), "{}", world.now_ms - began);
    }
    world.healthy = true;
    world.next();
    assert_eq!((world.now_ms - began, status(&world)), (80_000, (true, true, 0)));
}

#[test]
fn a_container_that_is_not_alive_is_restarted() {
    for (kind, grace_seconds, killed_after) in
        [(ProbeKind::Liveness, None, 30_000), (ProbeKind::Startup, Some(5), 5_000)]
    {
        let mut world = probed(vec![Probe { grace_seconds, ..probe(kind) }]);
        world.healthy = false;
        world.settle();
        assert_eq!(status(&world), (kind == ProbeKind::Liveness, kind == ProbeKind::Liveness, 0));
        world.next();
        world.next();
        let failed_ms = world.now_ms;
        assert_eq!(world.log.last().unwrap(), "SIGTERM a", "{kind:?}");
        world.next();
        assert_eq!((world.log.contains(&"kill a".into()), world.now_ms - failed_ms), (true, killed_after), "{kind:?}");
        assert_eq!(status(&world).2, 1, "{kind:?}");
    }
}

#[test]
fn a_startup_probe_holds_back_the_others() {
    let startup = Probe { failure_threshold: 100, ..probe(ProbeKind::Startup) };
    let mut world = probed(vec![startup, probe(ProbeKind::Liveness), probe(ProbeKind::Readiness)]);
    world.healthy = false;
    world.settle();
    world.next();
    assert_eq!(
        world.log.iter().filter(|l| l.ends_with("a") && !l.starts_with("startup")).count(),
        2,
        "{:?}",
        world.log
    );
    assert_eq!(status(&world), (false, false, 0));
    world.healthy = true;
    world.next();
    assert_eq!(world.log[world.log.len() - 2..], ["liveness a", "readiness a"]);
    assert_eq!(status(&world), (true, true, 0));
}

#[test]
fn the_others_wait_for_a_sidecar_that_has_not_started() {
    let mut pod = pod(RestartPolicy::Always, &["side"], &["a"]);
    pod.extras.push(Extra::Probe(Probe { container: "side".into(), ..probe(ProbeKind::Startup) }));
    let mut world = World::new(pod);
    world.healthy = false;
    world.settle();
    assert_eq!(world.running(), ["side"]);
    world.healthy = true;
    world.next();
    assert_eq!(world.running(), ["a", "side"]);
}

#[test]
fn a_stop_waits_for_its_hook_but_not_longer_than_its_grace() {
    for (done_ms, killed_ms) in [(Some(4_000), 30_000), (None, 32_000)] {
        let mut world =
            World::new(Pod { extras: vec![hook(HookKind::PreStop)], ..pod(RestartPolicy::Always, &[], &["a"]) });
        world.settle();
        world.delete(30);
        world.settle();
        let began = world.now_ms;
        assert_eq!(world.log.last().unwrap(), "pre-stop a");
        match done_ms {
            Some(after) => {
                world.now_ms += after;
                let id = world.observed.newest("a").unwrap().id.clone();
                world.progress.checks.pre_stop_ended(&id);
                world.settle();
            }
            None => world.next(),
        }
        assert_eq!(world.log.last().unwrap(), "SIGTERM a", "{done_ms:?}");
        world.next();
        assert!(world.log.contains(&"kill a".into()), "{:?}", world.log);
        assert_eq!(world.now_ms - began, killed_ms, "{done_ms:?}");
    }
}

#[test]
fn a_deletion_without_grace_calls_no_hook() {
    let extras = vec![hook(HookKind::PreStop)];
    let mut world = World::new(Pod { extras, ..pod(RestartPolicy::Always, &[], &["a"]) });
    world.settle();
    world.delete(0);
    world.settle();
    assert!(!world.log.contains(&"pre-stop a".into()), "{:?}", world.log);
}

/// Starts the container `a`, whose hook is called as it starts, and tells its id.
fn start_with_hook(world: &mut World) -> String {
    while world.observed.newest("a").is_none_or(|seen| seen.started_ms == 0) {
        for action in world.decide().actions {
            world.act(action);
        }
    }
    let id = world.observed.newest("a").unwrap().id.clone();
    world.progress.checks.post_start_called(&id);
    id
}

#[test]
fn a_container_is_being_started_until_its_hook_is_through() {
    let extras = vec![hook(HookKind::PostStart), Extra::Probe(probe(ProbeKind::Readiness))];
    let mut world = World::new(Pod { extras, ..pod(RestartPolicy::Always, &[], &["a"]) });
    let id = start_with_hook(&mut world);
    world.settle();
    assert_eq!((world.reason(0), world.report().phase), ("ContainerCreating".into(), Phase::Pending));
    world.progress.checks.post_start_ended(&id, false);
    world.settle();
    assert_eq!((world.log.last().unwrap().as_str(), world.reason(0)), ("SIGTERM a", "PostStartHookError".into()));
    world.exit("a", 143);
    world.progress.checks.retain(|_| false);
    world.settle();
    assert_eq!(status(&world), (true, true, 1));
}

#[test]
fn containers_wait_for_the_hook_of_one_before_them() {
    let mut world =
        World::new(Pod { extras: vec![hook(HookKind::PostStart)], ..pod(RestartPolicy::Always, &[], &["a", "b"]) });
    let id = start_with_hook(&mut world);
    world.settle();
    assert_eq!(world.running(), ["a"]);
    world.progress.checks.post_start_ended(&id, true);
    world.settle();
    assert_eq!(world.running(), ["a", "b"]);
}

#[test]
fn a_container_that_cannot_be_started_holds_nobody_back() {
    for problem in [true, false] {
        let mut world =
            World::new(Pod { extras: vec![hook(HookKind::PostStart)], ..pod(RestartPolicy::Always, &[], &["a", "b"]) });
        let (reason, message) = ("x".to_owned(), String::new());
        if problem {
            let problem = Problem { reason, message, retry_ms: i64::MAX, failures: 1 };
            world.progress.problems.insert("a".into(), problem);
        } else {
            let failure = ImageFailure { reason, message, at_ms: 0, retry_ms: i64::MAX, failures: 1 };
            world.progress.images.insert("a".into(), ImageState::Failed(failure));
        }
        world.settle();
        assert_eq!(world.running(), ["b"], "{problem}");
    }
}

#[test]
fn a_pod_is_ready_once_its_gates_are_open() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    let missing = r#"corresponding condition of pod readiness gate "x" does not exist."#;
    let closed = r#"the status of pod readiness gate "y" is not "True", but False"#;
    for (x, y, expected) in [
        ("", "False", format!("{missing}, {closed}")),
        ("True", "False", closed.to_owned()),
        ("True", "True", String::new()),
    ] {
        let gate = |condition: &str, status: &str| {
            Extra::ReadinessGate(ReadinessGate { condition: condition.into(), status: status.into() })
        };
        world.pod.extras = vec![gate("x", x), gate("y", y)];
        let conditions = world.report().conditions;
        let find = |kind: &str| conditions.iter().find(|c| c.kind == kind).unwrap();
        let ready = find("Ready");
        let reason = if expected.is_empty() { "" } else { "ReadinessGatesNotReady" };
        assert!(find("ContainersReady").status);
        assert_eq!((ready.status, ready.reason.as_str(), &ready.message), (expected.is_empty(), reason, &expected));
    }
}

#[test]
fn containers_that_never_ran_have_ended_with_their_pod() {
    for (init, policy, expected) in [
        (&[][..], RestartPolicy::Always, [None, Some((137, "ContainerStatusUnknown"))]),
        // It held back the pod's own containers, and goes on being what they wait for.
        (&["i"][..], RestartPolicy::Never, [Some((1, "Error")), None]),
    ] {
        let mut world = World::new(pod(policy, init, &["a"]));
        world.pod.active_deadline_seconds = Some(60);
        world.progress.awaits_network = init.is_empty();
        world.settle();
        if !init.is_empty() {
            world.exit("i", 1);
        }
        world.now_ms += 61_000;
        world.settle();
        let report = world.report();
        assert_eq!(report.phase, Phase::Failed);
        let end = |c: Option<&ContainerReport>| match &c?.state {
            ContainerState::Terminated(end) => Some((end.exit_code, end.reason.clone())),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
        };
        let found = [end(report.init_containers.first()), end(report.containers.first())];
        assert_eq!(found, expected.map(|e| e.map(|(code, reason)| (code, reason.to_owned()))), "{init:?}");
    }
}

#[test]
fn limited_volumes_are_measured_and_an_evicted_pod_stops_at_once() {
    let source = VolumeSource::EmptyDir { memory: false, size_limit_bytes: Some(1) };
    let extras = vec![Extra::Volume(Volume { name: "v".into(), source })];
    let mut world = World::new(Pod { extras, ..pod(RestartPolicy::Always, &[], &["a"]) });
    world.settle();
    let began = world.now_ms;
    world.next();
    assert_eq!((world.log.iter().filter(|l| *l == "measure").count(), world.now_ms - began), (2, 10_000));
    world.facts.failed = Some(Failure { reason: "Evicted".into(), message: String::new() });
    world.settle();
    let began = world.now_ms;
    world.next();
    assert_eq!((world.log.contains(&"kill a".into()), world.now_ms - began), (true, 1_000));
    assert_eq!((world.report().phase, world.report().reason), (Phase::Failed, "Evicted".into()));
}

#[test]
fn containers_of_a_pod_that_was_ready_stay_ready_for_a_new_agent() {
    let mut world = probed(vec![probe(ProbeKind::Startup), probe(ProbeKind::Readiness)]);
    world.settle();
    assert_eq!(status(&world), (true, true, 0));
    world.progress = Default::default();
    assert_eq!(status(&world), (false, false, 0));
    let observed = world.observed.clone();
    world.progress.checks.adopt(&observed);
    assert_eq!(status(&world), (true, true, 0));
}

#[test]
fn stops_are_told_in_a_kubelets_words() {
    let always = pod(RestartPolicy::Always, &[], &["a"]);
    let never = pod(RestartPolicy::Never, &[], &["a"]);
    for (why, pod, expected) in [
        (Why::End, &always, "Stopping container a"),
        (Why::Changed, &always, "Container a definition changed, will be restarted"),
        (Why::Probe(ProbeKind::Liveness), &always, "Container a failed liveness probe, will be restarted"),
        (Why::Probe(ProbeKind::Startup), &never, "Container a failed startup probe"),
        (Why::PostStart, &always, "FailedPostStartHook"),
    ] {
        assert_eq!(why.message(pod, "a"), expected);
    }
}
