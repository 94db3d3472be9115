//! A Podman of memory only, with queued faults: tests run whole agents against it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use skiff_shared::ids::PodUid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;

use super::{
    ByteStream, Connection, ContainerSpec, EventStream, ExecSpec, ExecState, Image, Info, Inspected, Limits, Listed,
    LogOptions, Login, Network, NetworkSpec, PodSpec, Podman, PodmanError, Result, RunState, Terminal,
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `list`.
    List,
    /// `inspect`.
    Inspect,
    /// `create_pod`.
    CreatePod,
    /// `create_container`.
    CreateContainer,
    /// `start`.
    Start,
    /// `signal`.
    Signal,
    /// `remove` and `remove_pod`.
    Remove,
    /// `image`.
    Image,
    /// `pull`.
    Pull,
    /// `events`.
    Events,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// `None` follows the system's clock.
    now_ms: Option<i64>,
    containers: BTreeMap<String, Fake>,
    pods: BTreeMap<String, PodSpec>,
    networks: BTreeMap<String, Network>,
    images: BTreeMap<String, Image>,
    registry: BTreeMap<String, Image>,
    faults: BTreeMap<Call, VecDeque<PodmanError>>,
    calls: Vec<String>,
    ignore_sigterm: bool,
    hold_pulls: bool,
}

#[derive(Debug, Clone)]
struct Fake {
    name: String,
    listed: Listed,
    oom_killed: bool,
    log: Vec<u8>,
    env: Vec<(String, String)>,
    ip: String,
}

/// The fake. Share it behind an `Arc` and drive it from the test.
#[derive(Debug)]
pub struct FakePodman {
    state: Mutex<State>,
    events: broadcast::Sender<PodUid>,
}

impl Default for FakePodman {
    fn default() -> Self {
        Self { state: Mutex::default(), events: broadcast::channel(256).0 }
    }
}

impl FakePodman {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the time that later starts and ends carry, Unix milliseconds; before, they carry the system's.
    pub fn set_now(&self, now_ms: i64) {
        self.state().now_ms = Some(now_ms);
    }

    /// Makes an image present.
    pub fn add_image(&self, reference: &str) {
        self.state().images.insert(reference.to_owned(), image(reference));
    }

    /// Makes an image pullable.
    pub fn publish_image(&self, reference: &str) {
        self.state().registry.insert(reference.to_owned(), image(reference));
    }

    /// The next call of this kind fails so (several queue up).
    pub fn fail(&self, call: Call, error: PodmanError) {
        self.state().faults.entry(call).or_default().push_back(error);
    }

    /// Containers do not end on SIGTERM from now on.
    pub fn ignore_sigterm(&self) {
        self.state().ignore_sigterm = true;
    }

    /// Pulls that begin from now on hang, or no longer do.
    pub fn hold_pulls(&self, hold: bool) {
        self.state().hold_pulls = hold;
    }

    /// Every call that changed something so far, e.g. `start skiff_c_web_default_u-1_0`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Everything there is.
    pub fn containers(&self) -> Vec<Listed> {
        self.state().containers.values().map(|c| c.listed.clone()).collect()
    }

    /// Ends the running container of this name in this pod, as if by itself.
    pub fn exit(&self, pod: &str, container: &str, code: i32) {
        let mut state = self.state();
        let now_ms = state.now();
        let running = |c: &&mut Fake| {
            c.listed.labels.pod == pod && c.listed.labels.container == container && c.listed.state == RunState::Running
        };
        if let Some(found) = state.containers.values_mut().find(running) {
            end(found, code, now_ms);
            self.announce(&found.listed.clone());
        }
    }

    /// Everything stops without a trace of its end, as in a power cut.
    pub fn reboot(&self) {
        for c in self.state().containers.values_mut() {
            if c.listed.state == RunState::Running {
                c.listed.state = RunState::Exited;
                c.listed.finished_ms = 0;
            }
        }
    }

