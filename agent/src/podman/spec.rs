//! The JSON that creates pods and containers (Podman's `PodSpecGenerator` and `SpecGenerator`, the used parts).

use std::collections::BTreeMap;

use serde::Serialize;

use super::labels::NODE;
use super::{ContainerSpec, Limits, NetworkSpec, PodSpec};

/// Log files are kept to this size (as a kubelet does: `containerLogMaxSize`), so that one container cannot fill the disk.
const LOG_MAX_BYTES: i64 = 10 * 1024 * 1024;

/// What a pod's containers share: Podman's default, and their processes.
const SHARED_WITH_PIDS: &[&str] = &["ipc", "net", "uts", "pid"];

#[derive(Serialize)]
struct Namespace<'a> {
    nsmode: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
}

/// Podman chooses addresses and names itself.
#[derive(Serialize)]
struct NetworkOptions {}

#[derive(Serialize)]
struct Subnet<'a> {
    subnet: &'a str,
    gateway: &'a str,
}

#[derive(Serialize)]
struct Network<'a> {
    name: &'a str,
    driver: &'static str,
    network_interface: &'a str,
    subnets: [Subnet<'a>; 1],
    ipv6_enabled: bool,
    dns_enabled: bool,
    internal: bool,
    labels: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
struct Port<'a> {
    container_port: u16,
    host_port: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    host_ip: &'a str,
    protocol: &'a str,
}

#[derive(Serialize)]
struct Pod<'a> {
    name: &'a str,
    infra_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hostname: &'a str,
    labels: BTreeMap<&'static str, String>,
    netns: Namespace<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shared_namespaces: &'static [&'static str],
    #[serde(rename = "Networks", skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<&'a str, NetworkOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    portmappings: Vec<Port<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctl: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Cpu {
    shares: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
}

#[derive(Serialize)]
struct Memory {
    limit: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<i64>,
}

#[derive(Serialize)]
struct Resources {
    cpu: Cpu,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

#[derive(Serialize)]
struct Mount<'a> {
    destination: &'a str,
    source: &'a str,
    r#type: &'static str,
    options: Vec<&'static str>,
}

#[derive(Serialize)]
struct LogConfig {
    driver: &'static str,
    size: i64,
}

#[derive(Serialize)]
struct Container<'a> {
    name: &'a str,
    pod: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    command: &'a [String],
    env: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    work_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    stdin: bool,
    terminal: bool,
    privileged: bool,
    read_only_filesystem: bool,
    no_new_privileges: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cap_add: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cap_drop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp_profile_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipcns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utsns: Option<Namespace<'a>>,
    resource_limits: Resources,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount<'a>>,
    log_configuration: LogConfig,
    restart_policy: &'static str,
    labels: BTreeMap<&'static str, String>,
}

/// The body of `POST /networks/create`.
pub(super) fn network(spec: &NetworkSpec) -> Vec<u8> {
    to_json(&Network {
        name: &spec.name,
        driver: "bridge",
        network_interface: &spec.interface,
        subnets: [Subnet { subnet: &spec.subnet, gateway: &spec.gateway }],
        ipv6_enabled: false,
        // Pods ask the cluster's DNS; Podman would start a server process of its own.
        dns_enabled: false,
        internal: false,
        labels: BTreeMap::from([(NODE, spec.node.as_str())]),
    })
}

/// The body of `POST /pods/create`.
pub(super) fn pod(spec: &PodSpec) -> Vec<u8> {
    to_json(&Pod {
        name: &spec.name,
        infra_name: &spec.infra_name,
        // Podman refuses a host name of its own beside the host's UTS namespace.
        hostname: if spec.host_network { "" } else { &spec.hostname },
        labels: spec.labels.to_map(),
        netns: Namespace { nsmode: if spec.host_network { "host" } else { "bridge" }, value: "" },
        shared_namespaces: if spec.share_pids { SHARED_WITH_PIDS } else { &[] },
        networks: if spec.host_network {
            BTreeMap::new()
        } else {
            BTreeMap::from([(spec.network.as_str(), NetworkOptions {})])
        },
        portmappings: spec.ports.iter().map(port).collect(),
        sysctl: spec.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    })
}

/// The body of `POST /containers/create`.
pub(super) fn container(spec: &ContainerSpec) -> Vec<u8> {
    to_json(&Container {
        name: &spec.name,
        pod: &spec.pod,
        image: &spec.image,
        entrypoint: &spec.entrypoint,
        command: &spec.command,
        env: spec.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        work_dir: spec.work_dir.as_deref(),
        user: spec.user.as_deref(),
        groups: &spec.groups,
        stdin: spec.stdin,
        terminal: spec.tty,
        privileged: spec.privileged,
        read_only_filesystem: spec.read_only_root,
        no_new_privileges: spec.no_new_privileges,
        cap_add: &spec.cap_add,
        cap_drop: &spec.cap_drop,
        seccomp_profile_path: spec.seccomp.as_deref(),
        pidns: spec.pid_ns.as_ref().map(join),
        ipcns: spec.ipc_ns.as_ref().map(join),
        utsns: spec.host_uts.then_some(Namespace { nsmode: "host", value: "" }),
        resource_limits: resources(&spec.limits),
        mounts: spec.binds.iter().map(mount).collect(),
        log_configuration: LogConfig { driver: "k8s-file", size: LOG_MAX_BYTES },
        restart_policy: "no",
        labels: spec.labels.to_map(),
    })
}

/// The body of `POST /containers/{id}/update`; `with_swap` moves the limit of memory and swap too, to Podman's default
/// of twice the memory.
pub(super) fn update(limits: &Limits, with_swap: bool) -> Vec<u8> {
    let mut resources = resources(limits);
    if let Some(memory) = resources.memory.as_mut().filter(|_| with_swap) {
        memory.swap = Some(memory.limit.saturating_mul(2));
    }
    to_json(&resources)
}

fn join(namespace: &super::Join) -> Namespace<'_> {
    match namespace {
        super::Join::Host => Namespace { nsmode: "host", value: "" },
        super::Join::Container(id) => Namespace { nsmode: "container", value: id },
    }
}

fn port(mapping: &super::PortMapping) -> Port<'_> {
    Port {
        container_port: mapping.container_port,
        host_port: mapping.host_port,
        host_ip: &mapping.host_ip,
        protocol: mapping.protocol,
    }
}

fn resources(limits: &Limits) -> Resources {
    let Limits { cpu_shares, cpu_quota_us, memory_bytes } = *limits;
    let cpu = Cpu { shares: cpu_shares, quota: cpu_quota_us, period: cpu_quota_us.map(|_| 100_000) };
    Resources { cpu, memory: memory_bytes.map(|limit| Memory { limit, swap: None }) }
}

fn mount(bind: &super::Bind) -> Mount<'_> {
    let options = vec!["rbind", if bind.read_only { "ro" } else { "rw" }, bind.propagation];
    Mount { destination: &bind.target, source: &bind.source, r#type: "bind", options }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps with string keys always serialise")
}
