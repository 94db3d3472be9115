//! Parts of a pod that many pods do without: volumes, ephemeral containers, shared namespaces, probes.

use serde::{Deserialize, Serialize};

use super::check::{Hook, HookKind, Probe};
use super::{Container, ObjectRef, Pod};

/// One further need of a pod. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extra {
    /// `spec.ephemeralContainers[]`.
    Ephemeral(Box<Ephemeral>),
    /// `spec.volumes[]`.
    Volume(Volume),
    /// `volumeMounts[]` of a container of any kind.
    Mount(Mount),
    /// `spec.securityContext.fsGroup`: the group that owns the files of volumes.
    FsGroup(i64),
    /// `spec.shareProcessNamespace`.
    SharedPids,
    /// `spec.hostPID`.
    HostPids,
    /// `spec.hostIPC`.
    HostIpc,
    /// Variables of Services that every container gets where it does not set them itself, sorted by name.
    ServiceEnv(Vec<(String, String)>),
    /// `resizePolicy: RestartContainer` of a container.
    RestartOnResize(RestartOnResize),
    /// A probe of a container.
    Probe(Probe),
    /// A lifecycle hook of a container.
    Hook(Hook),
    /// `spec.hostAliases[]`.
    HostAlias(HostAlias),
    /// `spec.securityContext.sysctls[]`: name and value.
    Sysctl(String, String),
    /// `terminationMessagePath` of a container, where it is not `/dev/termination-log`: container and path.
    MessagePath(String, String),
    /// The local storage of a container.
    LocalStorage(LocalStorage),
    /// `spec.imagePullSecrets[]`: the name of a Secret of the pod's namespace.
    PullSecret(String),
    /// `spec.readinessGates[]`.
    ReadinessGate(ReadinessGate),
    /// `spec.dnsConfig`, and `dnsPolicy: None`.
    Dns(Dns),
    /// The system calls that a container may make, where they are not those that its runtime allows by default.
    Seccomp {
        /// The container.
        container: String,
        /// Its profile.
        profile: SeccompProfile,
    },
    /// `spec.subdomain`: the pod has the domain `SUBDOMAIN.NAMESPACE.svc.CLUSTER-DOMAIN`.
    Subdomain {
        /// Its name.
        name: String,
        /// `setHostnameAsFQDN`: the pod's host name has the domain too.
        in_hostname: bool,
    },
}

/// A condition that a pod needs to be ready, and that somebody else sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessGate {
    /// Its type.
    pub condition: String,
    /// Its status as the hub has it: `True`, `False`, `Unknown`; empty where there is no such condition.
    pub status: String,
}

/// How the names of other hosts are looked up in a pod's containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// `dnsPolicy: None`: nothing is taken over from the node.
    pub alone: bool,
    /// `nameservers`, after those of the node.
    pub nameservers: Vec<String>,
    /// `searches`, after those of the node.
    pub searches: Vec<String>,
    /// `options`, names and values, in place of those of the node.
    pub options: Vec<(String, Option<String>)>,
}

/// `seccompProfile`, other than `RuntimeDefault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// All system calls.
    Unconfined,
    /// As a file of the node says, by its path below the agent's `seccomp` directory.
    Localhost(String),
}

/// `ephemeral-storage` among the resources of a container; `None` is "not set".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStorage {
    /// The container.
    pub container: String,
    /// `requests.ephemeral-storage`, bytes.
    pub request_bytes: Option<u64>,
    /// `limits.ephemeral-storage`, bytes.
    pub limit_bytes: Option<u64>,
}

/// Names of an address in the containers' hosts files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// Which resources of a container change only by its restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartOnResize {
    /// The container.
    pub container: String,
    /// CPU does.
    pub cpu: bool,
    /// Memory does.
    pub memory: bool,
}

/// A container added to a running pod (`kubectl debug`); it is never restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ephemeral {
    /// The container.
    pub container: Container,
    /// `targetContainerName`: the container whose process namespace it joins.
    pub target: Option<String>,
}