    /// Podman's database is lost.
    pub fn lose_everything(&self) {
        let mut state = self.state();
        state.containers.clear();
        state.pods.clear();
        state.networks.clear();
    }

    /// Adds to the newest container's log.
    pub fn log(&self, pod: &str, container: &str, bytes: &[u8]) {
        let mut state = self.state();
        let ours = |c: &&mut Fake| c.listed.labels.pod == pod && c.listed.labels.container == container;
        if let Some(found) = state.containers.values_mut().filter(ours).max_by_key(|c| c.listed.labels.attempt) {
            found.log.extend_from_slice(bytes);
        }
    }

    /// The environment of the newest container of this name in this pod.
    pub fn env(&self, pod: &str, container: &str) -> Vec<(String, String)> {
        let state = self.state();
        let ours = |c: &&Fake| c.listed.labels.pod == pod && c.listed.labels.container == container;
        let newest = state.containers.values().filter(ours).max_by_key(|c| c.listed.labels.attempt);
        newest.map(|c| c.env.clone()).unwrap_or_default()
    }

    fn announce(&self, listed: &Listed) {
        if let Ok(uid) = PodUid::parse(&listed.labels.pod_uid) {
            // No receiver is no loss: nobody listens yet.
            let _ = self.events.send(uid);
        }
    }
}

