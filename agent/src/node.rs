//! The node's own status: what the machine has, and how it fares.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use skiff_shared::limits::MAX_PODS_PER_NODE;
use skiff_shared::report::{NodeCondition, NodeInfo, NodeReport};
use skiff_shared::version::GIT_VERSION;

use crate::podman::Info;

/// Memory is short below this much available (kubelet: `memory.available<100Mi`).
const MEMORY_LOW_BYTES: u64 = 100 * 1024 * 1024;
/// The disk is short below this part of it free, percent (kubelet: `nodefs.available<10%`).
const DISK_LOW_PERCENT: u64 = 10;
/// Process ids are short when this part of them is used, percent.
const PIDS_HIGH_PERCENT: u64 = 90;
/// CPU kept back for the system, thousandths.
const CPU_RESERVED_MILLI: u64 = 50;
/// Memory kept back for the system, bytes.
const MEMORY_RESERVED_BYTES: u64 = 100 * 1024 * 1024;

/// What a condition of the node is called when it is bad and when it is not.
const PRESSURES: [(&str, &str, &str, &str, &str); 3] = [
    (
        "MemoryPressure",
        "KubeletHasInsufficientMemory",
        "kubelet has insufficient memory available",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "KubeletHasDiskPressure",
        "kubelet has disk pressure",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "KubeletHasInsufficientPID",
        "kubelet has insufficient PID available",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
];

/// How the machine fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Memory is short.
    pub memory_low: bool,
    /// The disk of the container storage is short.
    pub disk_low: bool,
    /// Process ids are short.
    pub pids_low: bool,
    /// Podman answers.
    pub podman_up: bool,
}

impl Health {
    /// Looks at the machine; `info` is what Podman said last.
    pub fn measure(info: &Info, podman_up: bool) -> Self {
        let memory = read("/proc/meminfo");
        let available = meminfo_bytes(&memory, "MemAvailable").unwrap_or(u64::MAX);
        let free = info.storage_bytes.saturating_sub(info.storage_used_bytes);
        Self {
            // A machine with little memory in all would otherwise be under pressure for ever.
            memory_low: available < MEMORY_LOW_BYTES.min(meminfo_bytes(&memory, "MemTotal").unwrap_or(0) / 10),
            disk_low: info.storage_bytes > 0 && free < info.storage_bytes / 100 * DISK_LOW_PERCENT,
            pids_low: pids_used_percent(&read("/proc/loadavg"), &read("/proc/sys/kernel/pid_max")) > PIDS_HIGH_PERCENT,
            podman_up,
        }
    }
}

/// The node's report. Conditions keep the time of their last change from the report `before`.
pub fn report(
    name: &str,
    ip: IpAddr,
    info: &Info,
    health: Health,
    before: Option<&NodeReport>,
    now_ms: i64,
) -> NodeReport {
    let architecture = go_architecture(std::env::consts::ARCH);
    let labels =
        [("kubernetes.io/arch", architecture), ("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux")];
    NodeReport {
        internal_ip: ip.to_string(),
        hostname: name.to_owned(),
        cpu_milli: std::thread::available_parallelism().map_or(1000, |n| n.get() as u64 * 1000),
        memory_bytes: meminfo_bytes(&read("/proc/meminfo"), "MemTotal").unwrap_or(0),
        storage_bytes: info.storage_bytes,
        pods: MAX_PODS_PER_NODE,
        cpu_reserved_milli: CPU_RESERVED_MILLI,
        memory_reserved_bytes: MEMORY_RESERVED_BYTES,
        info: NodeInfo {
            machine_id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
            runtime_version: format!("podman://{}", info.version),
            agent_version: GIT_VERSION.to_owned(),
            architecture: architecture.to_owned(),
        },
        conditions: conditions(health, before, now_ms),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
    }
}

