//! The agent as a library on a real Podman, without a hub.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_agent::link::Node;
use skiff_agent::podman::{Podman, RealPodman};
use skiff_agent::pods::context::Clock;
use skiff_agent::run::{Agent, Settings};
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::pod::{
    Container, Data, Deletion, EnvFrom, EnvValue, EnvVar, Item, ItemKey, ObjectRef, Pod, PullPolicy, Qos, Resources,
    RestartPolicy, Security,
};
use skiff_shared::report::{ContainerState, Phase, PodReport};
use skiff_shared::wire::stream::LogsRequest;
use skiff_shared::wire::{Change, Welcome};
use skiff_tests::Lab;
use skiff_tests::lab::Netns;
use skiff_tests::podman::PodmanService;

const PATIENCE: Duration = Duration::from_secs(60);

const IMAGE: &str = "localhost/test:1";

/// A machine with a Podman.
struct Machine {
    podman: PodmanService,
    netns: Netns,
    lab: Arc<Lab>,
}

/// An agent that runs on it.
struct Stage {
    agent: Arc<Agent>,
    podman: Arc<dyn Podman>,
    watch: tokio::task::JoinHandle<()>,
}

impl Machine {
    fn new() -> Self {
        let lab = Lab::claim();
        let netns = lab.netns();
        let podman = PodmanService::start(&netns, &lab.dir().join("podman"));
        podman.image(IMAGE);
        Self { podman, netns, lab }
    }

    /// Starts an agent whose data directory lasts as long as the machine.
    async fn start(&self) -> Stage {
        let socket = format!("unix://{}", self.podman.socket().display());
        let podman: Arc<dyn Podman> = Arc::new(RealPodman::new(&socket, "n1").unwrap());
        let settings = Settings {
            data_dir: self.lab.dir().join("agent"),
            node: NodeName::parse("n1").unwrap(),
            node_ip: IpAddr::V4(self.netns.address()),
            podman: socket,
            clock: Clock::System,
        };
        let agent = Agent::start(&settings, Arc::clone(&podman)).await.expect("the agent starts");
        let watched = Arc::clone(&agent);
        let watch = tokio::spawn(async move { watched.watch().await });
        Stage { agent, podman, watch }
    }

    /// Starts an agent that is welcomed by its hub.
    async fn start_welcomed(&self) -> Stage {
        let stage = self.start().await;
        stage.welcome("10.42.3.0/24").await;
        stage
    }
}

fn container(name: &str, script: &str) -> Container {
    Container {
        name: name.into(),
        image: IMAGE.into(),
        pull_policy: PullPolicy::IfNotPresent,
        command: ["sh", "-c", script].map(String::from).to_vec(),
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
    }
}

