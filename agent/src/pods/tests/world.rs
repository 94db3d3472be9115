//! A pod's machine in memory: carries out decisions and keeps the rules that decisions must obey.

use std::collections::BTreeMap;

use skiff_shared::ids::PodUid;
use skiff_shared::pod::{
    Container, Deletion, Ephemeral, Extra, Pod, ProbeKind, PullPolicy, Qos, Resources, RestartPolicy, Security,
};
use skiff_shared::report::{ContainerState, Terminated};

use crate::ledger::facts::PodFacts;
use crate::podman::RunState;
use crate::pods::decide::{Action, Decision, Input, decide};
use crate::pods::probes::name;
use crate::pods::view::{ImageState, ObservedPod, Progress, Sandbox, Seen};
use crate::pods::{build, history, status};

pub(super) fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        image: "localhost/bb:1".into(),
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
    }
}

pub(in crate::pods) fn pod(policy: RestartPolicy, init: &[&str], main: &[&str]) -> Pod {
    Pod {
        uid: PodUid::parse("u-1").unwrap(),
        namespace: "ns".into(),
        name: "web".into(),
        labels: vec![("app".into(), "web".into())],
        annotations: vec![],
        init_containers: init.iter().map(|n| Container { sidecar: n.starts_with("side"), ..container(n) }).collect(),
        containers: main.iter().map(|n| container(n)).collect(),
        restart_policy: policy,
        termination_grace_seconds: 30,
        active_deadline_seconds: None,
        hostname: "web".into(),
        host_network: false,
        service_account: "default".into(),
        qos: Qos::BestEffort,
        deletion: None,
        created_unix_ms: 0,
        extras: Vec::new(),
    }
}

/// A pod on a machine of memory only: carries out decisions and keeps the rules that decisions must obey.
pub(super) struct World {
    pub(super) pod: Pod,
    pub(super) facts: PodFacts,
    pub(super) observed: ObservedPod,
    pub(super) progress: Progress,
    pub(super) now_ms: i64,
    pub(super) next_id: u32,
    pub(super) starts: BTreeMap<String, u32>,
    pub(super) log: Vec<String>,
    /// What probes find.
    pub(super) healthy: bool,
}

impl World {
    pub(super) fn new(pod: Pod) -> Self {
        Self {
            pod,
            facts: PodFacts::default(),
            observed: ObservedPod::default(),
            progress: Progress::default(),
            now_ms: 1_000_000,
            next_id: 0,
            starts: BTreeMap::new(),
            log: vec![],
            healthy: true,
        }
    }

    pub(super) fn decide(&mut self) -> Decision {
        history::absorb(&self.pod, &mut self.facts, &self.observed, self.now_ms);
        let input = Input {
            pod: &self.pod,
            facts: &self.facts,
            observed: &self.observed,
            progress: &self.progress,
            now_ms: self.now_ms,
        };
        let decision = decide(&input);
        assert_eq!(decision, decide(&input), "deciding twice gives the same");
        decision
    }

    /// Acts until nothing is to be done now; gives the last decision.
    pub(super) fn settle(&mut self) -> Decision {
        for _ in 0..100 {
            let decision = self.decide();
            if decision.actions.is_empty() {
                return decision;
            }
            for action in decision.actions {
                self.act(action);
            }
        }
        panic!("it never comes to rest: {:?}", self.log);
    }

