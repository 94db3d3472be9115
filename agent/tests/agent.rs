//! A whole agent on the fake Podman, in paused time. The same on a real Podman is in `tests/tests/agent.rs`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap in a test is a failed test, in its helpers too")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skiff_agent::ledger::Ledger;
use skiff_agent::link::Node;
use skiff_agent::podman::fake::{Call, FakePodman};
use skiff_agent::podman::{Podman, PodmanError, RunState};
use skiff_agent::pods::context::Clock;
use skiff_agent::run::{Agent, Settings};
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::pod::{Container, Deletion, Item, ItemKey, Pod, PullPolicy, Qos, Resources, RestartPolicy, Security};
use skiff_shared::report::{ContainerState, Phase, PodReport};
use skiff_shared::wire::{Change, Welcome};
use tokio::time::Instant;

/// Longer than any delay in the agent; paused time makes it free.
const PATIENCE: Duration = Duration::from_secs(3600);
const IMAGE: &str = "localhost/bb:1";

struct Stage {
    agent: Arc<Agent>,
    podman: Arc<FakePodman>,
    watch: tokio::task::JoinHandle<()>,
}

/// Starts an agent that heard its pod subnet in an earlier life.
async fn start(podman: &Arc<FakePodman>, dir: &Path) -> Stage {
    let (ledger, _) = Ledger::open(dir).unwrap();
    ledger.put_welcome(&welcome()).unwrap();
    drop(ledger);
    start_new(podman, dir).await
}

fn welcome() -> Welcome {
    Welcome {
        version: "0.1.0".into(),
        pod_cidr: "10.42.3.0/24".into(),
        cluster_dns: "10.43.0.10".into(),
        cluster_domain: "cluster.local".into(),
    }
}

async fn start_new(podman: &Arc<FakePodman>, dir: &Path) -> Stage {
    let settings = Settings {
        data_dir: dir.to_owned(),
        node: NodeName::parse("n1").unwrap(),
        node_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        podman: "fake".into(),
        clock: Clock::Tokio { base_ms: 1_700_000_000_000, start: Instant::now() },
    };
    let api: Arc<dyn Podman> = podman.clone();
    let agent = Agent::start(&settings, api).await.unwrap();
    let watched = Arc::clone(&agent);
    let watch = tokio::spawn(async move { watched.watch().await });
    podman.set_now(1_700_000_000_000);
    Stage { agent, podman: podman.clone(), watch }
}

fn pod(uid: &str) -> Pod {
    let container = Container {
        name: "c".into(),
        image: IMAGE.into(),
        pull_policy: PullPolicy::IfNotPresent,
        command: vec![],
        args: vec![],
        working_dir: None,
        env_from: vec![],
        env: vec![],
        ports: vec![],
        resources: Resources::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        termination_message_from_logs: false,
        security: Security::default(),
        sidecar: false,
    };
    Pod {
        uid: PodUid::parse(uid).unwrap(),
        namespace: "default".into(),
        name: uid.into(),
        labels: vec![],
        annotations: vec![],
        init_containers: vec![],
        containers: vec![container],
        restart_policy: RestartPolicy::Always,
        termination_grace_seconds: 30,
        active_deadline_seconds: None,
        hostname: uid.into(),
        host_network: false,
        service_account: "default".into(),
        qos: Qos::BestEffort,
        deletion: None,
        created_unix_ms: 0,
        extras: Vec::new(),
    }
}

impl Stage {
    async fn stop(self) {
        self.watch.abort();
        let _ = self.watch.await;
        self.agent.stop().await;
    }

    async fn put(&self, pod: Pod) {
        self.agent.apply(Change { seq: 1, upserts: vec![Item::Pod(pod)], removals: vec![] }).await.unwrap();
    }

    async fn remove(&self, uid: &str) {
        let key = ItemKey::Pod(PodUid::parse(uid).unwrap());
        self.agent.apply(Change { seq: 1, upserts: vec![], removals: vec![key] }).await.unwrap();
    }

    async fn until(&self, uid: &str, what: &str, wanted: impl Fn(&PodReport) -> bool) -> Arc<PodReport> {
        let uid = PodUid::parse(uid).unwrap();
        let mut reported = self.agent.reported();
        let found = tokio::time::timeout(PATIENCE, reported.wait_for(|r| r.pods.get(&uid).is_some_and(|p| wanted(p))));
        match found.await {
            Ok(reported) => Arc::clone(&reported.unwrap().pods[&uid]),
            Err(_) => panic!("not {what}: {:#?}\n{:#?}", self.agent.reported().borrow().pods, self.podman.calls()),
        }
    }