fn pod(uid: &str, containers: Vec<Container>) -> Pod {
    Pod {
        uid: PodUid::parse(uid).expect("a good uid"),
        namespace: "default".into(),
        name: uid.into(),
        labels: vec![],
        annotations: vec![],
        init_containers: vec![],
        containers,
        restart_policy: RestartPolicy::Always,
        termination_grace_seconds: 2,
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
    /// Ends the agent as a kill would, and frees its directory.
    async fn stop(self) {
        self.watch.abort();
        let _ = self.watch.await;
        self.agent.stop().await;
    }

    async fn welcome(&self, pod_cidr: &str) {
        let welcome = Welcome {
            version: "0.1.0".into(),
            pod_cidr: pod_cidr.into(),
            cluster_dns: "10.43.0.10".into(),
            cluster_domain: "cluster.local".into(),
        };
        self.agent.welcome(welcome).await.expect("welcomed");
    }

    async fn put(&self, items: Vec<Item>) {
        self.agent.apply(Change { seq: 1, upserts: items, removals: vec![] }).await.expect("applied");
    }

    async fn remove(&self, uid: &str) {
        let key = ItemKey::Pod(PodUid::parse(uid).expect("a good uid"));
        self.agent.apply(Change { seq: 2, upserts: vec![], removals: vec![key] }).await.expect("applied");
    }

    async fn until(&self, uid: &str, what: &str, wanted: impl Fn(&PodReport) -> bool) -> Arc<PodReport> {
        let uid = PodUid::parse(uid).expect("a good uid");
        let mut reported = self.agent.reported();
        let found = tokio::time::timeout(PATIENCE, reported.wait_for(|r| r.pods.get(&uid).is_some_and(|p| wanted(p))));
        match found.await {
            Ok(reported) => Arc::clone(&reported.expect("the agent lives").pods[&uid]),
            Err(_) => panic!("not {what}: {:#?}\n{:#?}", self.agent.reported().borrow().pods.get(&uid), self.events()),
        }
    }

    async fn until_forgotten(&self, uid: &str) {
        let uid = PodUid::parse(uid).expect("a good uid");
        let mut reported = self.agent.reported();
        let gone = tokio::time::timeout(PATIENCE, reported.wait_for(|r| !r.pods.contains_key(&uid))).await;
        gone.expect("forgotten in time").expect("the agent lives");
    }

    fn events(&self) -> Vec<String> {
        self.agent.events_after(0, 1000).into_iter().map(|e| format!("{}: {}", e.reason, e.message)).collect()
    }

    /// Waits until a container has logged exactly `wanted`.
    async fn until_log(&self, uid: &str, container: &str, wanted: &str) {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let found = async {
            while self.logs(uid, container, false).await != wanted {
                looks.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, found).await.is_err() {
            panic!("{:?} is not {wanted:?}", self.logs(uid, container, false).await);
        }
    }

    async fn logs(&self, uid: &str, container: &str, previous: bool) -> String {
        let request = LogsRequest {
            pod: PodUid::parse(uid).expect("a good uid"),
            container: container.into(),
            follow: false,
            previous,
            since_ms: None,
            tail_lines: None,
            timestamps: false,
            limit_bytes: None,
        };
        let mut out = Vec::new();
        skiff_agent::streams::logs::serve(&*self.podman, &request, uid, &mut out).await.unwrap();
        String::from_utf8_lossy(out.get(7..).unwrap_or_default()).into_owned()
    }
}

fn is_running(report: &PodReport) -> bool {
    report.phase == Phase::Running && report.containers.iter().all(|c| c.ready)
}

#[tokio::test]
async fn a_pod_runs_is_adopted_and_is_deleted() {
    let machine = Machine::new();
    let stage = machine.start_welcomed().await;
    let mut web = container(
        "web",
        "echo hello $GREETING $FROM from $(hostname) $IP; trap 'exit 0' TERM; while true; do sleep 0.1; done",
    );
    web.env = vec![
        EnvVar { name: "GREETING".into(), value: EnvValue::Literal("dear".into()) },
        EnvVar { name: "IP".into(), value: EnvValue::Field("status.podIP".into()) },
    ];
    web.env_from = vec![EnvFrom { prefix: String::new(), source: ObjectRef::ConfigMap("cm".into()), optional: false }];
    web.resources = Resources {
        cpu_request_milli: Some(100),
        cpu_limit_milli: Some(500),
        memory_request_bytes: None,
        memory_limit_bytes: Some(64 << 20),
    };
    let data = Data { namespace: "default".into(), name: "cm".into(), entries: vec![("FROM".into(), b"cm".to_vec())] };
    let began = Instant::now();
    stage.put(vec![Item::ConfigMap(data), Item::Pod(pod("life-1", vec![web, container("side", "sleep 1000")]))]).await;
    let report = stage.until("life-1", "running", is_running).await;
    eprintln!("running after {:?}", began.elapsed());
    assert!(report.pod_ip.starts_with("10.42.3."), "{report:#?}");
    let hello = format!("hello dear cm from life-1 {}\n", report.pod_ip);
    stage.until_log("life-1", "web", &hello).await;
    let ids: Vec<_> = report.containers.iter().map(|c| c.container_id.clone()).collect();
    stage.stop().await;

    let stage = machine.start().await;
    let report = stage.until("life-1", "running again", is_running).await;
    assert_eq!(report.containers.iter().map(|c| c.container_id.clone()).collect::<Vec<_>>(), ids, "adopted");
    assert_eq!(report.containers[0].restarts, 0);

    let mut doomed = stage.agent.desired().pod(&report.uid).expect("desired").clone();
    doomed.deletion = Some(Deletion { grace_seconds: 2, deadline_unix_ms: 0 });
    stage.put(vec![Item::Pod(doomed)]).await;
    stage.until("life-1", "gone", |p| p.gone).await;
    assert!(stage.podman.list(None).await.expect("listed").is_empty());
    stage.remove("life-1").await;
    stage.until_forgotten("life-1").await;
    let events = stage.events();
    for wanted in [
        "Pulled: Container image \"localhost/test:1\" already present on machine",
        "Created: Created container: web",
        "Started: Started container web",
        "Killing: Stopping container web",
    ] {
        assert!(events.iter().any(|e| e == wanted), "{wanted} is not in {events:#?}");
    }
}

#[tokio::test]
async fn a_crashing_container_is_restarted_and_its_last_log_kept() {
    let machine = Machine::new();
    let stage = machine.start_welcomed().await;
    let crash = container("c", "echo oops; echo because > /dev/termination-log; exit 3");
    stage.put(vec![Item::Pod(pod("crash-1", vec![crash]))]).await;
    let waits = |p: &PodReport| matches!(&p.containers[0].state, ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff");
    let report = stage.until("crash-1", "backing off", waits).await;
    let ContainerState::Waiting { message, .. } = &report.containers[0].state else { unreachable!() };
    assert_eq!(message, "back-off 10s restarting failed container=c pod=crash-1_default(crash-1)");
    let last = report.containers[0].last.clone().expect("an end");
    assert_eq!((last.exit_code, last.reason.as_str(), last.message.as_str()), (3, "Error", "because\n"));
    assert_eq!((report.containers[0].restarts, report.phase), (1, Phase::Running));
    assert_eq!(stage.logs("crash-1", "c", true).await, "oops\n");
    stage.remove("crash-1").await;
    stage.until_forgotten("crash-1").await;
    assert!(stage.podman.list(None).await.expect("listed").is_empty());
}

#[tokio::test]
async fn init_containers_run_in_order_and_jobs_succeed() {
    let machine = Machine::new();
    let stage = machine.start_welcomed().await;
    let mut job = pod("init-1", vec![container("main", "echo done")]);
    job.init_containers = vec![container("one", "sleep 0.2"), container("two", "true")];
    job.restart_policy = RestartPolicy::Never;
    stage.put(vec![Item::Pod(job)]).await;
    let report = stage.until("init-1", "succeeded", |p| p.phase == Phase::Succeeded).await;
    let start_of = |state: &ContainerState| match state {
        ContainerState::Terminated(end) => (end.reason.clone(), end.started_ms, end.finished_ms),
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => panic!("{state:?}"),
    };
    let (one, two, main) = (
        start_of(&report.init_containers[0].state),
        start_of(&report.init_containers[1].state),
        start_of(&report.containers[0].state),
    );
    assert!(one.2 <= two.1 && two.2 <= main.1, "{one:?} {two:?} {main:?}");
    assert_eq!(main.0, "Completed");
    stage.remove("init-1").await;
    stage.until_forgotten("init-1").await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let machine = Machine::new();
    let stage = machine.start_welcomed().await;
    let mut missing = container("missing", "true");
    missing.image = "localhost:1/nothing:1".into();
    let mut never = container("never", "true");
    (never.image, never.pull_policy) = ("localhost/nothing:1".into(), PullPolicy::Never);
    let mut invalid = container("invalid", "true");
    invalid.image = "UPPER//case".into();
    let mut config = container("config", "true");
    config.env_from = vec![EnvFrom { prefix: String::new(), source: ObjectRef::Secret("s".into()), optional: false }];
    let mut command = container("command", "true");
    command.command = vec!["/no/such/thing".into()];
    let mut oom = container("oom", "tail /dev/zero");
    oom.resources.memory_limit_bytes = Some(16 << 20);
    let all = vec![missing, never, invalid, config, command, oom];
    stage.put(vec![Item::Pod(pod("wrong-1", all))]).await;
    let reason = |p: &PodReport, i: usize| match &p.containers[i].state {
        ContainerState::Waiting { reason, .. } => reason.clone(),
        ContainerState::Running { .. } => "running".into(),
        ContainerState::Terminated(end) => end.reason.clone(),
    };
    let report = stage
        .until("wrong-1", "all failed", |p| {
            reason(p, 0) == "ImagePullBackOff"
                && reason(p, 1) == "ErrImageNeverPull"
                && reason(p, 2) == "InvalidImageName"
                && reason(p, 3) == "CreateContainerConfigError"
                && p.containers[4].last.as_ref().is_some_and(|l| l.reason == "StartError")
                && p.containers[5].last.as_ref().is_some_and(|l| l.exit_code == 137 && l.reason == "OOMKilled")
        })
        .await;
    assert_eq!(report.phase, Phase::Pending);
    stage.put(vec![Item::Secret(Data { namespace: "default".into(), name: "s".into(), entries: vec![] })]).await;
    stage.until("wrong-1", "configured", |p| reason(p, 3) != "CreateContainerConfigError").await;
    stage.remove("wrong-1").await;
    stage.until_forgotten("wrong-1").await;
    assert!(stage.podman.list(None).await.expect("listed").is_empty());
}

#[tokio::test]
async fn pods_live_in_the_nodes_subnet_and_find_each_other_there() {
    let machine = Machine::new();
    let stage = machine.start().await;
    let mut host = pod("host-1", vec![container("c", "sleep 1000")]);
    host.host_network = true;
    let alone = |uid| Item::Pod(pod(uid, vec![container("c", "sleep 1000")]));
    stage.put(vec![alone("net-1"), alone("net-2"), Item::Pod(host)]).await;
    let report = stage.until("host-1", "running", is_running).await;
    assert_eq!(report.pod_ip, machine.netns.address().to_string());
    assert_eq!(stage.agent.reported().borrow().pods[&PodUid::parse("net-1").unwrap()].phase, Phase::Pending);
    assert!(stage.events().iter().any(|e| e.starts_with("NetworkNotReady: network is not ready")));

    stage.welcome("10.42.3.0/24").await;
    let first = stage.until("net-1", "running", is_running).await.pod_ip.clone();
    let second = stage.until("net-2", "running", is_running).await.pod_ip.clone();
    assert!([&first, &second].iter().all(|ip| ip.starts_with("10.42.3.")), "{first} {second}");
    let id = |uid: &str| {
        let report = Arc::clone(&stage.agent.reported().borrow().pods[&PodUid::parse(uid).unwrap()]);
        report.containers[0].container_id.trim_start_matches("podman://").to_owned()
    };
    machine.podman.cli(&format!("exec {} ping -c1 -W5 {second}", id("net-1")));
    machine.podman.cli(&format!("exec {} ping -c1 -W5 10.42.3.1", id("net-1")));
    stage.stop().await;

    // As after a reboot on which even Podman's own files were lost; the hub is away.
    machine.podman.lose_containers();
    machine.podman.cli("network rm skiff");
    let stage = machine.start().await;
    for uid in ["net-1", "net-2"] {
        let again = stage.until(uid, "running again", |p| is_running(p) && p.containers[0].restarts > 0).await;
        assert!(again.pod_ip.starts_with("10.42.3."), "{}", again.pod_ip);
    }
}
