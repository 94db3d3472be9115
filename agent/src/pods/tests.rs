//! The pure parts, by tables and by random lives of a pod.

mod checks;
mod resize;
pub(super) mod world;

use proptest::prelude::*;
use skiff_shared::pod::{Container, Data, EnvFrom, EnvValue, EnvVar, Item, ObjectRef, RestartPolicy};
use skiff_shared::report::{Phase, Terminated};

use super::env::{Sources, environment, expand};
use super::history;
use super::view::{ImageFailure, ImageState, ObservedPod, Progress, Role};
use crate::desired::Desired;
use crate::ledger::facts::PodFacts;
use crate::podman::RunState;
use world::{World, container, pod};

#[test]
fn restart_delays_double_and_start_over_after_a_long_run() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    let mut delays = vec![];
    for _ in 0..8 {
        world.exit("a", 1);
        let decision = world.settle();
        let wake_ms = decision.wake_ms.unwrap_or(world.now_ms);
        delays.push((wake_ms - world.now_ms) / 1000);
        if wake_ms > world.now_ms {
            assert_eq!(world.reason(0), "CrashLoopBackOff");
            world.now_ms = wake_ms;
        }
        world.settle();
        assert_eq!(world.reason(0), "Running");
    }
    assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    world.now_ms += 601_000;
    world.exit("a", 1);
    assert_eq!(world.settle().wake_ms, None);
    assert_eq!(world.report().containers[0].restarts, 9);
}

#[test]
fn the_restart_policy_decides_what_becomes_of_an_end() {
    for (policy, code, phase, runs) in [
        (RestartPolicy::Always, 0, Phase::Running, true),
        (RestartPolicy::OnFailure, 0, Phase::Succeeded, false),
        (RestartPolicy::OnFailure, 1, Phase::Running, true),
        (RestartPolicy::Never, 0, Phase::Succeeded, false),
        (RestartPolicy::Never, 1, Phase::Failed, false),
    ] {
        let mut world = World::new(pod(policy, &[], &["a"]));
        world.settle();
        world.exit("a", code);
        world.settle();
        let case = format!("{policy:?} {code}");
        assert_eq!((world.report().phase, !world.running().is_empty()), (phase, runs), "{case}");
        assert_eq!(world.observed.sandbox_runs(), runs, "{case}");
    }
}

#[test]
fn init_containers_run_one_by_one_and_sidecars_stay() {
    let mut world = World::new(pod(RestartPolicy::Always, &["i1", "side", "i2"], &["a"]));
    world.settle();
    assert_eq!(world.running(), ["i1"]);
    assert_eq!((world.reason(0), world.report().phase), ("PodInitializing".into(), Phase::Pending));
    world.exit("i1", 0);
    world.settle();
    assert_eq!(world.running(), ["i2", "side"]);
    world.exit("i2", 1);
    world.settle();
    assert_eq!(world.running(), ["i2", "side"], "a failed init container is tried again");
    world.exit("i2", 0);
    world.settle();
    assert_eq!(world.running(), ["a", "side"]);
    world.exit("side", 0);
    world.settle();
    assert_eq!(world.running(), ["a", "side"]);
    let report = world.report();
    assert!(report.conditions.iter().all(|c| c.status), "{:#?}", report.conditions);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::new(pod(RestartPolicy::Never, &["i1"], &["a"]));
    world.settle();
    world.exit("i1", 3);
    world.settle();
    assert_eq!((world.report().phase, world.running().len()), (Phase::Failed, 0));
}

#[test]
fn deletion_is_a_signal_a_grace_and_a_kill() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.log.clear();
    world.delete(30);
    let decision = world.settle();
    assert_eq!((world.log.clone(), decision.wake_ms), (vec!["SIGTERM a".into()], Some(world.now_ms + 30_000)));
    world.now_ms += 30_000;
    assert!(world.settle().gone);
    assert_eq!(world.log, ["SIGTERM a", "kill a", "remove sandbox"]);
}

#[test]
fn sidecars_stop_last_and_in_reverse_order() {
    let mut world = World::new(pod(RestartPolicy::Always, &["side1", "side2"], &["a"]));
    world.settle();
    world.log.clear();
    world.delete(30);
    world.settle();
    assert_eq!(world.log, ["SIGTERM a"]);
    world.exit("a", 0);
    world.settle();
    assert_eq!(world.log, ["SIGTERM a", "SIGTERM side2"]);
    world.now_ms += 30_000;
    world.settle();
    assert_eq!(world.log, ["SIGTERM a", "SIGTERM side2", "kill side2", "SIGTERM side1"]);
    world.now_ms += 2_000;
    assert!(world.settle().gone);
}