/// Whose namespace a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Its own.
    Container,
    /// The one that its pod's containers share.
    Pod,
    /// The machine's.
    Host,
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name, unique in the pod.
    pub name: String,
    /// What is in it.
    pub source: VolumeSource,
}

/// Where a volume's content comes from. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// `emptyDir`: lives as long as the pod.
    EmptyDir {
        /// `medium: Memory`: a tmpfs.
        memory: bool,
        /// `sizeLimit`, bytes.
        size_limit_bytes: Option<u64>,
    },
    /// `hostPath`.
    HostPath {
        /// Path on the node.
        path: String,
        /// `type`, e.g. `DirectoryOrCreate`; empty: no check.
        kind: String,
    },
    /// `configMap`, `secret`, `downwardAPI` and `projected`: files that follow their sources.
    Projected {
        /// `defaultMode`.
        mode: u32,
        /// Kept in memory (tmpfs) only, as secrets and tokens are.
        memory: bool,
        /// In order; where two name the same path the later wins.
        sources: Vec<Projection>,
    },
    /// A kind that nodes do not run; the text says why.
    Unsupported(String),
}

/// A source of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// Keys of a ConfigMap or Secret.
    Object {
        /// The object.
        source: ObjectRef,
        /// `items`; `None`: every key, as a file of its name.
        items: Option<Vec<KeyPath>>,
        /// Whether a missing object or key is no error.
        optional: bool,
    },
    /// A field of the pod (`fieldRef.fieldPath`).
    Field {
        /// E.g. `metadata.labels`.
        field: String,
        /// Path of the file in the volume.
        path: String,
        /// `mode`, where it is not the volume's.
        mode: Option<u32>,
    },
    /// A resource of a container (`resourceFieldRef`), rounded up to a multiple of `divisor`.
    Resource {
        /// Container name.
        container: String,
        /// E.g. `limits.cpu`.
        resource: String,
        /// The divisor: milli-units for CPU, bytes for the rest.
        divisor: u64,
        /// Path of the file in the volume.
        path: String,
        /// `mode`, where it is not the volume's.
        mode: Option<u32>,
    },
    /// A token of the pod's service account (`serviceAccountToken`), which the agent asks of the hub and renews.
    Token {
        /// Path of the file in the volume.
        path: String,
        /// `audience`; empty: the API server's.
        audience: String,
        /// `expirationSeconds`.
        expiration_seconds: u64,
    },
}

/// One `items` entry of a ConfigMap or Secret volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPath {
    /// The key.
    pub key: String,
    /// Path of the file in the volume.
    pub path: String,
    /// `mode`, where it is not the volume's.
    pub mode: Option<u32>,
}

/// Where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The container, of any kind.
    pub container: String,
    /// The volume.
    pub volume: String,
    /// `mountPath`.
    pub path: String,
    /// `subPath` or, where `expand` is set, `subPathExpr`; empty: the whole volume.
    pub sub_path: String,
    /// Expand `$(NAME)` in `sub_path` from the container's environment.
    pub expand: bool,
    /// `readOnly`.
    pub read_only: bool,
    /// `mountPropagation`: empty, `HostToContainer` or `Bidirectional`.
    pub propagation: String,
}

/// The content of one variant, for those that are of it.
macro_rules! of {
    ($variant:ident) => {
        |extra| if let Extra::$variant(content) = extra { Some(content) } else { None }
    };
}

impl Pod {
    /// Its ephemeral containers, in order.
    pub fn ephemeral(&self) -> impl Iterator<Item = &Ephemeral> {
        self.extras.iter().filter_map(of!(Ephemeral)).map(|ephemeral| &**ephemeral)
    }

    /// All its containers: init containers, its own, ephemeral ones.
    pub fn every_container(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(self.ephemeral().map(|e| &e.container))
    }

    /// The process namespace that its containers are in.
    pub fn pids(&self) -> Namespace {
        if self.extras.contains(&Extra::HostPids) {
            Namespace::Host
        } else if self.extras.contains(&Extra::SharedPids) {
            Namespace::Pod
        } else {
            Namespace::Container
        }
    }

