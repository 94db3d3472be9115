//! What the agent needs of Podman: a narrow trait, owned by its consumers, with a real and a fake implementation.

mod answers;
mod conmon;
pub mod fake;
pub mod frames;
mod http;
pub mod labels;
mod oom;
pub mod real;
mod spec;

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use skiff_shared::ids::PodUid;
use tokio::io::{AsyncRead, AsyncWrite};

pub use labels::Labels;
pub use real::RealPodman;

/// Why a call to Podman failed.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// Podman cannot be reached or broke off: try again later.
    #[error("cannot {operation} over {socket}")]
    Unreachable {
        /// What was tried.
        operation: String,
        /// The socket.
        socket: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such container, pod or image.
    #[error("{message}")]
    NotFound {
        /// Podman's message.
        message: String,
    },
    /// The name is taken (409): the thing exists already.
    #[error("{message}")]
    Conflict {
        /// Podman's message.
        message: String,
    },
    /// Podman refused or failed; the message goes into statuses and events.
    #[error("{message}")]
    Failed {
        /// HTTP status, 0 where the failure came inside an answer.
        code: u16,
        /// Podman's message.
        message: String,
    },
    /// Podman's answer is not understood.
    #[error("cannot understand Podman's answer to {operation}")]
    Answer {
        /// What was asked.
        operation: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PodmanError {
    /// Whether the fault lies in reaching Podman rather than in the request.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the subject does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The error and its causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Result of a call to Podman.
pub type Result<T> = std::result::Result<T, PodmanError>;

/// Bytes as Podman sends them, in its framing.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Pods whose containers changed outside the agent's own calls (ended or removed).
pub type EventStream = BoxStream<'static, Result<PodUid>>;

/// What the agent asks of Podman. Every method is one API call unless it says otherwise; none polls.
#[async_trait]
pub trait Podman: Send + Sync + 'static {
    /// Podman's version, e.g. `4.3.1`.
    async fn version(&self) -> Result<String>;

    /// What Podman knows about the machine.
    async fn info(&self) -> Result<Info>;

    /// All containers (running or not) that carry this agent's labels; of one pod where given.
    async fn list(&self, pod: Option<&PodUid>) -> Result<Vec<Listed>>;

    /// The exact state of one container.
    async fn inspect(&self, id: &str) -> Result<Inspected>;

    /// The network of this name, or `None`.
    async fn network(&self, name: &str) -> Result<Option<Network>>;

    /// Creates a bridge network without a DNS of its own.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<()>;

    /// Removes a network; refused while a container uses it. A missing one is no error.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Creates a pod with its infra container; nothing runs yet. Gives the pod's id.
    async fn create_pod(&self, spec: &PodSpec) -> Result<String>;

    /// Creates a container; gives its id.
    async fn create_container(&self, spec: &ContainerSpec) -> Result<String>;

    /// Starts a container by id or name. Starting a running one is no error.
    async fn start(&self, id: &str) -> Result<()>;

    /// Gives a running container other limits. One that it has and these lack stays.
    async fn update(&self, id: &str, limits: &Limits) -> Result<()>;

    /// Sends a signal (`SIGTERM`). A container that does not run is no error.
    async fn signal(&self, id: &str, signal: &str) -> Result<()>;

    /// Removes a container, killing it first where it runs. A missing one is no error.
    async fn remove(&self, id: &str) -> Result<()>;

    /// Removes a pod and all its containers at once. A missing one is no error.
    async fn remove_pod(&self, id: &str) -> Result<()>;

    /// The local image a reference stands for, or `None`.
    async fn image(&self, reference: &str) -> Result<Option<Image>>;

    /// Pulls an image, as a user of its registry where one is given; returns once all of it is here.
    async fn pull(&self, reference: &str, login: Option<&Login>) -> Result<()>;

    /// A container's log in Podman's framing (see [`frames`]).
    async fn logs(&self, id: &str, options: LogOptions) -> Result<ByteStream>;

    /// Prepares a command in a running container; nothing runs yet. Gives the session's id.
    async fn create_exec(&self, id: &str, spec: &ExecSpec) -> Result<String>;

    /// Starts a prepared command and connects to its streams: raw with a terminal, else in Podman's framing.
    async fn start_exec(&self, session: &str, tty: bool) -> Result<Connection>;

    /// How a command stands.
    async fn inspect_exec(&self, session: &str) -> Result<ExecState>;

    /// Tells a command to end whose client is gone: SIGHUP, or SIGKILL by `force`. One that has ended is no error.
    async fn kill_exec(&self, session: &str, force: bool) -> Result<()>;

    /// Connects to the streams of a container's main process: raw with a terminal, else in Podman's framing. Not found
    /// once it has ended.
    async fn attach(&self, id: &str, container: &Inspected) -> Result<Connection>;

    /// Sets the size of a terminal.
    async fn resize(&self, terminal: Terminal<'_>, columns: u16, rows: u16) -> Result<()>;

    /// One long-lived stream of changes to this agent's containers.
    async fn events(&self) -> Result<EventStream>;
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What Podman knows about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// Version of Podman.
    pub version: String,
    /// Size of the file system that holds container storage, bytes.
    pub storage_bytes: u64,
    /// Used part of it, bytes.
    pub storage_used_bytes: u64,
    /// Directory of container storage.
    pub storage_root: String,
}

/// State of a container, as Podman has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Created, never started: may be started.
    Created,
    /// Runs (or is paused): adopt it.
    Running,
    /// Is being stopped: wait for it.
    Stopping,
    /// Ended: never started again; a new attempt takes its place.
    Exited,
}

impl RunState {
    /// Reads Podman's word. Unknown words count as running: such a container is left alone.
    pub fn parse(word: &str) -> Self {
        match word {
            "created" | "configured" | "initialized" => Self::Created,
            "exited" | "stopped" | "removing" | "dead" => Self::Exited,
            "stopping" => Self::Stopping,
            _ => Self::Running,
        }
    }
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Id.
    pub id: String,
    /// Id of the Podman pod it is in.
    pub pod_id: String,
    /// Whether it is the pod's infra container.
    pub infra: bool,
    /// The agent's labels.
    pub labels: Labels,
    /// State.
    pub state: RunState,
    /// Exit code, where it ended.
    pub exit_code: i32,
    /// Start, Unix milliseconds (whole seconds); 0 where never started.
    pub started_ms: i64,
    /// End, Unix milliseconds (whole seconds); 0 where it did not end or the end was not seen.
    pub finished_ms: i64,
    /// Id of its image.
    pub image_id: String,
}

/// One container in detail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Exit code.
    pub exit_code: i32,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Start, Unix milliseconds; 0 where never started.
    pub started_ms: i64,
    /// End, Unix milliseconds; 0 where not seen.
    pub finished_ms: i64,
    /// Address in the pod network; empty where it has none of its own.
    pub ip: String,
    /// Podman's own error text of a failed start; may be empty.
    pub error: String,
    /// Process id while it runs, else 0.
    pub pid: i64,
    /// Whether its main process has a terminal.
    pub tty: bool,
    /// The directory of its OCI bundle, where conmon's socket is while it runs; may be empty.
    pub bundle: PathBuf,
    /// The file that its log is written to; may be empty.
    pub log_path: String,
}

/// A local image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Id, without `sha256:`.
    pub id: String,
    /// A repository digest (`name@sha256:…`), where it has one.
    pub repo_digest: String,
    /// Size, bytes.
    pub size_bytes: u64,
    /// The image's user (`Config.User`); may be empty.
    pub user: String,
    /// The image's stop signal; may be empty.
    pub stop_signal: String,
}

