//! What Podman is asked to make for a pod and its containers: pure.

use std::path::{Path, PathBuf};

use skiff_shared::pod::{Container, Namespace, Pod, Protocol, Resources, SeccompProfile, Security};

use super::env::{self, EnvError, Sources};
use super::network;
use crate::podman::{Bind, ContainerSpec, Image, Join, Labels, Limits, PodSpec, PortMapping};

/// Why a container cannot be described; it waits with `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Its environment refers to something that is not there.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// It cannot mount what it asks for.
    #[error("{0}")]
    Mount(String),
    /// It must not run as root and would.
    #[error("{0}")]
    Root(String),
}

/// Podman's name of the pod. On the host's network Podman makes it the host name too, which holds 64 bytes at most.
pub fn pod_name(pod: &Pod) -> String {
    if pod.host_network {
        return format!("skiff-{}", pod.uid);
    }
    format!("skiff_{}_{}_{}", pod.name, pod.namespace, pod.uid)
}

/// Podman's name of the pod's infra container.
pub fn infra_name(pod: &Pod) -> String {
    format!("skiff_POD_{}_{}_{}", pod.name, pod.namespace, pod.uid)
}

/// Where the termination message of an attempt is written, in the agent's data directory.
pub fn termination_log(data_dir: &Path, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
    pod_dir(data_dir, pod.uid.as_str()).join(container).join(attempt.to_string())
}

/// The hosts file of a pod's containers, in the agent's data directory.
pub fn hosts_file(data_dir: &Path, pod: &Pod) -> PathBuf {
    pod_dir(data_dir, pod.uid.as_str()).join("etc-hosts")
}

/// The resolver's file of a pod's containers, in the agent's data directory.
pub fn resolver_file(data_dir: &Path, pod: &Pod) -> PathBuf {
    pod_dir(data_dir, pod.uid.as_str()).join("etc-resolv.conf")
}

/// The directory of a pod's own files.
pub fn pod_dir(data_dir: &Path, uid: &str) -> PathBuf {
    data_dir.join("pods").join(uid)
}

/// A file of the agent's that a container sees and may write.
pub fn own_file(source: &Path, target: &str) -> Bind {
    let source = source.to_string_lossy().into_owned();
    Bind { source, target: target.to_owned(), read_only: false, propagation: "rprivate" }
}

fn labels(node: &str, pod: &Pod) -> Labels {
    Labels {
        node: node.to_owned(),
        pod_uid: pod.uid.to_string(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        ..Labels::default()
    }
}

/// The sandbox of a pod, in a cluster of this domain.
pub fn sandbox(node: &str, pod: &Pod, domain: &str) -> PodSpec {
    let full = pod.full_hostname(domain).filter(|(_, in_hostname)| *in_hostname);
    let published = pod.containers.iter().chain(&pod.init_containers).flat_map(|c| &c.ports);
    let ports = published.filter_map(|port| {
        Some(PortMapping {
            container_port: port.container_port,
            host_port: port.host_port?,
            host_ip: port.host_ip.clone(),
            protocol: match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            },
        })
    });
    PodSpec {
        name: pod_name(pod),
        infra_name: infra_name(pod),
        hostname: full.map_or_else(|| pod.hostname.clone(), |(name, _)| name),
        host_network: pod.host_network,
        network: if pod.host_network { String::new() } else { network::NAME.to_owned() },
        // On the host's network a host port is the port itself.
        ports: if pod.host_network { Vec::new() } else { ports.collect() },
        share_pids: pod.pids() == Namespace::Pod,
        sysctls: pod.sysctls().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        labels: labels(node, pod),
    }
}