    pub(super) fn act(&mut self, action: Action) {
        self.log.push(describe(&action));
        let deleted = self.pod.deletion.is_some();
        match action {
            Action::MountVolumes => {
                assert!(!deleted);
                (self.progress.volumes.ready, self.progress.volumes.stale) = (true, false);
            }
            Action::MeasureVolumes => {
                assert!(!deleted);
                self.progress.volumes.measure_ms = Some(self.now_ms + 10_000);
            }
            Action::CreateSandbox => {
                assert!(!deleted && self.observed.sandbox.is_none());
                let (state, ip) = (RunState::Created, String::new());
                self.observed.sandbox = Some(Sandbox { pod_id: "p".into(), infra: Some("i".into()), state, ip });
            }
            Action::StartSandbox { .. } => {
                assert!(!deleted && self.observed.alive().next().is_none());
                self.facts.sandbox += 1;
                self.set_sandbox(RunState::Running);
            }
            Action::FindAddress { .. } => {
                self.observed.sandbox.as_mut().unwrap().ip = "10.42.3.2".into();
            }
            Action::StopSandbox { .. } => self.set_sandbox(RunState::Exited),
            Action::RemoveSandbox { .. } => {
                assert!(self.observed.alive().next().is_none(), "nothing alive is removed");
                self.observed = ObservedPod::default();
            }
            Action::EnsureImage { container } => {
                assert!(!deleted);
                self.progress.images.insert(container, ImageState::Ready);
            }
            Action::Create { container, attempt, sandbox, joins } => self.create(container, attempt, sandbox, joins),
            Action::Start { id, .. } => {
                assert!(!deleted && self.observed.sandbox_runs());
                *self.starts.entry(id.clone()).or_default() += 1;
                assert_eq!(self.starts[&id], 1, "started once");
                let now_ms = self.now_ms;
                let seen = self.find(&id);
                assert_eq!(seen.state, RunState::Created, "only what was never started is started");
                let joins = seen.joins.clone();
                (seen.state, seen.started_ms) = (RunState::Running, now_ms);
                assert!(joins.is_empty() || self.observed.alive().any(|c| c.id == joins), "what it joins runs");
            }
            Action::Resize { id, limits, .. } => {
                assert!(!deleted && self.observed.alive().any(|c| c.id == id));
                self.find(&id).limits = Some(limits);
            }
            Action::Probe { container, id, kind } => self.probe(&container, &id, kind),
            Action::PreStop { id, .. } => {
                assert!(self.progress.checks.pre_stop(&id).is_none(), "called once");
                self.progress.checks.pre_stop_called(&id, self.now_ms);
            }
            Action::Signal { id, .. } => {
                self.progress.signalled.insert(id, self.now_ms);
                if deleted {
                    self.facts.stop_began_ms.get_or_insert(self.now_ms);
                }
            }
            Action::Kill { id, .. } => {
                self.progress.killed.insert(id.clone(), self.now_ms);
                self.end(&id, 137);
            }
            Action::Remove { id } => {
                assert!(self.observed.alive().all(|c| c.id != id), "nothing alive is removed");
                assert!(self.observed.containers.iter().all(|c| c.joins != id), "nothing joined is removed");
                self.observed.containers.retain(|c| c.id != id);
            }
        }
    }

    fn probe(&mut self, container: &str, id: &str, kind: ProbeKind) {
        let probe = self.pod.probes().find(|p| p.container == container && p.kind == kind).unwrap();
        assert!(self.observed.alive().any(|c| c.id == id), "only what runs is asked");
        self.progress.checks.asked(probe, id, self.now_ms);
        self.progress.checks.answered(probe, id, Some(self.healthy));
    }

    pub(super) fn create(&mut self, name: String, attempt: u32, sandbox: u32, joins: Option<String>) {
        assert!(self.pod.deletion.is_none() && self.observed.sandbox.is_some());
        assert!(self.progress.volumes.ready || self.pod.volumes().next().is_none());
        assert!(self.observed.alive().all(|c| c.name != name), "one at a time");
        assert!(self.observed.containers.iter().all(|c| c.name != name || c.attempt < attempt), "attempts grow");
        assert!(joins.iter().all(|id| self.observed.alive().any(|c| c.id == *id)), "what it joins runs");
        let ephemeral = self.pod.ephemeral().any(|e| e.container.name == name);
        assert!(!ephemeral || attempt == 0, "an ephemeral container is never restarted");
        self.next_id += 1;
        let id = format!("c{}", self.next_id);
        history::began(&mut self.facts, &name, &id, "img", sandbox, self.now_ms);
        self.progress.images.remove(&name);
        let spec = self.pod.every_container().find(|c| c.name == name).unwrap();
        self.observed.containers.push(Seen {
            id,
            image: spec.image.clone(),
            name,
            attempt,
            stop_signal: String::new(),
            joins: joins.unwrap_or_default(),
            limits: Some(build::limits(&spec.resources)),
            state: RunState::Created,
            started_ms: 0,
            ended: None,
        });
    }