/// A network, as Podman has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Its subnets (`10.42.3.0/24`).
    pub subnets: Vec<String>,
    /// The agent that made it; `None` where it is not one of this program's.
    pub node: Option<String>,
}

/// A bridge network to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Podman's name of it.
    pub name: String,
    /// Name of the bridge on the host.
    pub interface: String,
    /// Its subnet (`10.42.3.0/24`).
    pub subnet: String,
    /// The bridge's address in it.
    pub gateway: String,
    /// This agent's node name, for the label.
    pub node: String,
}

/// A pod to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// Podman's name of the pod.
    pub name: String,
    /// Podman's name of its infra container.
    pub infra_name: String,
    /// Host name inside.
    pub hostname: String,
    /// Use the host's network.
    pub host_network: bool,
    /// Podman's name of the network it is in, where it is not the host's.
    pub network: String,
    /// Ports published on the host.
    pub ports: Vec<PortMapping>,
    /// Its containers share one process namespace.
    pub share_pids: bool,
    /// Kernel parameters of its namespaces: names and values.
    pub sysctls: Vec<(String, String)>,
    /// Labels.
    pub labels: Labels,
}

/// A port published on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Address on the host; empty for all.
    pub host_ip: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

/// A container to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Podman's name of the container.
    pub name: String,
    /// Podman's name or id of the pod.
    pub pod: String,
    /// Image reference or id.
    pub image: String,
    /// Replaces the image's entrypoint where not empty.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command where not empty.
    pub command: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub work_dir: Option<String>,
    /// `uid`, `uid:gid`, `:gid`.
    pub user: Option<String>,
    /// Supplemental groups.
    pub groups: Vec<String>,
    /// Keep stdin open.
    pub stdin: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Everything is allowed.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only_root: bool,
    /// No gain of privileges.
    pub no_new_privileges: bool,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// The file of its seccomp profile, or `unconfined`; `None` for Podman's own.
    pub seccomp: Option<String>,
    /// Process namespace, where it is neither its own nor the pod's.
    pub pid_ns: Option<Join>,
    /// IPC namespace, where it is not the pod's.
    pub ipc_ns: Option<Join>,
    /// It has the machine's host name, not the pod's.
    pub host_uts: bool,
    /// What it may use.
    pub limits: Limits,
    /// Files bound into the container.
    pub binds: Vec<Bind>,
    /// Labels.
    pub labels: Labels,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU shares.
    pub cpu_shares: u64,
    /// CPU quota per 100 ms, microseconds.
    pub cpu_quota_us: Option<i64>,
    /// Memory limit, bytes.
    pub memory_bytes: Option<i64>,
}

/// A namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Join {
    /// The machine's.
    Host,
    /// The one of the running container of this id.
    Container(String),
}

/// A host path bound into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// How mounts made below it later travel: `rprivate`, `rslave` or `rshared`.
    pub propagation: &'static str,
}

/// A connection to the streams of a process. Shutting it down ends the input; dropping it ends all.
pub type Connection = Box<dyn Duplex>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Give it input.
    pub stdin: bool,
    /// Take its output.
    pub stdout: bool,
    /// Take its error output.
    pub stderr: bool,
    /// Give it a terminal.
    pub tty: bool,
}

/// How a command stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it still runs.
    pub running: bool,
    /// Exit code, where it ended.
    pub exit_code: i32,
    /// Process id on the machine while it runs, else 0.
    pub pid: i32,
}

/// Whose terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal<'a> {
    /// A command's, by its session.
    Exec(&'a str),
    /// A container's main process's.
    Container(&'a str),
}

/// What part of a log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Stay until the container ends.
    pub follow: bool,
    /// Only lines at or after this second, Unix time.
    pub since_s: Option<i64>,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Podman's RFC 3339 time (seconds) and a space before each line.
    pub timestamps: bool,
}

impl fmt::Debug for dyn Podman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Podman")
    }
}