#[test]
fn a_pod_ends_only_when_nothing_of_it_runs() {
    let mut world = World::new(pod(RestartPolicy::Never, &["side"], &["a"]));
    world.settle();
    world.exit("a", 0);
    world.settle();
    assert_eq!((world.report().phase, world.running()), (Phase::Running, vec!["side"]));
    world.exit("side", 143);
    world.settle();
    assert_eq!(world.report().phase, Phase::Succeeded);

    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.delete(30);
    world.settle();
    assert_eq!(world.report().phase, Phase::Running);
    world.exit("a", 143);
    world.settle();
    assert_eq!((world.report().phase, world.reason(0)), (Phase::Failed, "Error".into()), "nothing is restarted");
}

#[test]
fn an_image_that_cannot_be_had_keeps_its_reason_while_it_is_tried_again() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    let failure = ImageFailure {
        reason: "ErrImagePull".into(),
        message: "manifest unknown".into(),
        at_ms: world.now_ms,
        retry_ms: world.now_ms + 10_000,
        failures: 1,
    };
    for (later_ms, state, reason) in [
        (0, ImageState::Busy(None), "ContainerCreating"),
        (0, ImageState::Failed(failure.clone()), "ErrImagePull"),
        (5_000, ImageState::Failed(failure.clone()), "ImagePullBackOff"),
        (5_000, ImageState::Busy(Some(failure)), "ImagePullBackOff"),
    ] {
        world.now_ms += later_ms;
        world.progress.images.insert("a".into(), state);
        assert_eq!((world.reason(0), world.report().phase), (reason.into(), Phase::Pending));
    }
}

#[test]
fn a_pod_deleted_before_it_started_is_gone_at_once() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.delete(30);
    assert!(world.settle().gone);
    assert!(world.log.is_empty());
}

#[test]
fn after_a_reboot_everything_runs_again_with_its_inits_first() {
    let mut world = World::new(pod(RestartPolicy::Always, &["i1"], &["a"]));
    world.settle();
    world.exit("i1", 0);
    world.settle();
    assert_eq!(world.running(), ["a"]);
    world.reboot();
    world.settle();
    assert_eq!(world.running(), ["i1"]);
    world.exit("i1", 0);
    world.settle();
    assert_eq!(world.running(), ["a"]);
    let report = world.report();
    assert_eq!(report.containers[0].restarts, 1);
    assert_eq!(report.containers[0].last.as_ref().map(|l| l.exit_code), Some(255));
}

#[test]
fn a_lost_podman_database_is_rebuilt() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.observed = ObservedPod::default();
    world.settle();
    assert_eq!(world.running(), ["a"]);
    let last = world.report().containers[0].last.clone().unwrap();
    assert_eq!((last.exit_code, last.reason.as_str()), (137, "ContainerStatusUnknown"));
}

#[test]
fn a_changed_image_replaces_the_container() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.pod.containers[0].image = "localhost/bb:2".into();
    world.settle();
    world.exit("a", 0);
    world.settle();
    assert_eq!(world.observed.newest("a").map(|c| c.image.as_str()), Some("localhost/bb:2"));
    assert_eq!(world.report().containers[0].restarts, 1);
}

#[test]
fn a_deadline_ends_the_pod() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.pod.active_deadline_seconds = Some(60);
    let start_ms = world.now_ms;
    assert_eq!(world.settle().wake_ms, Some(start_ms + 60_000));
    world.now_ms += 60_000;
    world.settle();
    world.now_ms += 30_000;
    world.settle();
    let report = world.report();
    assert_eq!((report.phase, report.reason.as_str(), world.running().len()), (Phase::Failed, "DeadlineExceeded", 0));
}

#[test]
fn only_the_newest_two_attempts_are_kept() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    for _ in 0..5 {
        world.settle();
        world.exit("a", 1);
        world.now_ms += 400_000;
        world.settle();
    }
    let mut attempts: Vec<u32> = world.observed.containers.iter().map(|c| c.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [4, 5]);
}

