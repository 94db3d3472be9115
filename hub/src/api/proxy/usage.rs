//! What a node and its pods use, in a kubelet's forms: the summary and the resource metrics.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_shared::wire::stream::stats::{ContainerStats, NodeStats, Usage};

/// A pod's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The containers of each pod that is known.
fn by_pod<'a>(stats: &'a NodeStats, pods: &'a [Pod]) -> Vec<(&'a Pod, Vec<&'a ContainerStats>)> {
    let mut containers: BTreeMap<&str, Vec<&ContainerStats>> = BTreeMap::new();
    for container in &stats.containers {
        containers.entry(container.pod.as_str()).or_default().push(container);
    }
    pods.iter().filter_map(|pod| Some((pod, containers.remove(pod.uid.as_str())?))).collect()
}

fn total(containers: &[&ContainerStats]) -> Usage {
    let mut all = Usage::default();
    containers.iter().for_each(|c| all += c.usage);
    all
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms - ms.rem_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// `/stats/summary`.
pub(super) fn summary(node: &str, stats: &NodeStats, pods: &[Pod]) -> Value {
    let at = time(stats.at_ms);
    let used = |mut object: Value, usage: &Usage| {
        object["cpu"] = json!({"time": at, "usageCoreNanoSeconds": usage.cpu_ns});
        object["memory"] = json!({
            "time": at, "usageBytes": usage.memory_bytes, "workingSetBytes": usage.working_set_bytes,
            "rssBytes": usage.rss_bytes,
        });
        object
    };
    let mut machine = used(json!({"nodeName": node, "startTime": time(stats.started_ms)}), &stats.usage);
    machine["memory"]["availableBytes"] = stats.available_bytes.into();
    let pod = |(pod, containers): (&Pod, Vec<&ContainerStats>)| {
        let reference = json!({"name": pod.name, "namespace": pod.namespace, "uid": pod.uid});
        let started = containers.iter().map(|c| c.started_ms).min().unwrap_or_default();
        let each = containers.iter().map(|c| used(json!({"name": c.name, "startTime": time(c.started_ms)}), &c.usage));
        let all = json!({"podRef": reference, "startTime": time(started), "containers": each.collect::<Vec<_>>()});
        used(all, &total(&containers))
    };
    json!({"node": machine, "pods": by_pod(stats, pods).into_iter().map(pod).collect::<Vec<_>>()})
}

/// `/metrics/resource`, in the text format of Prometheus.
pub(super) fn metrics(stats: &NodeStats, pods: &[Pod]) -> String {
    let pods = by_pod(stats, pods);
    let containers = || pods.iter().flat_map(|(pod, all)| all.iter().map(move |c| (labels(Some(&c.name), pod), c)));
    let each_pod = || pods.iter().map(|(pod, all)| (labels(None, pod), total(all)));
    let one = |value: String| vec![(String::new(), value)];
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, String)>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value} {}", stats.at_ms);
        }
    };
    let cpu = "Cumulative cpu time consumed by the";
    let memory = "Current working set of the";
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} container in core-seconds"),
        containers().map(|(l, c)| (l, seconds(c.usage.cpu_ns))).collect(),
    );
    family(
        "container_memory_working_set_bytes",
        "gauge",
        &format!("{memory} container in bytes"),
        containers().map(|(l, c)| (l, c.usage.working_set_bytes.to_string())).collect(),
    );
    family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        containers().map(|(l, c)| (l, seconds(u64::try_from(c.started_ms).unwrap_or(0) * 1_000_000))).collect(),
    );
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} node in core-seconds"),
        one(seconds(stats.usage.cpu_ns)),
    );
    family(
        "node_memory_working_set_bytes",
        "gauge",
        &format!("{memory} node in bytes"),
        one(stats.usage.working_set_bytes.to_string()),
    );
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} pod in core-seconds"),
        each_pod().map(|(l, u)| (l, seconds(u.cpu_ns))).collect(),
    );
    family(
        "pod_memory_working_set_bytes",
        "gauge",
        &format!("{memory} pod in bytes"),
        each_pod().map(|(l, u)| (l, u.working_set_bytes.to_string())).collect(),
    );
    out
}

/// The labels of a sample. None of these names holds a character that would have to be escaped.
fn labels(container: Option<&str>, pod: &Pod) -> String {
    let container = container.map_or(String::new(), |name| format!("container=\"{name}\","));
    format!("{{{container}namespace=\"{}\",pod=\"{}\"}}", pod.namespace, pod.name)
}

/// Nanoseconds as seconds.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use skiff_shared::ids::PodUid;

    use super::*;

    fn stats() -> (NodeStats, Vec<Pod>) {
        let usage = |n: u64| Usage {
            cpu_ns: n * 500_000_000,
            memory_bytes: 30 * n,
            working_set_bytes: 20 * n,
            rss_bytes: 10 * n,
        };
        let container = |pod: &str, name: &str, n| ContainerStats {
            pod: PodUid::parse(pod).unwrap(),
            name: name.into(),
            started_ms: 5500,
            usage: usage(n),
        };
        let containers = vec![container("u-1", "a", 1), container("u-1", "b", 2), container("u-gone", "c", 1)];
        let stats = NodeStats { at_ms: 60_500, started_ms: 1000, available_bytes: 7, usage: usage(9), containers };
        (stats, vec![Pod { uid: "u-1".into(), namespace: "default".into(), name: "web".into() }])
    }

    #[test]
    fn the_summary_adds_containers_up() {
        let (stats, pods) = stats();
        let summary = summary("edge-1", &stats, &pods);
        let at = "1970-01-01T00:01:00Z";
        assert_eq!(
            summary["node"],
            json!({
                "nodeName": "edge-1", "startTime": "1970-01-01T00:00:01Z",
                "cpu": {"time": at, "usageCoreNanoSeconds": 4_500_000_000_u64},
                "memory": {"time": at, "usageBytes": 270, "workingSetBytes": 180, "rssBytes": 90, "availableBytes": 7},
            })
        );
        let web = &summary["pods"][0];
        assert_eq!(summary["pods"].as_array().map(Vec::len), Some(1), "a pod that the hub does not know is left out");
        assert_eq!(web["podRef"], json!({"name": "web", "namespace": "default", "uid": "u-1"}));
        assert_eq!(
            (&web["cpu"]["usageCoreNanoSeconds"], &web["memory"]["workingSetBytes"]),
            (&json!(1_500_000_000), &json!(60))
        );
        assert_eq!(
            (&web["containers"][1]["name"], &web["containers"][1]["memory"]["rssBytes"]),
            (&json!("b"), &json!(20))
        );
    }

    #[test]
    fn metrics_are_those_that_metrics_server_reads() {
        let (stats, pods) = stats();
        let text = metrics(&stats, &pods);
        for line in [
            r#"container_cpu_usage_seconds_total{container="b",namespace="default",pod="web"} 1 60500"#,
            r#"container_start_time_seconds{container="a",namespace="default",pod="web"} 5.5 60500"#,
            "node_cpu_usage_seconds_total 4.5 60500",
            "node_memory_working_set_bytes 180 60500",
            r#"pod_cpu_usage_seconds_total{namespace="default",pod="web"} 1.5 60500"#,
            r#"pod_memory_working_set_bytes{namespace="default",pod="web"} 60 60500"#,
            "# TYPE pod_memory_working_set_bytes gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