async fn echo(mut process: tokio::io::DuplexStream, tty: bool) {
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = process.read(&mut buffer).await {
        let mut out = if tty { Vec::new() } else { vec![1, 0, 0, 0, 0, 0] };
        if !tty {
            out.extend(u16::try_from(n).unwrap_or(0).to_be_bytes());
        }
        out.extend(&buffer[..n]);
        if process.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn image(reference: &str) -> Image {
    Image {
        id: format!("id-of-{reference}"),
        repo_digest: format!("{reference}@sha256:0"),
        size_bytes: 1000,
        ..Image::default()
    }
}

fn end(container: &mut Fake, code: i32, now_ms: i64) {
    container.listed.state = RunState::Exited;
    container.listed.exit_code = code;
    container.listed.finished_ms = now_ms;
}

impl State {
    fn now(&self) -> i64 {
        self.now_ms.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    fn fault(&mut self, call: Call) -> Result<()> {
        match self.faults.get_mut(&call).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    fn find(&mut self, id: &str) -> Result<&mut Fake> {
        let found = self.containers.values_mut().find(|c| c.listed.id == id || c.name == id);
        found.ok_or_else(|| PodmanError::NotFound { message: format!("no container with name or ID {id:?} found") })
    }

    /// The lowest address of a /24 that no container has.
    fn free_ip(&self, subnet: &str) -> Option<String> {
        let (prefix, _) = subnet.rsplit_once('.')?;
        let free = |ip: &String| self.containers.values().all(|c| c.ip != *ip);
        (2..255).map(|host| format!("{prefix}.{host}")).find(free)
    }

    fn add(&mut self, name: &str, listed: Listed, subnet: Option<&str>, env: &[(String, String)]) -> Result<()> {
        if self.containers.values().any(|c| c.name == name) {
            return Err(PodmanError::Conflict { message: format!("the container name {name:?} is already in use") });
        }
        let ip = subnet.and_then(|s| self.free_ip(s)).unwrap_or_default();
        let (id, name, env) = (listed.id.clone(), name.to_owned(), env.to_vec());
        self.containers.insert(id, Fake { name, listed, oom_killed: false, log: Vec::new(), env, ip });
        Ok(())
    }
}

fn created(id: String, pod_id: String, labels: super::Labels, infra: bool) -> Listed {
    Listed {
        id,
        pod_id,
        infra,
        labels,
        state: RunState::Created,
        exit_code: 0,
        started_ms: 0,
        finished_ms: 0,
        image_id: String::new(),
    }
}

#[async_trait]
impl Podman for FakePodman {
    async fn version(&self) -> Result<String> {
        Ok("4.3.1".to_owned())
    }

    async fn info(&self) -> Result<Info> {
        Ok(Info { version: "4.3.1".to_owned(), storage_bytes: 1 << 34, storage_used_bytes: 1 << 30, ..Info::default() })
    }

    async fn list(&self, pod: Option<&PodUid>) -> Result<Vec<Listed>> {
        let mut state = self.state();
        state.fault(Call::List)?;
        let wanted = |c: &&Fake| pod.is_none_or(|uid| c.listed.labels.pod_uid == uid.as_str());
        Ok(state.containers.values().filter(wanted).map(|c| c.listed.clone()).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Inspected> {
        let mut state = self.state();
        state.fault(Call::Inspect)?;
        let found = state.find(id)?;
        let running = found.listed.state == RunState::Running;
        Ok(Inspected {
            exit_code: found.listed.exit_code,
            oom_killed: found.oom_killed,
            started_ms: found.listed.started_ms,
            finished_ms: found.listed.finished_ms,
            ip: if running { found.ip.clone() } else { String::new() },
            error: String::new(),
            pid: i64::from(running),
            tty: false,
            bundle: PathBuf::new(),
            log_path: String::new(),
        })
    }

    async fn network(&self, name: &str) -> Result<Option<Network>> {
        Ok(self.state().networks.get(name).cloned())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        let mut state = self.state();
        state.calls.push(format!("create network {} {}", spec.name, spec.subnet));
        let network = Network { subnets: vec![spec.subnet.clone()], node: Some(spec.node.clone()) };
        match state.networks.insert(spec.name.clone(), network) {
            Some(_) => Err(PodmanError::Conflict { message: format!("network name {} already used", spec.name) }),
            None => Ok(()),
        }
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        if state.pods.values().any(|p| p.network == name) {
            let message = format!("{name:?} has associated containers with it. network is being used");
            return Err(PodmanError::Failed { code: 500, message });
        }
        state.networks.remove(name);
        state.calls.push(format!("remove network {name}"));
        Ok(())
    }

    async fn create_pod(&self, spec: &PodSpec) -> Result<String> {
        let mut state = self.state();
        state.fault(Call::CreatePod)?;
        if state.pods.values().any(|p| p.name == spec.name) {
            return Err(PodmanError::Conflict { message: format!("name {} is in use: pod already exists", spec.name) });
        }
        let subnet = state.networks.get(&spec.network).and_then(|n| n.subnets.first()).cloned();
        if !spec.host_network && subnet.is_none() {
            let message = format!("unable to find network with name or ID {}: network not found", spec.network);
            return Err(PodmanError::Failed { code: 500, message });
        }
        let (id, infra) = (state.id("pod"), state.id("infra"));
        state.add(&spec.infra_name, created(infra, id.clone(), spec.labels.clone(), true), subnet.as_deref(), &[])?;
        state.pods.insert(id.clone(), spec.clone());
        state.calls.push(format!("create pod {}", spec.name));
        Ok(id)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String> {
        let mut state = self.state();
        state.fault(Call::CreateContainer)?;
        let pod = state.pods.iter().find(|(id, p)| **id == spec.pod || p.name == spec.pod).map(|(id, _)| id.clone());
        let pod = pod.ok_or_else(|| PodmanError::NotFound { message: format!("no pod {:?}", spec.pod) })?;
        let id = state.id("c");
        state.add(&spec.name, created(id.clone(), pod, spec.labels.clone(), false), None, &spec.env)?;
        state.calls.push(format!("create {}", spec.name));
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.fault(Call::Start)?;
        let now_ms = state.now();
        let found = state.find(id)?;
        let name = found.name.clone();
        if found.listed.state != RunState::Running {
            found.listed.state = RunState::Running;
            found.listed.started_ms = now_ms;
            found.listed.finished_ms = 0;
        }
        state.calls.push(format!("start {name}"));
        Ok(())
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<()> {
        let mut state = self.state();
        let name = state.find(id)?.name.clone();
        state.calls.push(format!("update {name} {limits:?}"));
        Ok(())
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let mut state = self.state();
        state.fault(Call::Signal)?;
        let (now_ms, stubborn) = (state.now(), state.ignore_sigterm);
        let Ok(found) = state.find(id) else { return Ok(()) };
        let name = found.name.clone();
        if found.listed.state == RunState::Running && (signal == "SIGKILL" || !stubborn) {
            end(found, if signal == "SIGKILL" { 137 } else { 143 }, now_ms);
            let listed = found.listed.clone();
            self.announce(&listed);
        }
        state.calls.push(format!("signal {name} {signal}"));
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.fault(Call::Remove)?;
        let Ok(found) = state.find(id) else { return Ok(()) };
        let (key, name) = (found.listed.id.clone(), found.name.clone());
        state.containers.remove(&key);
        state.calls.push(format!("remove {name}"));
        Ok(())
    }

    async fn remove_pod(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.fault(Call::Remove)?;
        let key = state.pods.iter().find(|(key, p)| *key == id || p.name == id).map(|(key, _)| key.clone());
        let Some(pod) = key.and_then(|key| state.pods.remove_entry(&key)) else { return Ok(()) };
        state.containers.retain(|_, c| c.listed.pod_id != pod.0);
        state.calls.push(format!("remove pod {}", pod.1.name));
        Ok(())
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        let mut state = self.state();
        state.fault(Call::Image)?;
        Ok(state.images.get(reference).cloned())
    }

    async fn pull(&self, reference: &str, login: Option<&Login>) -> Result<()> {
        if self.state().hold_pulls {
            std::future::pending::<()>().await;
        }
        let mut state = self.state();
        state.fault(Call::Pull)?;
        let user = login.map_or(String::new(), |login| format!(" as {}", login.username));
        state.calls.push(format!("pull {reference}{user}"));
        match state.registry.get(reference).cloned() {
            Some(image) => {
                state.images.insert(reference.to_owned(), image);
                Ok(())
            }
            None => Err(PodmanError::Failed { code: 0, message: format!("{reference}: manifest unknown") }),
        }
    }

    async fn logs(&self, id: &str, _options: LogOptions) -> Result<ByteStream> {
        let log = self.state().find(id)?.log.clone();
        let mut framed = vec![1, 0, 0, 0];
        framed.extend_from_slice(&u32::try_from(log.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(&log);
        Ok(stream::once(async move { Ok(Bytes::from(framed)) }).boxed())
    }

    async fn create_exec(&self, id: &str, spec: &ExecSpec) -> Result<String> {
        let mut state = self.state();
        let name = state.find(id)?.name.clone();
        state.calls.push(format!("exec {name} {}", spec.command.join(" ")));
        Ok(format!("session-of-{name}"))
    }

    /// Its process repeats its input in one frame each, and ends with it.
    async fn start_exec(&self, _session: &str, tty: bool) -> Result<Connection> {
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(echo(theirs, tty));
        Ok(Box::new(ours))
    }

    async fn inspect_exec(&self, _session: &str) -> Result<ExecState> {
        Ok(ExecState { running: false, exit_code: 7, pid: 0 })
    }

    async fn kill_exec(&self, session: &str, force: bool) -> Result<()> {
        self.state().calls.push(format!("kill {session} force={force}"));
        Ok(())
    }

    async fn attach(&self, id: &str, _container: &Inspected) -> Result<Connection> {
        let name = self.state().find(id)?.name.clone();
        self.state().calls.push(format!("attach {name}"));
        self.start_exec("", false).await
    }

    async fn resize(&self, terminal: Terminal<'_>, columns: u16, rows: u16) -> Result<()> {
        self.state().calls.push(format!("resize {terminal:?} {columns}x{rows}"));
        Ok(())
    }

    async fn events(&self) -> Result<EventStream> {
        self.state().fault(Call::Events)?;
        let receiver = self.events.subscribe();
        Ok(stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(uid) => return Some((Ok(uid), receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed())
    }
}