    pub(super) fn find(&mut self, id: &str) -> &mut Seen {
        self.observed.containers.iter_mut().find(|c| c.id == id).unwrap()
    }

    pub(super) fn set_sandbox(&mut self, state: RunState) {
        if let Some(sandbox) = &mut self.observed.sandbox {
            (sandbox.state, sandbox.ip) = (state, String::new());
        }
    }

    pub(super) fn end(&mut self, id: &str, exit_code: i32) {
        let finished_ms = self.now_ms;
        let seen = self.find(id);
        seen.state = RunState::Exited;
        seen.ended = Some(Terminated {
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
            message: String::new(),
            started_ms: seen.started_ms,
            finished_ms,
            container_id: format!("podman://{id}"),
        });
    }

    /// The running container of this name ends.
    pub(super) fn exit(&mut self, name: &str, exit_code: i32) {
        let id = self.observed.alive().find(|c| c.name == name).map(|c| c.id.clone());
        if let Some(id) = id {
            self.end(&id, exit_code);
        }
    }

    /// Everything stops, as in a power cut.
    pub(super) fn reboot(&mut self) {
        let alive: Vec<String> = self.observed.alive().map(|c| c.id.clone()).collect();
        for id in alive {
            self.end(&id, 255);
        }
        if self.observed.sandbox_runs() {
            self.set_sandbox(RunState::Exited);
        }
        self.progress = Progress::default();
    }

    /// Adds an ephemeral container.
    pub(super) fn debug(&mut self, name: &str, target: Option<&str>) {
        let (container, target) = (container(name), target.map(Into::into));
        self.pod.extras.push(Extra::Ephemeral(Box::new(Ephemeral { container, target })));
    }

    pub(super) fn delete(&mut self, grace_seconds: u32) {
        self.pod.deletion = Some(Deletion { grace_seconds, deadline_unix_ms: 0 });
    }

    pub(super) fn running(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.observed.alive().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn report(&self) -> skiff_shared::report::PodReport {
        status::report(&status::Input {
            pod: &self.pod,
            facts: &self.facts,
            observed: &self.observed,
            progress: &self.progress,
            host_ip: "192.0.2.1",
            gone: false,
            now_ms: self.now_ms,
        })
    }

    pub(super) fn reason(&self, index: usize) -> String {
        match &self.report().containers[index].state {
            ContainerState::Waiting { reason, .. } => reason.clone(),
            ContainerState::Running { .. } => "Running".into(),
            ContainerState::Terminated(end) => end.reason.clone(),
        }
    }
}

pub(super) fn describe(action: &Action) -> String {
    match action {
        Action::MountVolumes => "mount".into(),
        Action::MeasureVolumes => "measure".into(),
        Action::CreateSandbox => "create sandbox".into(),
        Action::StartSandbox { .. } => "start sandbox".into(),
        Action::FindAddress { .. } => "find address".into(),
        Action::StopSandbox { .. } => "stop sandbox".into(),
        Action::RemoveSandbox { .. } => "remove sandbox".into(),
        Action::EnsureImage { container } => format!("image {container}"),
        Action::Create { container, attempt, .. } => format!("create {container} {attempt}"),
        Action::Start { container, .. } => format!("start {container}"),
        Action::Resize { container, .. } => format!("resize {container}"),
        Action::Probe { container, kind, .. } => format!("{} {container}", name(*kind).to_lowercase()),
        Action::PreStop { container, .. } => format!("pre-stop {container}"),
        Action::Signal { container, signal, .. } => format!("{signal} {container}"),
        Action::Kill { container, .. } => format!("kill {container}"),
        Action::Remove { .. } => "remove".into(),
    }
}