/// One attempt of a container.
///
/// # Errors
/// [`ConfigError`].
pub fn container(
    pod: &Pod,
    spec: &Container,
    attempt: u32,
    image: &Image,
    sources: &Sources<'_>,
    data_dir: &Path,
) -> Result<ContainerSpec, ConfigError> {
    let env = env::environment(pod, spec, sources)?;
    check_non_root(pod, spec, image)?;
    let expand = |words: &[String]| words.iter().map(|w| env::expand(w, &env)).collect();
    let log = termination_log(data_dir, pod, &spec.name, attempt);
    Ok(ContainerSpec {
        name: format!("skiff_{}_{}_{}_{}_{attempt}", spec.name, pod.name, pod.namespace, pod.uid),
        pod: pod_name(pod),
        // The image that was looked at, whatever the tag means by now.
        image: image.id.clone(),
        entrypoint: expand(&spec.command),
        command: expand(&spec.args),
        work_dir: spec.working_dir.clone(),
        user: user(&spec.security, image),
        groups: spec.security.supplemental_groups.iter().map(i64::to_string).collect(),
        stdin: spec.stdin,
        tty: spec.tty,
        privileged: spec.security.privileged,
        read_only_root: spec.security.read_only_root,
        no_new_privileges: spec.security.no_new_privileges,
        cap_add: capabilities(&spec.security.cap_add),
        cap_drop: capabilities(&spec.security.cap_drop),
        seccomp: pod.seccomp(&spec.name).map(|profile| seccomp(profile, data_dir)),
        pid_ns: (pod.pids() == Namespace::Host).then_some(Join::Host),
        ipc_ns: pod.host_ipc().then_some(Join::Host),
        limits: limits(&spec.resources),
        binds: vec![own_file(&log, pod.message_path(&spec.name))],
        host_uts: pod.host_network,
        labels: Labels {
            container: spec.name.clone(),
            attempt,
            image: spec.image.clone(),
            stop_signal: image.stop_signal.clone(),
            limits: Some(limits(&spec.resources)),
            ..labels(sources.node, pod)
        },
        env,
    })
}

/// What a container with these resources may use.
pub fn limits(resources: &Resources) -> Limits {
    Limits {
        cpu_shares: cpu_shares(resources.cpu_request_milli.or(resources.cpu_limit_milli).unwrap_or(0)),
        cpu_quota_us: resources.cpu_limit_milli.filter(|m| *m > 0).map(cpu_quota_us),
        memory_bytes: resources.memory_limit_bytes.filter(|b| *b > 0).and_then(|b| i64::try_from(b).ok()),
    }
}

/// CPU shares as the kubelet sets them: 1024 a CPU, at least 2.
fn cpu_shares(milli: u64) -> u64 {
    (milli.saturating_mul(1024) / 1000).max(2)
}

/// CPU quota per 100 ms as the kubelet sets it: at least 1 ms.
fn cpu_quota_us(milli: u64) -> i64 {
    i64::try_from(milli.saturating_mul(100)).unwrap_or(i64::MAX).max(1000)
}

fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| match name.as_str() {
        "ALL" | "all" => "all".to_owned(),
        other if other.starts_with("CAP_") => other.to_owned(),
        other => format!("CAP_{other}"),
    };
    names.iter().map(full).collect()
}

fn seccomp(profile: &SeccompProfile, data_dir: &Path) -> String {
    match profile {
        SeccompProfile::Unconfined => "unconfined".to_owned(),
        SeccompProfile::Localhost(path) => data_dir.join("seccomp").join(path).to_string_lossy().into_owned(),
    }
}

fn user(security: &Security, image: &Image) -> Option<String> {
    match (security.run_as_user, security.run_as_group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, Some(group)) => {
            let own = image.user.split(':').next().filter(|u| !u.is_empty()).unwrap_or("0");
            Some(format!("{own}:{group}"))
        }
        (None, None) => None,
    }
}

fn check_non_root(pod: &Pod, spec: &Container, image: &Image) -> Result<(), ConfigError> {
    if !spec.security.run_as_non_root {
        return Ok(());
    }
    let subject = format!("(pod: \"{}_{}({})\", container: {})", pod.name, pod.namespace, pod.uid, spec.name);
    let own = image.user.split(':').next().unwrap_or_default();
    let wrong = match (spec.security.run_as_user, own.parse::<u64>()) {
        (Some(0), _) => Some(format!("container's runAsUser breaks non-root policy {subject}")),
        (Some(_), _) => None,
        (None, Ok(0)) => Some(format!("container has runAsNonRoot and image will run as root {subject}")),
        (None, Ok(_)) => None,
        (None, Err(_)) if own.is_empty() || own == "root" => {
            Some(format!("container has runAsNonRoot and image will run as root {subject}"))
        }
        (None, Err(_)) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({own}), cannot verify user is non-root {subject}"
        )),
    };
    wrong.map_or(Ok(()), |message| Err(ConfigError::Root(message)))
}