    /// `spec.hostIPC`.
    pub fn host_ipc(&self) -> bool {
        self.extras.contains(&Extra::HostIpc)
    }

    /// Its volumes, in order.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.extras.iter().filter_map(of!(Volume))
    }

    /// The mounts of one of its containers, in order.
    pub fn mounts(&self, container: &str) -> impl Iterator<Item = &Mount> {
        self.extras.iter().filter_map(of!(Mount)).filter(move |mount| mount.container == container)
    }

    /// `spec.securityContext.fsGroup`.
    pub fn fs_group(&self) -> Option<i64> {
        self.extras.iter().find_map(of!(FsGroup)).copied()
    }

    /// The variables of Services.
    pub fn service_env(&self) -> &[(String, String)] {
        self.extras.iter().find_map(of!(ServiceEnv)).map(Vec::as_slice).unwrap_or_default()
    }

    /// What of a container changes only by its restart, where anything does.
    pub fn restart_on_resize(&self, container: &str) -> Option<&RestartOnResize> {
        self.extras.iter().filter_map(of!(RestartOnResize)).find(|policy| policy.container == container)
    }

    /// The probes of all its containers.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.extras.iter().filter_map(of!(Probe))
    }

    /// A lifecycle hook of a container.
    pub fn hook(&self, container: &str, kind: HookKind) -> Option<&Hook> {
        self.extras.iter().filter_map(of!(Hook)).find(|hook| hook.container == container && hook.kind == kind)
    }

    /// `spec.hostAliases`.
    pub fn host_aliases(&self) -> impl Iterator<Item = &HostAlias> {
        self.extras.iter().filter_map(of!(HostAlias))
    }

    /// `spec.securityContext.sysctls`: names and values.
    pub fn sysctls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extras.iter().filter_map(|extra| {
            let Extra::Sysctl(name, value) = extra else { return None };
            Some((name.as_str(), value.as_str()))
        })
    }

    /// Where a container writes its termination message.
    pub fn message_path(&self, container: &str) -> &str {
        let other = self.extras.iter().find_map(|extra| {
            let Extra::MessagePath(of, path) = extra else { return None };
            (of == container).then_some(path.as_str())
        });
        other.unwrap_or("/dev/termination-log")
    }

    /// The local storage of a container, where anything of it is set.
    pub fn local_storage(&self, container: &str) -> Option<&LocalStorage> {
        self.extras.iter().filter_map(of!(LocalStorage)).find(|storage| storage.container == container)
    }

    /// `spec.readinessGates`, in order.
    pub fn readiness_gates(&self) -> impl Iterator<Item = &ReadinessGate> {
        self.extras.iter().filter_map(of!(ReadinessGate))
    }

    /// How names are looked up, where it is not as on the node.
    pub fn dns(&self) -> Option<&Dns> {
        self.extras.iter().find_map(of!(Dns))
    }

    /// Its host name with its domain, where it has one; the second is whether that is what its containers call themselves.
    pub fn full_hostname(&self, cluster_domain: &str) -> Option<(String, bool)> {
        self.extras.iter().find_map(|extra| {
            let Extra::Subdomain { name, in_hostname } = extra else { return None };
            Some((format!("{}.{name}.{}.svc.{cluster_domain}", self.hostname, self.namespace), *in_hostname))
        })
    }

    /// The seccomp profile of a container, where it is not the runtime's default.
    pub fn seccomp(&self, of: &str) -> Option<&SeccompProfile> {
        self.extras.iter().find_map(|extra| {
            let Extra::Seccomp { container, profile } = extra else { return None };
            (container == of).then_some(profile)
        })
    }

    /// `spec.imagePullSecrets`: names of Secrets.
    pub fn pull_secrets(&self) -> impl Iterator<Item = &str> {
        self.extras.iter().filter_map(of!(PullSecret)).map(String::as_str)
    }
}
