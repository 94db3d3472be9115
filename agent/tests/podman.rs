//! The agent on a real Podman. Runs where `SKIFF_TEST_PODMAN` names a socket (`unix:///…`) whose Podman has the image
//! `localhost/bb:1` (a busybox); elsewhere the tests pass without doing anything.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
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
use skiff_shared::wire::Change;
use skiff_shared::wire::stream::LogsRequest;

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    agent: Arc<Agent>,
    podman: Arc<dyn Podman>,
    watch: tokio::task::JoinHandle<()>,
}

fn socket() -> Option<String> {
    std::env::var("SKIFF_TEST_PODMAN").ok()
}

async fn start(socket: &str, node: &str, dir: &Path) -> Stage {
    let podman: Arc<dyn Podman> = Arc::new(RealPodman::new(socket, node).expect("a good socket"));
    let settings = Settings {
        data_dir: dir.to_owned(),
        node: NodeName::parse(node).expect("a good name"),
        node_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        podman: socket.to_owned(),
        clock: Clock::System,
    };
    let agent = Agent::start(&settings, Arc::clone(&podman)).await.expect("the agent starts");
    let watched = Arc::clone(&agent);
    let watch = tokio::spawn(async move { watched.watch().await });
    Stage { agent, podman, watch }
}

fn container(name: &str, script: &str) -> Container {
    Container {
        name: name.into(),
        image: "localhost/bb:1".into(),
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
    }
}

impl Stage {
    /// Ends the agent as a kill would, and frees its directory.
    async fn stop(self) {
        self.watch.abort();
        let _ = self.watch.await;
        self.agent.stop().await;
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
    let Some(socket) = socket() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let stage = start(&socket, "t-life", dir.path()).await;
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
    assert!(report.pod_ip.starts_with("10."), "{report:#?}");
    let log = stage.logs("life-1", "web", false).await;
    assert_eq!(log.trim(), format!("hello dear cm from life-1 {}", report.pod_ip));
    let ids: Vec<_> = report.containers.iter().map(|c| c.container_id.clone()).collect();
    stage.stop().await;

    let stage = start(&socket, "t-life", dir.path()).await;
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
        "Pulled: Container image \"localhost/bb:1\" already present on machine",
        "Created: Created container: web",
        "Started: Started container web",
        "Killing: Stopping container web",
    ] {
        assert!(events.iter().any(|e| e == wanted), "{wanted} is not in {events:#?}");
    }
}

#[tokio::test]
async fn a_crashing_container_is_restarted_and_its_last_log_kept() {
    let Some(socket) = socket() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let stage = start(&socket, "t-crash", dir.path()).await;
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
    let Some(socket) = socket() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let stage = start(&socket, "t-init", dir.path()).await;
    let mut job = pod("init-1", vec![container("main", "echo done")]);
    job.init_containers = vec![container("one", "sleep 0.2"), container("two", "true")];
    job.restart_policy = RestartPolicy::Never;
    stage.put(vec![Item::Pod(job)]).await;
    let report = stage.until("init-1", "succeeded", |p| p.phase == Phase::Succeeded).await;
    let start_of = |state: &ContainerState| match state {
        ContainerState::Terminated(end) => (end.reason.clone(), end.started_ms, end.finished_ms),
        other => panic!("{other:?}"),
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
    let Some(socket) = socket() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let stage = start(&socket, "t-wrong", dir.path()).await;
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
    let mut oom = container("oom", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done");
    oom.resources.memory_limit_bytes = Some(8 << 20);
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
                && p.containers[5].last.as_ref().is_some_and(|l| l.exit_code == 137)
        })
        .await;
    eprintln!("{:#?}", report.containers);
    assert_eq!(report.phase, Phase::Pending);
    stage.put(vec![Item::Secret(Data { namespace: "default".into(), name: "s".into(), entries: vec![] })]).await;
    stage.until("wrong-1", "configured", |p| reason(p, 3) != "CreateContainerConfigError").await;
    stage.remove("wrong-1").await;
    stage.until_forgotten("wrong-1").await;
    assert!(stage.podman.list(None).await.expect("listed").is_empty());
}
