//! From an agent's reports to `v1.PodStatus` and `v1.Node`. Pure: JSON in, JSON out, so that fields which belong to
//! others stay as they are.

mod resources;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skiff_shared::quantity::{Format, Quantity};
use skiff_shared::report::{ContainerReport, ContainerState, NodeReport, Phase, PodReport, Terminated};

/// Conditions of a pod that are there only while a resize is not done.
const RESIZES: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// The annotation that ties a node's name to its agent's key: SHA-256 of the public key, in hex.
pub const AGENT_KEY: &str = "skiff.dev/agent-key";

/// How old `lastHeartbeatTime` may grow while nothing changes, in seconds (kubelet's `nodeStatusReportFrequency`).
pub const HEARTBEAT_SECONDS: i64 = 300;

fn time(ms: i64) -> Value {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    Value::String(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Puts a text field, or takes it out when it is empty.
fn put(map: &mut Map<String, Value>, name: &str, text: &str) {
    if text.is_empty() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), text.into());
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("made an object above")
}

/// The pod with this report as its status, or `None` when nothing changes. Conditions that the agent does not report
/// (`PodScheduled` and others' own), the QoS class and everything unknown stay.
pub fn apply_pod(stored: &Value, report: &PodReport) -> Option<Value> {
    let mut pod = stored.clone();
    let status = object(object(&mut pod).entry("status").or_insert(Value::Null));
    status.insert("phase".into(), phase(report.phase).into());
    put(status, "reason", &report.reason);
    put(status, "message", &report.message);
    put(status, "podIP", &report.pod_ip);
    put(status, "hostIP", &report.host_ip);
    for (list, ip) in [("podIPs", &report.pod_ip), ("hostIPs", &report.host_ip)] {
        if ip.is_empty() {
            status.remove(list);
        } else {
            status.insert(list.into(), json!([{"ip": ip}]));
        }
    }
    status.insert("startTime".into(), time(report.start_ms));
    let conditions = report.conditions.iter().map(|c| {
        let mut condition = json!({
            "type": c.kind, "status": if c.status { "True" } else { "False" },
            "lastProbeTime": null, "lastTransitionTime": time(c.since_ms),
        });
        put(object(&mut condition), "reason", &c.reason);
        put(object(&mut condition), "message", &c.message);
        condition
    });
    merge_conditions(status, conditions.collect());
    drop_ended_resizes(status, report);
    // Agents report ephemeral containers among the pod's own.
    let ephemeral: Vec<&str> = stored["spec"]["ephemeralContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    let (added, own): (Vec<_>, Vec<_>) = report.containers.iter().partition(|c| ephemeral.contains(&c.name.as_str()));
    let spec = &stored["spec"];
    let with_resources = |c: &ContainerReport| resources::with(container(c), spec, report);
    for (list, containers) in [
        ("initContainerStatuses", report.init_containers.iter().map(with_resources).collect::<Vec<_>>()),
        ("containerStatuses", own.into_iter().map(with_resources).collect()),
        ("ephemeralContainerStatuses", added.into_iter().map(ephemeral_container).collect()),
    ] {
        if containers.is_empty() {
            status.remove(list);
        } else {
            status.insert(list.into(), containers.into());
        }
    }
    (pod != *stored).then_some(pod)
}

/// A resize that is done has no condition.
fn drop_ended_resizes(status: &mut Map<String, Value>, report: &PodReport) {
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    conditions.retain(|c| {
        let kind = c["type"].as_str().unwrap_or_default();
        !RESIZES.contains(&kind) || report.conditions.iter().any(|reported| reported.kind == kind)
    });
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

/// Replaces conditions of the same type where they stand, appends new ones, keeps the others.
fn merge_conditions(status: &mut Map<String, Value>, new: Vec<Value>) {
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("made an array above");
    for condition in new {
        match list.iter_mut().find(|c| c["type"] == condition["type"]) {
            Some(old) => *old = with_kept_fields(old, condition),
            None => list.push(condition),
        }
    }
}

/// Keeps fields of the old condition that agents do not know (`observedGeneration`).
fn with_kept_fields(old: &Value, mut new: Value) -> Value {
    if let Some(generation) = old.get("observedGeneration") {
        new["observedGeneration"] = generation.clone();
    }
    new
}

fn container(c: &ContainerReport) -> Value {
    let state = match &c.state {
        ContainerState::Waiting { reason, message } => {
            let mut waiting = Map::new();
            put(&mut waiting, "reason", reason);
            put(&mut waiting, "message", message);
            json!({ "waiting": waiting })
        }
        ContainerState::Running { started_ms } => json!({"running": {"startedAt": time(*started_ms)}}),
        ContainerState::Terminated(t) => json!({ "terminated": terminated(t) }),
    };
    let mut status = json!({
        "name": c.name, "image": c.image, "imageID": c.image_id, "state": state,
        "lastState": c.last.as_ref().map_or_else(|| json!({}), |t| json!({"terminated": terminated(t)})),
        "restartCount": c.restarts, "ready": c.ready, "started": c.started,
    });
    put(object(&mut status), "containerID", &c.container_id);
    status
}

/// Nobody asks whether an ephemeral container has started.
fn ephemeral_container(c: &ContainerReport) -> Value {
    let mut status = container(c);
    object(&mut status).remove("started");
    status
}

fn terminated(t: &Terminated) -> Value {
    // A container that was never seen has no times. One that could not be started began at 0, as runtimes tell it.
    let times = [t.started_ms, t.finished_ms].map(|ms| if t.finished_ms == 0 { Value::Null } else { time(ms) });
    let mut state = json!({"exitCode": t.exit_code, "startedAt": times[0], "finishedAt": times[1]});
    put(object(&mut state), "reason", &t.reason);
    put(object(&mut state), "message", &t.message);
    put(object(&mut state), "containerID", &t.container_id);
    state
}

/// A new Node object for an agent's first report.
pub fn new_node(name: &str, agent_key: &str, report: &NodeReport) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {AGENT_KEY: agent_key}},
        "spec": {},
    });
    apply_labels(&mut node, name, report);
    node
}