#[test]
fn an_ephemeral_container_runs_once_and_counts_for_nothing() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.debug("dbg", None);
    world.settle();
    assert_eq!(world.running(), ["a", "dbg"]);
    world.exit("dbg", 3);
    world.settle();
    let report = world.report();
    assert_eq!((report.phase, world.running()), (Phase::Running, vec!["a"]), "never restarted");
    assert_eq!((world.reason(1).as_str(), report.containers[1].ready), ("Error", false));
    assert!(report.conditions.iter().all(|c| c.status), "{:#?}", report.conditions);
    world.reboot();
    world.settle();
    assert_eq!(world.running(), ["a"], "nor after a reboot");
    world.observed = ObservedPod::default();
    world.settle();
    world.now_ms += 400_000;
    world.settle();
    assert_eq!(world.running(), ["a"], "nor when Podman has lost everything");
}

#[test]
fn an_ephemeral_container_runs_beside_init_containers_and_ends_with_the_pod() {
    let mut world = World::new(pod(RestartPolicy::Never, &["i1"], &["a"]));
    world.settle();
    world.debug("dbg", None);
    world.settle();
    assert_eq!(world.running(), ["dbg", "i1"]);
    world.exit("i1", 0);
    world.settle();
    world.exit("a", 0);
    world.log.clear();
    world.settle();
    assert_eq!((world.log.clone(), world.report().phase), (vec!["SIGTERM dbg".into()], Phase::Running));
    world.exit("dbg", 143);
    world.settle();
    assert_eq!(world.report().phase, Phase::Succeeded);
    world.delete(30);
    assert!(world.settle().gone);
}

#[test]
fn an_ephemeral_container_joins_the_container_that_runs() {
    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.debug("dbg", Some("a"));
    world.settle();
    let a = world.observed.newest("a").map(|c| c.id.clone()).unwrap();
    assert_eq!(world.observed.newest("dbg").map(|c| c.joins.clone()), Some(a.clone()));
    for _ in 0..5 {
        world.exit("a", 1);
        world.now_ms += 400_000;
        world.settle();
    }
    assert!(world.observed.containers.iter().any(|c| c.id == a), "Podman would not remove what is joined");

    let mut world = World::new(pod(RestartPolicy::Always, &[], &["a"]));
    world.settle();
    world.debug("dbg", Some("a"));
    for action in ["image dbg", "create dbg 0"] {
        let next = world.decide().actions.remove(0);
        assert_eq!(world::describe(&next), action);
        world.act(next);
    }
    world.exit("a", 1);
    world.settle();
    assert_eq!((world.running(), world.reason(1).as_str()), (vec!["a"], "ContainerStatusUnknown"));
}

#[derive(Debug, Clone)]
enum Event {
    Exit(usize, i32),
    Advance(i64),
    Reboot,
    LosePodman,
    StopSandbox,
    Step,
    Settle,
    ForgetFacts,
    Debug(usize, Option<usize>),
    Delete(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..6_usize, prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(i, code)| Event::Exit(i, code)),
        4 => (0..700_000_i64).prop_map(Event::Advance),
        1 => Just(Event::Reboot),
        1 => Just(Event::LosePodman),
        1 => Just(Event::StopSandbox),
        3 => Just(Event::Step),
        4 => Just(Event::Settle),
        1 => Just(Event::ForgetFacts),
        1 => (4..6_usize, proptest::option::of(2..4_usize)).prop_map(|(i, target)| Event::Debug(i, target)),
        1 => prop_oneof![Just(0), Just(30)].prop_map(Event::Delete),
    ];
    proptest::collection::vec(event, 0..40)
}

fn policies() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)]
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold_and_a_deleted_pod_goes(
        policy in policies(),
        inits in 0..3_usize,
        deadline in proptest::option::of(1..1000_u64),
        events in events(),
    ) {
        const NAMES: [&str; 6] = ["i1", "side", "a", "b", "d1", "d2"];
        let mut pod = pod(policy, &NAMES[..inits], &NAMES[2..4]);
        pod.active_deadline_seconds = deadline;
        let mut world = World::new(pod);
        for event in events {
            match event {
                Event::Exit(i, code) => world.exit(NAMES[i], code),
                Event::Advance(ms) => world.now_ms += ms,
                Event::Reboot => world.reboot(),
                Event::LosePodman => world.observed = ObservedPod::default(),
                Event::StopSandbox => if world.observed.sandbox_runs() { world.set_sandbox(RunState::Exited) },
                Event::Step => {
                    if let Some(action) = world.decide().actions.into_iter().next() {
                        world.act(action);
                    }
                }
                Event::Settle => { world.settle(); }
                Event::ForgetFacts => {
                    world.facts = PodFacts::default();
                    world.progress = Progress::default();
                }
                Event::Debug(i, target) => if !world.pod.ephemeral().any(|e| e.container.name == NAMES[i]) {
                    world.debug(NAMES[i], target.map(|t| NAMES[t]));
                },
                Event::Delete(grace) => world.delete(grace),
            }
            let _ = world.report();
        }
        world.delete(30);
        world.settle();
        // The pod's own containers have their grace, then each sidecar its least.
        for _ in 0..3 {
            world.now_ms += 60_000;
            world.settle();
        }
        prop_assert!(world.settle().gone);
        prop_assert!(world.observed.is_empty());
    }
}