    async fn until_forgotten(&self, uid: &str) {
        let uid = PodUid::parse(uid).unwrap();
        let mut reported = self.agent.reported();
        tokio::time::timeout(PATIENCE, reported.wait_for(|r| !r.pods.contains_key(&uid))).await.unwrap().unwrap();
    }

    fn reasons(&self) -> Vec<String> {
        self.agent.events_after(0, 1000).into_iter().map(|e| e.reason).collect()
    }
}

fn running(report: &PodReport) -> bool {
    report.phase == Phase::Running && report.containers.iter().all(|c| c.ready)
}

fn waiting(report: &PodReport, reason: &str) -> bool {
    matches!(&report.containers[0].state, ContainerState::Waiting { reason: r, .. } if r == reason)
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_adopts_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "running", running).await;
    stage.stop().await;
    let before = podman.calls();
    let stage = start(&podman, dir.path()).await;
    let report = stage.until("a", "running", running).await;
    assert_eq!(report.containers[0].restarts, 0);
    assert_eq!(podman.calls(), before, "nothing was done");
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_pods_come_back_without_a_hub() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "running", running).await;
    stage.stop().await;
    for lost in [false, true] {
        podman.reboot();
        if lost {
            podman.lose_everything();
        }
        let stage = start(&podman, dir.path()).await;
        let report = stage.until("a", "running again", running).await;
        assert_eq!(report.containers[0].restarts, 1 + u32::from(lost));
        stage.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_backs_off_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "running", running).await;
    podman.exit("a", "c", 1);
    stage.until("a", "restarted", |p| running(p) && p.containers[0].restarts == 1).await;
    podman.exit("a", "c", 1);
    stage.until("a", "backing off", |p| waiting(p, "CrashLoopBackOff")).await;
    stage.until("a", "restarted", |p| running(p) && p.containers[0].restarts == 2).await;
    assert!(stage.reasons().iter().any(|r| r == "BackOff"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_appears_is_pulled_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "failing", |p| waiting(p, "ErrImagePull")).await;
    stage.until("a", "backing off", |p| waiting(p, "ImagePullBackOff")).await;
    podman.publish_image(IMAGE);
    stage.until("a", "running", running).await;
    let reasons = stage.reasons();
    for reason in ["Pulling", "Failed", "BackOff", "Pulled", "Created", "Started"] {
        assert!(reasons.iter().any(|r| r == reason), "{reason} is not in {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_while_its_image_is_pulled_is_gone_and_others_pull() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.publish_image(IMAGE);
    podman.hold_pulls(true);
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "pulling", |p| waiting(p, "ContainerCreating") && !p.conditions.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    podman.hold_pulls(false);
    stage.put(pod("b")).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(podman.calls().iter().all(|c| !c.starts_with("pull")), "one pull at a time");
    stage.put(Pod { deletion: Some(Deletion { grace_seconds: 30, deadline_unix_ms: 0 }), ..pod("a") }).await;
    let report = stage.until("a", "gone", |p| p.gone).await;
    assert_eq!(report.phase, Phase::Pending);
    stage.until("b", "running", running).await;
    assert!(podman.containers().iter().all(|c| c.labels.pod == "b"));
}

#[tokio::test(start_paused = true)]
async fn an_ended_pod_keeps_its_history_and_its_containers_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start(&podman, dir.path()).await;
    stage.put(Pod { restart_policy: RestartPolicy::OnFailure, ..pod("a") }).await;
    stage.until("a", "running", running).await;
    podman.exit("a", "c", 1);
    stage.until("a", "restarted", |p| running(p) && p.containers[0].restarts == 1).await;
    podman.set_now(1_700_000_050_000);
    podman.exit("a", "c", 0);
    let before = stage.until("a", "succeeded", |p| p.phase == Phase::Succeeded).await;
    let ContainerState::Terminated(end) = &before.containers[0].state else { panic!("{before:#?}") };
    assert_eq!((end.exit_code, end.reason.as_str(), end.finished_ms), (0, "Completed", 1_700_000_050_000));
    assert_eq!(before.containers[0].last.as_ref().map(|l| l.exit_code), Some(1));
    assert!(!before.containers[0].ready && before.conditions.iter().any(|c| c.reason == "PodCompleted"));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    stage.stop().await;

    let stage = start(&podman, dir.path()).await;
    let after = stage.until("a", "succeeded", |p| p.phase == Phase::Succeeded).await;
    assert_eq!(after, before);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(podman.containers().iter().filter(|c| !c.infra).count(), 2, "their logs can still be read");
}

#[tokio::test(start_paused = true)]
async fn deletion_waits_for_the_grace_and_then_kills() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    podman.ignore_sigterm();
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "running", running).await;
    let began = Instant::now();
    let deletion = Some(Deletion { grace_seconds: 7, deadline_unix_ms: 0 });
    stage.put(Pod { deletion, ..pod("a") }).await;
    stage.until("a", "gone", |p| p.gone).await;
    assert!((7..9).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(podman.containers().is_empty());
    stage.remove("a").await;
    stage.until_forgotten("a").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_the_hub_removes_is_stopped_even_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    podman.ignore_sigterm();
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.until("a", "running", running).await;
    stage.remove("a").await;
    assert!(stage.agent.desired().items.is_empty());
    stage.stop().await;
    assert_eq!(podman.containers().iter().filter(|c| c.state == RunState::Running).count(), 2);
    let stage = start(&podman, dir.path()).await;
    stage.until("a", "known", |_| true).await;
    stage.until_forgotten("a").await;
    assert!(podman.containers().is_empty());
    stage.stop().await;
    assert!(start(&podman, dir.path()).await.agent.reported().borrow().pods.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_lost_ledger_are_stopped_only_after_the_hub_was_heard() {
    let (dir, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.put(pod("b")).await;
    stage.until("a", "running", running).await;
    stage.until("b", "running", running).await;
    stage.stop().await;
    let stage = start(&podman, fresh.path()).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(podman.containers().len(), 4, "without the hub nothing is stopped");
    stage.put(pod("a")).await;
    let report = stage.until("a", "adopted", running).await;
    assert_eq!(report.containers[0].restarts, 0);
    stage.agent.welcome(welcome()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(podman.containers().iter().all(|c| c.labels.pod == "a"));
}

#[tokio::test(start_paused = true)]
async fn pods_wait_for_the_nodes_subnet_and_host_network_pods_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let podman = Arc::new(FakePodman::default());
    podman.add_image(IMAGE);
    let stage = start_new(&podman, dir.path()).await;
    stage.put(pod("a")).await;
    stage.put(Pod { host_network: true, ..pod("h") }).await;
    let report = stage.until("h", "running", running).await;
    assert_eq!(report.pod_ip, "192.0.2.1");
    let report = stage.until("a", "waiting", |_| true).await;
    let creating = ContainerState::Waiting { reason: "ContainerCreating".into(), message: String::new() };
    assert_eq!((&report.containers[0].state, report.phase), (&creating, Phase::Pending));
    let not_ready = |stage: &Stage| stage.reasons().iter().filter(|r| *r == "NetworkNotReady").count();
    assert_eq!(not_ready(&stage), 1);
    assert!(!podman.calls().iter().any(|c| c.contains("network") || c.contains("_a_")), "{:#?}", podman.calls());

    stage.agent.welcome(welcome()).await.unwrap();
    let report = stage.until("a", "running", running).await;
    assert!(report.pod_ip.starts_with("10.42.3."), "{}", report.pod_ip);
    assert_eq!(podman.calls().iter().filter(|c| c.starts_with("create network")).count(), 1);
    stage.stop().await;

    // A reboot that Podman's networks did not survive, with the hub away.
    podman.lose_everything();
    let stage = start_new(&podman, dir.path()).await;
    let report = stage.until("a", "running again", running).await;
    assert!(report.pod_ip.starts_with("10.42.3."), "{}", report.pod_ip);
    assert_eq!(not_ready(&stage), 1, "known from the ledger");
}

#[tokio::test(start_paused = true)]
async fn faults_of_podman_only_delay() {
    let calls =
        [Call::List, Call::CreatePod, Call::Start, Call::Image, Call::CreateContainer, Call::Events, Call::Inspect];
    for call in calls {
        let dir = tempfile::tempdir().unwrap();
        let podman = Arc::new(FakePodman::default());
        podman.add_image(IMAGE);
        podman.fail(call, PodmanError::Failed { code: 500, message: "boom".into() });
        let source = std::io::Error::other("gone");
        podman
            .fail(call, PodmanError::Unreachable { operation: "x".into(), socket: "s".into(), source: source.into() });
        let stage = start(&podman, dir.path()).await;
        stage.put(pod("a")).await;
        stage.until("a", &format!("running in spite of {call:?}"), running).await;
        let deletion = Some(Deletion { grace_seconds: 1, deadline_unix_ms: 0 });
        podman.fail(Call::Signal, PodmanError::Failed { code: 500, message: "boom".into() });
        podman.fail(Call::Remove, PodmanError::Failed { code: 500, message: "boom".into() });
        stage.put(Pod { deletion, ..pod("a") }).await;
        stage.until("a", "gone", |p| p.gone).await;
        assert!(podman.containers().is_empty());
        stage.stop().await;
    }
}
