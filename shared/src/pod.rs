//! What a node is told to run: lean forms of the Kubernetes objects that concern it.
//!
//! These types are wire and ledger types (postcard): enums only ever get new variants at their end, structs never
//! change. What a pod needs beyond [`Pod`]'s fields is an [`Extra`]. Golden bytes in `wire` keep that true.

mod check;
mod extra;
mod item;

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;

pub use check::{Handler, Hook, HookKind, HttpGet, Probe, ProbeKind};
pub use extra::{
    Dns, Ephemeral, Extra, HostAlias, KeyPath, LocalStorage, Mount, Namespace, Projection, ReadinessGate,
    RestartOnResize, SeccompProfile, Volume, VolumeSource,
};

/// One thing a node must know. `Pod`s are run; config maps and secrets are what pods on this node refer to.
/// Encoded by `item`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "items live behind pointers of their own, one at a time elsewhere")]
pub enum Item {
    /// A pod bound to this node.
    Pod(Pod),
    /// A ConfigMap that a pod on this node refers to.
    ConfigMap(Data),
    /// A Secret that a pod on this node refers to.
    Secret(Data),
}

/// What identifies an [`Item`] on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemKey {
    /// A pod, by uid: a pod recreated under its old name is another pod.
    Pod(PodUid),
    /// A ConfigMap.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Secret.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Item {
    /// The key of this item.
    pub fn key(&self) -> ItemKey {
        match self {
            Self::Pod(p) => ItemKey::Pod(p.uid.clone()),
            Self::ConfigMap(d) => ItemKey::ConfigMap { namespace: d.namespace.clone(), name: d.name.clone() },
            Self::Secret(d) => ItemKey::Secret { namespace: d.namespace.clone(), name: d.name.clone() },
        }
    }
}

/// The content of a ConfigMap or Secret: keys to raw bytes, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// `data` and `binaryData`, decoded.
    pub entries: Vec<(String, Vec<u8>)>,
}

/// A pod as its node sees it (`v1.Pod`, the parts an agent acts on).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`, sorted; for the downward API and container labels.
    pub labels: Vec<(String, String)>,
    /// `metadata.annotations`, sorted; for the downward API.
    pub annotations: Vec<(String, String)>,
    /// `spec.initContainers`, run in order before `containers`.
    pub init_containers: Vec<Container>,
    /// `spec.containers`.
    pub containers: Vec<Container>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace_seconds: u32,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline_seconds: Option<u64>,
    /// `spec.hostname`, else the pod's name (RFC 1123 label, at most 63 characters).
    pub hostname: String,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `status.qosClass`.
    pub qos: Qos,
    /// Set once the pod is being deleted.
    pub deletion: Option<Deletion>,
    /// `metadata.creationTimestamp`, Unix milliseconds.
    pub created_unix_ms: i64,
    /// What else it needs; carried by its [`Item`], not by the pod's own encoding.
    #[serde(skip)]
    pub extras: Vec<Extra>,
}

/// A pod's graceful deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// `metadata.deletionTimestamp`, Unix milliseconds: the moment by which the pod is to be gone.
    pub deadline_unix_ms: i64,
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Restart whatever the exit code.
    Always,
    /// Restart on a non-zero exit code.
    OnFailure,
    /// Never restart.
    Never,
}

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// No container has any.
    BestEffort,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Name, unique in the pod.
    pub name: String,
    /// Image reference as the user wrote it.
    pub image: String,
    /// When to pull the image.
    pub pull_policy: PullPolicy,
    /// `command`: replaces the image's entrypoint where not empty.
    pub command: Vec<String>,
    /// `args`: replaces the image's command where not empty.
    pub args: Vec<String>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// `envFrom`, before `env`.
    pub env_from: Vec<EnvFrom>,
    /// `env`, in order; `$(NAME)` is expanded by the agent.
    pub env: Vec<EnvVar>,
    /// `ports`.
    pub ports: Vec<Port>,
    /// `resources`.
    pub resources: Resources,
    /// `stdin`.
    pub stdin: bool,
    /// `stdinOnce`.
    pub stdin_once: bool,
    /// `tty`.
    pub tty: bool,
    /// `terminationMessagePolicy` is `FallbackToLogsOnError`.
    pub termination_message_from_logs: bool,
    /// `securityContext` merged with the pod's.
    pub security: Security,
    /// An init container with `restartPolicy: Always` (a sidecar).
    pub sidecar: bool,
}

/// `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Ask the registry at each start.
    Always,
    /// Pull where the image is missing.
    IfNotPresent,
    /// Never pull: a missing image is `ErrImageNeverPull`.
    Never,
}

/// One `envFrom` source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFrom {
    /// Put before each key.
    pub prefix: String,
    /// The object whose keys are taken.
    pub source: ObjectRef,
    /// Whether a missing object is no error.
    pub optional: bool,
}

/// A ConfigMap or Secret in the pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectRef {
    /// A ConfigMap by name.
    ConfigMap(String),
    /// A Secret by name.
    Secret(String),
}

/// One `env` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Variable name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// The value of an `env` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvValue {
    /// As written.
    Literal(String),
    /// A key of a ConfigMap or Secret.
    Key {
        /// The object.
        source: ObjectRef,
        /// The key.
        key: String,
        /// Whether a missing object or key is no error (the variable is left out).
        optional: bool,
    },
    /// A field of the pod (`fieldRef.fieldPath`, e.g. `metadata.name`, `status.podIP`).
    Field(String),
    /// A resource of a container (`resourceFieldRef`), rounded up to a multiple of `divisor`.
    Resource {
        /// Container name; empty means this container.
        container: String,
        /// E.g. `limits.cpu`, `requests.memory`.
        resource: String,
        /// The divisor: milli-units for CPU, bytes for the rest.
        divisor: u64,
    },
}

/// One `ports` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Port name, may be empty.
    pub name: String,
    /// `containerPort`.
    pub container_port: u16,
    /// `hostPort`, where asked for.
    pub host_port: Option<u16>,
    /// `hostIP`, may be empty.
    pub host_ip: String,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Requests and limits; `None` is "not set".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// `requests.cpu`, thousandths of a CPU.
    pub cpu_request_milli: Option<u64>,
    /// `limits.cpu`, thousandths of a CPU.
    pub cpu_limit_milli: Option<u64>,
    /// `requests.memory`, bytes.
    pub memory_request_bytes: Option<u64>,
    /// `limits.memory`, bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// The part of `securityContext` that the agent enforces; `None` is "as the image has it".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
    /// `runAsGroup`.
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`: refuse to start as uid 0.
    pub run_as_non_root: bool,
    /// `privileged`.
    pub privileged: bool,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// `capabilities.add`, without `CAP_`.
    pub cap_add: Vec<String>,
    /// `capabilities.drop`, without `CAP_`.
    pub cap_drop: Vec<String>,
    /// `supplementalGroups` of the pod.
    pub supplemental_groups: Vec<i64>,
}