#[test]
fn references_in_values_are_expanded_as_kubernetes_does() {
    let env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(A)"),
        ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("", ""),
    ] {
        assert_eq!(expand(text, &env), expected, "{text}");
    }
}

fn sources(desired: &Desired) -> Sources<'_> {
    Sources {
        desired,
        node: "n1",
        host_ip: "192.0.2.1",
        pod_ip: "10.42.0.5",
        node_cpu_milli: 2000,
        node_memory_bytes: 1 << 30,
        node_storage_bytes: 1 << 40,
    }
}

#[test]
fn the_environment_comes_from_everywhere_in_order() {
    let mut desired = Desired::default();
    let entries = vec![("A".into(), b"cm".to_vec()), ("bad=name".into(), b"x".to_vec()), ("Z".into(), b"z".to_vec())];
    desired.put(Item::ConfigMap(Data { namespace: "ns".into(), name: "cm".into(), entries }));
    let pod = pod(RestartPolicy::Always, &[], &["a"]);
    let mut spec = container("a");
    spec.env_from = vec![EnvFrom { prefix: "P_".into(), source: ObjectRef::ConfigMap("cm".into()), optional: false }];
    let key = |key: &str| EnvValue::Key { source: ObjectRef::ConfigMap("cm".into()), key: key.into(), optional: true };
    let var = |name: &str, value| EnvVar { name: name.into(), value };
    spec.env = vec![
        var("P_A", EnvValue::Literal("own".into())),
        var("K", key("Z")),
        var("NONE", key("nope")),
        var("REF", EnvValue::Literal("$(K) $(P_Z)".into())),
        var("NAME", EnvValue::Field("metadata.name".into())),
        var("LABEL", EnvValue::Field("metadata.labels['app']".into())),
        var("CPU", EnvValue::Resource { container: String::new(), resource: "limits.cpu".into(), divisor: 1000 }),
    ];
    let env = environment(&pod, &spec, &sources(&desired)).unwrap();
    let text: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(text, ["P_A=own", "P_Z=z", "K=z", "REF=z $(P_Z)", "NAME=web", "LABEL=web", "CPU=2"]);
}

#[test]
fn what_is_missing_is_named_in_the_kubelets_words() {
    let mut desired = Desired::default();
    desired.put(Item::ConfigMap(Data { namespace: "ns".into(), name: "cm".into(), entries: vec![] }));
    let pod = pod(RestartPolicy::Always, &[], &["a"]);
    let key = |source| EnvValue::Key { source, key: "k".into(), optional: false };
    for (value, message) in [
        (key(ObjectRef::ConfigMap("no".into())), "configmap \"no\" not found"),
        (key(ObjectRef::Secret("no".into())), "secret \"no\" not found"),
        (key(ObjectRef::ConfigMap("cm".into())), "couldn't find key k in ConfigMap ns/cm"),
        (EnvValue::Field("spec.x".into()), "unsupported fieldPath: spec.x"),
    ] {
        let spec = Container { env: vec![EnvVar { name: "X".into(), value }], ..container("a") };
        assert_eq!(environment(&pod, &spec, &sources(&desired)).unwrap_err().to_string(), message);
    }
}

#[test]
fn only_sidecars_restart_whatever_the_policy() {
    let end = |exit_code| Terminated {
        exit_code,
        reason: String::new(),
        message: String::new(),
        started_ms: 0,
        finished_ms: 0,
        container_id: String::new(),
    };
    assert!(history::restarts(RestartPolicy::Never, Role::Sidecar, &end(0)));
    assert!(!history::restarts(RestartPolicy::Always, Role::Init, &end(0)));
    assert!(!history::restarts(RestartPolicy::Always, Role::Ephemeral, &end(1)));
    assert!(history::restarts(RestartPolicy::Always, Role::Init, &end(1)));
}
