//! What the hub asks about the node itself: whether the agent is well, and what the machine and its containers use.

use std::collections::BTreeMap;
use std::{fs, io};

use jiff::Timestamp;
use skiff_shared::wire::stream::stats::{ContainerStats, NodeStats, Usage};
use skiff_shared::wire::stream::{NodeRequest, StreamReply};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::reply;
use crate::podman::{Podman, PodmanError, RunState};

/// Where the kernel shows its control groups, of either version.
const CGROUPS: &str = "/sys/fs/cgroup";
/// A tick of `/proc/stat`: `USER_HZ` is 100 on every architecture that Rust's Linux targets have but Alpha.
const TICK_NS: u64 = 10_000_000;

/// Answers the hub.
///
/// # Errors
/// When the hub has gone away.
pub(super) async fn serve(
    podman: &dyn Podman,
    request: NodeRequest,
    send: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    match request {
        NodeRequest::Health => match podman.version().await {
            Ok(_) => reply(send, &StreamReply::Ok).await,
            Err(error) => reply(send, &StreamReply::Failed(format!("Podman does not answer: {}", error.chain()))).await,
        },
        NodeRequest::Stats => match containers(podman).await {
            Ok(containers) => {
                reply(send, &StreamReply::Ok).await?;
                let stats = NodeStats { containers, ..machine() };
                send.write_all(&postcard::to_stdvec(&stats).map_err(io::Error::other)?).await
            }
            Err(error) => reply(send, &StreamReply::Failed(error.chain())).await,
        },
    }
}

async fn containers(podman: &dyn Podman) -> Result<Vec<ContainerStats>, PodmanError> {
    let mut found = Vec::new();
    for container in podman.list(None).await? {
        if container.infra || container.state != RunState::Running {
            continue;
        }
        let inspected = match podman.inspect(&container.id).await {
            Ok(inspected) if inspected.pid > 0 => inspected,
            // It has ended meanwhile.
            Ok(_) | Err(PodmanError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let pod = container.labels.pod_uid.as_str();
        let Ok(pod) = skiff_shared::ids::PodUid::parse(pod) else { continue };
        found.push(ContainerStats {
            pod,
            name: container.labels.container,
            started_ms: inspected.started_ms,
            usage: usage(&read(&format!("/proc/{}/cgroup", inspected.pid)), read),
        });
    }
    Ok(found)
}

fn machine() -> NodeStats {
    let (stat, memory) = (read("/proc/stat"), read("/proc/meminfo"));
    let bytes = |field: &str| number(&memory, field).saturating_mul(1024);
    let total = bytes("MemTotal:");
    NodeStats {
        at_ms: Timestamp::now().as_millisecond(),
        started_ms: i64::try_from(number(&stat, "btime")).unwrap_or(0).saturating_mul(1000),
        available_bytes: bytes("MemAvailable:"),
        usage: Usage {
            cpu_ns: busy_ticks(&stat).saturating_mul(TICK_NS),
            memory_bytes: total.saturating_sub(bytes("MemFree:")),
            working_set_bytes: total.saturating_sub(bytes("MemAvailable:")),
            rss_bytes: bytes("AnonPages:"),
        },
        containers: Vec::new(),
    }
}

/// Ticks in which the machine did something: all of `/proc/stat`'s but those it idled or waited for disks.
fn busy_ticks(stat: &str) -> u64 {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks = fields.split_whitespace().take(8).map(|f| f.parse::<u64>().unwrap_or(0));
    ticks.enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, n)| n).sum()
}

/// What a control group uses, by the groups of one of its processes (`/proc/PID/cgroup`). On machines with both
/// versions the groups of the first have the controllers.
fn usage(groups: &str, read: impl Fn(&str) -> String) -> Usage {
    let paths: BTreeMap<&str, &str> = groups
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .flat_map(|(controllers, path)| controllers.split(',').map(move |controller| (controller, path)))
        .collect();
    let file = |controller: &str, path: &str, name: &str| {
        let slash = if controller.is_empty() { "" } else { "/" };
        read(&format!("{CGROUPS}{slash}{controller}{path}/{name}"))
    };
    let whole = |text: String| text.trim().parse::<u64>().unwrap_or(0);
    let cpu_ns = match paths.get("cpuacct") {
        Some(path) => whole(file("cpuacct", path, "cpuacct.usage")),
        None => {
            let path = paths.get("").copied().unwrap_or_default();
            number(&file("", path, "cpu.stat"), "usage_usec").saturating_mul(1000)
        }
    };
    let (memory_bytes, stat, [inactive, rss]) = match paths.get("memory") {
        Some(path) => (
            whole(file("memory", path, "memory.usage_in_bytes")),
            file("memory", path, "memory.stat"),
            ["total_inactive_file", "total_rss"],
        ),
        None => {
            let path = paths.get("").copied().unwrap_or_default();
            (whole(file("", path, "memory.current")), file("", path, "memory.stat"), ["inactive_file", "anon"])
        }
    };
    let working_set_bytes = memory_bytes.saturating_sub(number(&stat, inactive));
    Usage { cpu_ns, memory_bytes, working_set_bytes, rss_bytes: number(&stat, rss) }
}

/// The number after a word at the start of a line; 0 where there is none.
fn number(text: &str, field: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == field).then(|| words.next()?.parse().ok())?
    };
    text.lines().find_map(value).unwrap_or(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_both_versions_are_read() {
        let files = [
            ("/sys/fs/cgroup/cpuacct/pod/a/cpuacct.usage", "700\n"),
            ("/sys/fs/cgroup/memory/pod/a/memory.usage_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/pod/a/memory.stat", "cache 1\nrss 2\ntotal_inactive_file 300\ntotal_rss 400\n"),
            ("/sys/fs/cgroup/pod/b/cpu.stat", "usage_usec 7\nuser_usec 3\n"),
            ("/sys/fs/cgroup/pod/b/memory.current", "2000\n"),
            ("/sys/fs/cgroup/pod/b/memory.stat", "anon 500\ninactive_file 600\n"),
        ];
        let read = |path: &str| files.iter().find(|(p, _)| *p == path).map_or("", |(_, text)| text).to_owned();
        let of = |cpu_ns, memory_bytes, working_set_bytes, rss_bytes| Usage {
            cpu_ns,
            memory_bytes,
            working_set_bytes,
            rss_bytes,
        };
        for (groups, expected) in [
            ("4:memory:/pod/a\n2:cpu,cpuacct:/pod/a\n0::/pod/other\n", of(700, 1000, 700, 400)),
            ("0::/pod/b\n", of(7000, 2000, 1400, 500)),
            ("", Usage::default()),
        ] {
            assert_eq!(usage(groups, read), expected, "{groups:?}");
        }
    }

    #[test]
    fn a_machine_is_busy_when_it_neither_idles_nor_waits() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 64\ncpu0 1 2 4 1000 1000 8 16 32\nbtime 5\n"), 63);
        assert_eq!(number("cpu 1\nbtime 5\n", "btime"), 5);
    }
}