fn conditions(health: Health, before: Option<&NodeReport>, now_ms: i64) -> Vec<NodeCondition> {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        let same = before.and_then(|b| b.conditions.iter().find(|c| c.kind == kind && c.status == status));
        NodeCondition {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            since_ms: same.map_or(now_ms, |c| c.since_ms),
        }
    };
    let pressed = [health.memory_low, health.disk_low, health.pids_low];
    let pressures = PRESSURES.iter().zip(pressed).map(|((kind, bad, bad_text, good, good_text), pressed)| {
        if pressed { condition(kind, true, bad, bad_text) } else { condition(kind, false, good, good_text) }
    });
    let ready = if health.podman_up {
        condition("Ready", true, "KubeletReady", "kubelet is posting ready status")
    } else {
        condition("Ready", false, "KubeletNotReady", "container runtime is down")
    };
    pressures.chain([ready]).collect()
}

/// Events for what changed between two reports, as reason and message; at the start everything counts as changed.
pub fn transitions(name: &str, before: Option<&NodeReport>, after: &NodeReport) -> Vec<(&'static str, String)> {
    let mut events = Vec::new();
    for condition in &after.conditions {
        let was = before.and_then(|b| b.conditions.iter().find(|c| c.kind == condition.kind));
        if was.is_some_and(|c| c.status == condition.status) {
            continue;
        }
        let reason = match (condition.kind.as_str(), condition.status) {
            ("MemoryPressure", true) => "NodeHasInsufficientMemory",
            ("MemoryPressure", false) => "NodeHasSufficientMemory",
            ("DiskPressure", true) => "NodeHasDiskPressure",
            ("DiskPressure", false) => "NodeHasNoDiskPressure",
            ("PIDPressure", true) => "NodeHasInsufficientPID",
            ("PIDPressure", false) => "NodeHasSufficientPID",
            (_, true) => "NodeReady",
            (_, false) => "NodeNotReady",
        };
        events.push((reason, format!("Node {name} status is now: {reason}")));
    }
    events
}

/// The machine's own address towards the first of these that does not lead back to it: a hub on the same machine is
/// reached through the loopback address, which says nothing to others. Nothing is sent.
pub fn route_address(hub: &[SocketAddr]) -> Option<IpAddr> {
    hub.iter().find_map(|hub| {
        let any: SocketAddr = if hub.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(hub).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
    })
}

/// The host name.
pub fn host_name() -> String {
    line("/proc/sys/kernel/hostname")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn line(path: &str) -> String {
    read(path).trim().to_owned()
}

fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Used part of the process ids, percent: the kernel counts tasks in the fourth field of `loadavg`.
fn pids_used_percent(loadavg: &str, pid_max: &str) -> u64 {
    let tasks = loadavg.split_whitespace().nth(3).and_then(|f| f.split_once('/')?.1.parse::<u64>().ok());
    let most = pid_max.trim().parse::<u64>().ok().filter(|n| *n > 0);
    tasks.zip(most).map_or(0, |(tasks, most)| tasks.saturating_mul(100) / most)
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_read() {
        let meminfo = "MemTotal:        1009864 kB\nMemAvailable:     500000 kB\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(1_034_100_736));
        assert_eq!(meminfo_bytes(meminfo, "Mem"), None);
        assert_eq!(pids_used_percent("0.1 0.2 0.3 1/90 4242", "100\n"), 90);
        assert_eq!(pids_used_percent("", ""), 0);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
    }

    #[test]
    fn conditions_keep_the_time_of_their_change() {
        let up = Health { podman_up: true, ..Health::default() };
        let ip = IpAddr::from([192, 0, 2, 1]);
        let first = report("n1", ip, &Info::default(), up, None, 1000);
        assert_eq!(transitions("n1", None, &first).len(), 4);
        let down = Health { podman_up: false, memory_low: true, ..up };
        let second = report("n1", ip, &Info::default(), down, Some(&first), 2000);
        let since: Vec<_> = second.conditions.iter().map(|c| (c.kind.as_str(), c.status, c.since_ms)).collect();
        assert_eq!(
            since,
            [
                ("MemoryPressure", true, 2000),
                ("DiskPressure", false, 1000),
                ("PIDPressure", false, 1000),
                ("Ready", false, 2000)
            ]
        );
        let reasons: Vec<_> = transitions("n1", Some(&first), &second).into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(reasons, ["NodeHasInsufficientMemory", "NodeNotReady"]);
    }
}
