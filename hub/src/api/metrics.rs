//! `/metrics`: what the hub has answered and what it uses, as Prometheus reads it. Labels take values from the table of
//! kinds only, so that their number is bounded whatever clients send.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use skiff_shared::version::{GIT_VERSION, KUBERNETES};

use super::ApiState;
use super::fairness::Class;
use super::request::{RequestInfo, Verb};
use crate::registry::Registry;

/// Upper bounds of the duration histogram, in seconds: those of Kubernetes.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// What a request was about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    dry_run: &'static str,
}

impl Labels {
    /// The labels of a request; what names no kind is about no resource.
    pub(crate) fn of(info: &RequestInfo, dry_run: bool, registry: &Registry) -> Self {
        let verb = verb(info.verb);
        let dry_run = if dry_run { "All" } else { "" };
        let path = info.resource.as_ref();
        let kind = path.and_then(|path| Some((path, registry.resource(&path.group, &path.version, &path.resource)?)));
        let Some((path, kind)) = kind else { return Self { verb, dry_run, ..Self::default() } };
        let subresource = kind.subresources.iter().find(|s| **s == path.subresource).copied().unwrap_or_default();
        let scope = match (path.name.is_empty(), path.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let (group, version, resource) = (kind.group, kind.version, kind.plural);
        Self { verb, group, version, resource, subresource, scope, dry_run }
    }

    fn text(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope, dry_run } = self;
        format!(
            "component=\"apiserver\",dry_run=\"{dry_run}\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
             subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Unknown => "other",
    }
}

#[derive(Debug, Default)]
struct Durations {
    /// How many took at most as long as each bound, but longer than the one before.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(Labels, u16), u64>,
    durations: BTreeMap<Labels, Durations>,
}

/// Counts the requests that have been answered.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

impl Metrics {
    /// Counts a request. A watch or a stream has no duration: it takes as long as its client wants.
    pub(crate) fn answered(&self, labels: Labels, code: u16, elapsed: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((labels, code)).or_default() += 1;
        if labels.verb == "WATCH" {
            return;
        }
        let durations = counts.durations.entry(labels).or_default();
        let seconds = elapsed.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            durations.buckets[bucket] += 1;
        }
        durations.count += 1;
        durations.seconds += seconds;
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        head(out, "apiserver_request_total", "counter", "Number of requests answered.")?;
        for ((labels, code), count) in &counts.requests {
            writeln!(out, "apiserver_request_total{{code=\"{code}\",{}}} {count}", labels.text())?;
        }
        const DURATION: &str = "apiserver_request_duration_seconds";
        head(out, DURATION, "histogram", "Time that requests took, in seconds.")?;
        for (labels, durations) in &counts.durations {
            let (labels, mut below) = (labels.text(), 0);
            for (bound, count) in BUCKETS.iter().zip(durations.buckets) {
                below += count;
                writeln!(out, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
            }
            let Durations { count, seconds, .. } = durations;
            writeln!(out, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
            writeln!(out, "{DURATION}_sum{{{labels}}} {seconds}")?;
            writeln!(out, "{DURATION}_count{{{labels}}} {count}")?;
        }
        Ok(())
    }
}

/// The whole document.
pub(crate) fn document(state: &ApiState) -> String {
    let mut out = String::new();
    // Writing to a text does not fail.
    let _ = state.metrics.write(&mut out).and_then(|()| requests_in_flight(&mut out, state));
    let _ = process(&mut out).and_then(|()| build(&mut out));
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) -> std::fmt::Result {
    head(out, name, kind, help)?;
    writeln!(out, "{name} {value}")
}

fn requests_in_flight(out: &mut String, state: &ApiState) -> std::fmt::Result {
    const IN_FLIGHT: &str = "apiserver_current_inflight_requests";
    head(out, IN_FLIGHT, "gauge", "Number of requests being answered.")?;
    for (class, kind) in [(Class::Mutating, "mutating"), (Class::Reading, "readOnly")] {
        writeln!(out, "{IN_FLIGHT}{{request_kind=\"{kind}\"}} {}", state.fairness.taken(class))?;
    }
    let long = state.fairness.taken(Class::LongRunning);
    metric(out, "apiserver_longrunning_requests", "gauge", "Number of open watches and streams.", long)?;
    let revision = state.objects.snapshot().revision();
    metric(out, "skiff_store_revision", "gauge", "Newest revision of the store.", revision)
}

/// What `/proc` says of this process.
fn process(out: &mut String) -> std::fmt::Result {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let (status, stat, limits) = (read("status"), read("stat"), read("limits"));
    let kb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Counted after the parenthesised name, which is the second field; 100 ticks a second on every Linux platform.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let hundredths = |ticks: u64| format!("{}.{:02}", ticks / 100, ticks % 100);
    let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok()).unwrap_or(0);
    let most_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let cpu = hundredths(ticks(14) + ticks(15));
    metric(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu)?;
    let most = most_files.unwrap_or("0");
    metric(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.", most)?;
    metric(out, "process_open_fds", "gauge", "Number of open file descriptors.", files)?;
    let resident = kb("VmRSS:") * 1024;
    metric(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident)?;
    let started = hundredths(boot * 100 + ticks(22));
    let help = "Start time of the process since unix epoch in seconds.";
    metric(out, "process_start_time_seconds", "gauge", help, started)?;
    metric(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", kb("VmSize:") * 1024)
}

fn build(out: &mut String) -> std::fmt::Result {
    let (major, minor) = KUBERNETES.trim_start_matches('v').split_once('.').unwrap_or_default();
    let minor = minor.split('.').next().unwrap_or_default();
    head(out, "kubernetes_build_info", "gauge", "A metric with a constant 1 value labeled by versions.")?;
    let labels = format!("git_version=\"{GIT_VERSION}\",major=\"{major}\",minor=\"{minor}\"");
    writeln!(out, "kubernetes_build_info{{build_date=\"\",compiler=\"rustc\",git_commit=\"\",{labels}}} 1")
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;
    use crate::api::query::Query;

    #[test]
    fn labels_come_from_the_table_of_kinds() {
        let registry = Registry::builtin();
        for (method, url, expected) in [
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", ["GET", "", "v1", "pods", "log", "resource"]),
            (Method::GET, "/api/v1/namespaces/a/pods", ["LIST", "", "v1", "pods", "", "namespace"]),
            (
                Method::POST,
                "/apis/apps/v1/namespaces/a/deployments",
                ["POST", "apps", "v1", "deployments", "", "namespace"],
            ),
            (Method::GET, "/apis/apps/v1/deployments", ["LIST", "apps", "v1", "deployments", "", "cluster"]),
            (Method::GET, "/apis/none.io/v1/things/x", ["GET", "", "", "", "", ""]),
            (Method::GET, "/healthz", ["GET", "", "", "", "", ""]),
        ] {
            let info = RequestInfo::parse(&method, url, &Query::default());
            let l = Labels::of(&info, false, &registry);
            assert_eq!([l.verb, l.group, l.version, l.resource, l.subresource, l.scope], expected, "{url}");
        }
    }

    #[test]
    fn requests_are_counted_and_timed() {
        let metrics = Metrics::default();
        let labels = Labels { verb: "GET", resource: "pods", version: "v1", ..Labels::default() };
        for millis in [3, 30, 70_000] {
            metrics.answered(labels, 200, Duration::from_millis(millis));
        }
        metrics.answered(Labels { verb: "WATCH", ..labels }, 200, Duration::from_secs(1));
        let mut out = String::new();
        metrics.write(&mut out).unwrap();
        let of = |verb: &str| {
            format!(
                "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
            )
        };
        let get = of("GET");
        for line in [
            format!("apiserver_request_total{{code=\"200\",{get}}} 3"),
            format!("apiserver_request_total{{code=\"200\",{}}} 1", of("WATCH")),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"0.05\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"60\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"+Inf\"}} 3"),
            format!("apiserver_request_duration_seconds_sum{{{get}}} 70.033"),
        ] {
            assert!(out.lines().any(|l| l == line), "{line}\n{out}");
        }
        assert!(!out.contains(&format!("seconds_count{{{}}}", of("WATCH"))));
    }
}
