//! What a node tells the hub: pod and node status and events, with the times at which things really happened.
//!
//! Wire types (postcard), under the same rules as [`crate::pod`]. All times are Unix milliseconds of the node's clock.

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;
use crate::pod::Resources;

/// Status of one pod, as a kubelet would write it to `v1.PodStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// The pod.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `status.phase`.
    pub phase: Phase,
    /// `status.reason`, e.g. `DeadlineExceeded`; may be empty.
    pub reason: String,
    /// `status.message`; may be empty.
    pub message: String,
    /// `status.podIP`, once known; may be empty.
    pub pod_ip: String,
    /// `status.hostIP`.
    pub host_ip: String,
    /// When the agent first saw the pod (`status.startTime`).
    pub start_ms: i64,
    /// `Initialized`, `Ready`, `ContainersReady` and `PodReadyToStartContainers`, each with its last transition.
    pub conditions: Vec<PodCondition>,
    /// `status.initContainerStatuses`, in the order of the spec.
    pub init_containers: Vec<ContainerReport>,
    /// `status.containerStatuses`, in the order of the spec.
    pub containers: Vec<ContainerReport>,
    /// The pod was being deleted and all of it is gone from the node: the hub may remove the object.
    pub gone: bool,
    /// What its containers have of the node, of those that ask for anything; carried by a message of its own
    /// ([`crate::wire::ToHub::PodResources`]), not by the report's own encoding.
    #[serde(skip)]
    pub resources: Vec<ContainerResources>,
}

/// What a container has of its node, init containers too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerResources {
    /// The container.
    pub container: String,
    /// What the node has set aside for it (`allocatedResources`): what its spec asks for, or asked for before a resize
    /// that the node has no room for.
    pub allocated: Resources,
    /// What it runs with (`resources`).
    pub actual: Resources,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted, not all containers have started.
    Pending,
    /// Bound, all containers created, at least one runs or is (re)starting.
    Running,
    /// All containers ended with 0 and will not restart.
    Succeeded,
    /// All containers ended, one with an error, and will not restart.
    Failed,
}

/// One condition of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCondition {
    /// E.g. `Ready`.
    pub kind: String,
    /// `True` or `False`.
    pub status: bool,
    /// E.g. `ContainersNotReady`; may be empty.
    pub reason: String,
    /// E.g. `containers with unready status: [web]`; may be empty.
    pub message: String,
    /// When `status` last changed.
    pub since_ms: i64,
}

/// Status of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Name in the pod.
    pub name: String,
    /// Image as the spec has it.
    pub image: String,
    /// Image id or digest, once known; may be empty.
    pub image_id: String,
    /// `podman://…` id of the newest container, once created; may be empty.
    pub container_id: String,
    /// Current state.
    pub state: ContainerState,
    /// How the previous one ended.
    pub last: Option<Terminated>,
    /// Number of restarts.
    pub restarts: u32,
    /// `ready`.
    pub ready: bool,
    /// `started`.
    pub started: bool,
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not running yet, or waiting to be restarted.
    Waiting {
        /// E.g. `ContainerCreating`, `CrashLoopBackOff`, `ErrImagePull`, `ImagePullBackOff`.
        reason: String,
        /// Detail; may be empty.
        message: String,
    },
    /// Running.
    Running {
        /// Start time.
        started_ms: i64,
    },
    /// Ended.
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, ….
    pub reason: String,
    /// Termination message; may be empty.
    pub message: String,
    /// Start time.
    pub started_ms: i64,
    /// End time.
    pub finished_ms: i64,
    /// `podman://…` id; may be empty.
    pub container_id: String,
}

/// Status of the node, as a kubelet would write it to `v1.NodeStatus`. It holds no heartbeat: it changes only when the node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Addresses.
    pub internal_ip: String,
    /// Host name.
    pub hostname: String,
    /// CPU capacity, thousandths.
    pub cpu_milli: u64,
    /// Memory capacity, bytes.
    pub memory_bytes: u64,
    /// Capacity of the file system that holds container storage, bytes.
    pub storage_bytes: u64,
    /// Most pods.
    pub pods: u32,
    /// CPU kept back for the system, thousandths.
    pub cpu_reserved_milli: u64,
    /// Memory kept back for the system, bytes.
    pub memory_reserved_bytes: u64,
    /// `status.nodeInfo`.
    pub info: NodeInfo,
    /// `MemoryPressure`, `DiskPressure`, `PIDPressure` and `Ready` as the agent judges them.
    pub conditions: Vec<NodeCondition>,
    /// Labels the agent sets on its node beside those of the hub (`kubernetes.io/…`), sorted.
    pub labels: Vec<(String, String)>,
}

/// `v1.NodeSystemInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// `machineID`.
    pub machine_id: String,
    /// `systemUUID`.
    pub system_uuid: String,
    /// `bootID`: tells a reboot.
    pub boot_id: String,
    /// `kernelVersion`.
    pub kernel_version: String,
    /// `osImage`.
    pub os_image: String,
    /// `containerRuntimeVersion`, `podman://4.3.1`.
    pub runtime_version: String,
    /// `kubeletVersion`: the agent's version.
    pub agent_version: String,
    /// `architecture`, as Go names it (`amd64`, `arm64`).
    pub architecture: String,
}

/// One condition of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCondition {
    /// E.g. `Ready`.
    pub kind: String,
    /// `True` or `False`.
    pub status: bool,
    /// E.g. `KubeletReady`.
    pub reason: String,
    /// Detail.
    pub message: String,
    /// When `status` last changed.
    pub since_ms: i64,
}

/// Something that happened on the node, to become a `v1.Event` with source component `kubelet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// Number of this event on its node: increases, lives across restarts, lets the hub drop what it has seen.
    pub seq: u64,
    /// When it happened (the last time, where `count` > 1).
    pub at_ms: i64,
    /// `true` for type `Warning`, else `Normal`.
    pub warning: bool,
    /// E.g. `Pulled`.
    pub reason: String,
    /// E.g. `Container image "x" already present on machine`.
    pub message: String,
    /// What it happened to.
    pub subject: Subject,
    /// How often it happened since the last report of it (at least 1).
    pub count: u32,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// The node itself.
    Node,
    /// A pod, or a container of it.
    Pod {
        /// The pod.
        uid: PodUid,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The container (`spec.containers{name}`), or empty for the pod.
        container: String,
        /// Whether the container is an init container.
        init: bool,
    },
}