/// Sets the labels that an agent and its hub own; returns whether any changed. Others' labels stay.
pub fn apply_labels(node: &mut Value, name: &str, report: &NodeReport) -> bool {
    let before = node["metadata"]["labels"].clone();
    let labels = object(&mut node["metadata"]["labels"]);
    let own = [
        ("beta.kubernetes.io/arch", report.info.architecture.as_str()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", report.info.architecture.as_str()),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let agents = report.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    for (key, value) in agents.chain(own) {
        labels.insert(key.to_owned(), value.into());
    }
    before != node["metadata"]["labels"]
}

/// The node with this report as its status, or `None` when nothing changes and the last heartbeat is recent.
pub fn apply_node(stored: &Value, report: &NodeReport, now: Timestamp) -> Option<Value> {
    let mut node = stored.clone();
    let status = object(object(&mut node).entry("status").or_insert(Value::Null));
    let resources = |cpu: u64, memory: u64| {
        // As the write path stores them: another spelling would count as a change each time.
        json!({
            "cpu": Quantity::of_milli(signed(cpu)).to_string(),
            "memory": binary(memory),
            "ephemeral-storage": binary(report.storage_bytes),
            "pods": report.pods.to_string(),
        })
    };
    let own = json!({
        "capacity": resources(report.cpu_milli, report.memory_bytes),
        "allocatable": resources(
            report.cpu_milli.saturating_sub(report.cpu_reserved_milli),
            report.memory_bytes.saturating_sub(report.memory_reserved_bytes),
        ),
        "addresses": [
            {"type": "InternalIP", "address": report.internal_ip},
            {"type": "Hostname", "address": report.hostname},
        ],
        "nodeInfo": node_info(report),
    });
    for (field, value) in own.as_object().into_iter().flatten() {
        status.insert(field.clone(), value.clone());
    }
    let conditions = report.conditions.iter().map(|c| {
        let mut condition = json!({
            "type": c.kind, "status": if c.status { "True" } else { "False" },
            "lastTransitionTime": time(c.since_ms), "lastHeartbeatTime": time(now.as_millisecond()),
        });
        // As they are stored: an empty text would count as a change each time.
        put(object(&mut condition), "reason", &c.reason);
        put(object(&mut condition), "message", &c.message);
        condition
    });
    merge_conditions(status, conditions.collect());
    let due = heartbeat(stored).is_none_or(|at| now.as_second() - at.as_second() >= HEARTBEAT_SECONDS);
    (due || without_heartbeats(&node) != without_heartbeats(stored)).then_some(node)
}

fn binary(bytes: u64) -> String {
    Quantity::of(signed(bytes), Format::BinarySi).to_string()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn node_info(report: &NodeReport) -> Value {
    let i = &report.info;
    json!({
        "machineID": i.machine_id, "systemUUID": i.system_uuid, "bootID": i.boot_id,
        "kernelVersion": i.kernel_version, "osImage": i.os_image, "containerRuntimeVersion": i.runtime_version,
        "kubeletVersion": i.agent_version, "kubeProxyVersion": "", "operatingSystem": "linux",
        "architecture": i.architecture,
    })
}

/// The `Ready` condition's last heartbeat.
fn heartbeat(node: &Value) -> Option<Timestamp> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "Ready")?["lastHeartbeatTime"].as_str()?.parse().ok()
}

fn without_heartbeats(node: &Value) -> Value {
    let mut status = node["status"].clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        object(condition).remove("lastHeartbeatTime");
    }
    status
}

#[cfg(test)]
mod tests;
