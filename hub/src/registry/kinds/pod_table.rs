//! How pods are printed: `kubectl get pods`, with all that STATUS can say.

use serde_json::Value;

use crate::registry::Column;
use crate::registry::excerpt::{Field, fields};
use crate::registry::json::{at, get, int, is_true, list, list_at, text, text_at};
use crate::registry::printers::{self, AGE, NAME, or_none, text as text_column, wide};

/// The columns.
pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text_column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    text_column("Status", "The aggregate status of the containers in this pod."),
    text_column(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    wide(text_column(
        "IP",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    )),
    wide(text_column(
        "Node",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName.",
    )),
    wide(text_column(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods.",
    )),
    wide(text_column(
        "Readiness Gates",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\"",
    )),
];

/// What the row looks at.
pub(super) const FIELDS: &[Field] = fields! {
    metadata { name creationTimestamp deletionTimestamp }
    spec {
        containers { name }
        initContainers { name restartPolicy }
        nodeName
        readinessGates
    }
    status {
        conditions { type status reason }
        containerStatuses { ready restartCount state lastState }
        initContainerStatuses { name ready restartCount started state lastState }
        nominatedNodeName
        phase
        podIP
        podIPs
        reason
    }
};

/// The reason of a pod whose node does not answer.
const NODE_LOST: &str = "NodeLost";

/// The cells.
pub(super) fn row(pod: &Value, now: i64) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(then) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, printers::human_duration(now.saturating_sub(then)))
        }
        Some(_) | None => summary.restarts.to_string(),
    };
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let status = pod.get("status").unwrap_or(&Value::Null);
    let ip = list(status, "podIPs").first().map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"));
    vec![
        printers::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        reason_of(pod, summary.reason).into(),
        restarts.into(),
        printers::age(pod, now),
        or_none(ip).into(),
        or_none(text(spec, "nodeName")).into(),
        or_none(text(status, "nominatedNodeName")).into(),
        readiness_gates(spec, status).into(),
    ]
}

/// How the pod ended.
pub(super) fn completed(pod: &Value) -> Option<(&'static str, &'static str)> {
    match text_at(pod, &["status", "phase"]) {
        "Succeeded" => Some(("Succeeded", "The pod has completed successfully.")),
        "Failed" => Some(("Failed", "The pod failed.")),
        _ => None,
    }
}

/// A pod that goes away says so, unless it has already ended.
fn reason_of(pod: &Value, reason: String) -> String {
    if at(pod, &["metadata", "deletionTimestamp"]).is_none() {
        reason
    } else if text_at(pod, &["status", "reason"]) == NODE_LOST {
        "Unknown".to_owned()
    } else if ["Succeeded", "Failed"].contains(&text_at(pod, &["status", "phase"])) {
        reason
    } else {
        "Terminating".to_owned()
    }
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = list(spec, "readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let fulfilled = gates.iter().filter(|g| condition(status, text(g, "conditionType")) == Some("True")).count();
    format!("{fulfilled}/{}", gates.len())
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    list(status, "conditions").iter().find(|c| text(c, "type") == kind).map(|c| text(c, "status"))
}

/// What the columns say about the containers together.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    /// When the last restarted container ended before, in Unix seconds.
    last_restart: Option<i64>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += int(container, "restartCount").unwrap_or(0);
        let ended = printers::seconds(text_at(container, &["lastState", "terminated", "finishedAt"]));
        self.last_restart = self.last_restart.max(ended);
    }
}

fn summarize(pod: &Value) -> Summary {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let sidecars: Vec<&str> = list_at(pod, &["spec", "initContainers"])
        .iter()
        .filter(|c| text(c, "restartPolicy") == "Always")
        .map(|c| text(c, "name"))
        .collect();
    let mut summary = Summary {
        ready: 0,
        total: list_at(pod, &["spec", "containers"]).len() + sidecars.len(),
        reason: overall_reason(status),
        restarts: 0,
        last_restart: None,
    };
    let initializing = init_containers(pod, &sidecars, &mut summary);
    if !initializing || condition(status, "Initialized") == Some("True") {
        // Restarts of init containers no longer matter once they are done, except of those that keep running.
        (summary.restarts, summary.last_restart) = (0, None);
        for container in list(status, "initContainerStatuses") {
            if sidecars.contains(&text(container, "name")) {
                summary.count_restarts(container);
            }
        }
        containers(status, &mut summary);
    }
    summary
}

fn overall_reason(status: &Value) -> String {
    let gated = list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated");
    match (gated, text(status, "reason")) {
        (true, _) => "SchedulingGated",
        (false, "") => text(status, "phase"),
        (false, reason) => reason,
    }
    .to_owned()
}

/// Goes through init containers up to the first that is not done; whether there is one.
fn init_containers(pod: &Value, sidecars: &[&str], summary: &mut Summary) -> bool {
    let total = list_at(pod, &["spec", "initContainers"]).len();
    for (i, container) in list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        summary.count_restarts(container);
        let terminated = at(container, &["state", "terminated"]);
        if terminated.is_some_and(|t| int(t, "exitCode").unwrap_or(0) == 0) {
            continue;
        }
        if sidecars.contains(&text(container, "name")) && is_true(container, "started") {
            summary.ready += usize::from(is_true(container, "ready"));
            continue;
        }
        let waiting = text_at(container, &["state", "waiting", "reason"]);
        summary.reason = match terminated {
            Some(terminated) => format!("Init:{}", end_reason(terminated)),
            None if !["", "PodInitializing"].contains(&waiting) => format!("Init:{waiting}"),
            None => format!("Init:{i}/{total}"),
        };
        return true;
    }
    false
}

/// Goes through the containers, last to first: the first one's trouble is shown.
fn containers(status: &Value, summary: &mut Summary) {
    let mut running = false;
    for container in list(status, "containerStatuses").iter().rev() {
        summary.count_restarts(container);
        let waiting = text_at(container, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(terminated) = at(container, &["state", "terminated"]) {
            summary.reason = end_reason(terminated);
        } else if is_true(container, "ready") && at(container, &["state", "running"]).is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = condition(status, "Ready") == Some("True");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn end_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", get(terminated, "exitCode").and_then(Value::as_i64).unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::pod;
    use crate::registry::kinds::testing::cells as cells_of;
    use serde_json::json;

    const NOW: i64 = 1_767_225_600;

    fn cells(spec: Value, status: Value) -> String {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2025-12-31T23:59:00Z"}, "spec": spec, "status": status});
        let cells = cells_of(&pod::kind(), &pod, NOW);
        assert_eq!(cells.len(), COLUMNS.len());
        cells.iter().map(|c| c.as_str().unwrap_or("?")).collect::<Vec<_>>()[1..4].join(" ")
    }

    fn state(state: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [{"name": "a", "state": state}]})
    }

    #[test]
    fn status_of_containers() {
        let one = json!({"containers": [{"name": "a"}]});
        for (status, expected) in [
            (json!({"phase": "Pending"}), "0/1 Pending 0"),
            (json!({"phase": "Failed", "reason": "Evicted"}), "0/1 Evicted 0"),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                "0/1 SchedulingGated 0",
            ),
            (state(json!({"waiting": {"reason": "ContainerCreating"}})), "0/1 ContainerCreating 0"),
            (state(json!({"terminated": {"reason": "Completed", "exitCode": 0}})), "0/1 Completed 0"),
            (state(json!({"terminated": {"exitCode": 3}})), "0/1 ExitCode:3 0"),
            (state(json!({"terminated": {"exitCode": 137, "signal": 9}})), "0/1 Signal:9 0"),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]}),
                "1/1 Running 0",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 2, "ready": true, "state": {"running": {}},
                "lastState": {"terminated": {"finishedAt": "2025-12-31T23:57:00Z"}}}]}),
                "1/1 Running 2 (3m ago)",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "0/1 CrashLoopBackOff 2",
            ),
        ] {
            assert_eq!(cells(one.clone(), status.clone()), expected, "{status}");
        }
    }

    #[test]
    fn one_of_two_has_completed() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let status = |ready: &str| {
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
                {"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
                {"name": "b", "ready": true, "state": {"running": {}}},
            ]})
        };
        assert_eq!(cells(two.clone(), status("True")), "1/2 Running 0");
        assert_eq!(cells(two, status("False")), "1/2 NotReady 0");
    }

    #[test]
    fn status_while_initializing() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
        for (second, expected) in [
            (json!({"running": {}}), "0/1 Init:1/2 0"),
            (json!({"waiting": {"reason": "PodInitializing"}}), "0/1 Init:1/2 0"),
            (json!({"waiting": {"reason": "CrashLoopBackOff"}}), "0/1 Init:CrashLoopBackOff 0"),
            (json!({"terminated": {"reason": "Error", "exitCode": 1}}), "0/1 Init:Error 0"),
            (json!({"terminated": {"exitCode": 7}}), "0/1 Init:ExitCode:7 0"),
            (json!({"terminated": {"exitCode": 0}}), "0/1 PodInitializing 0"),
        ] {
            let status = json!({
                "phase": "Pending",
                "initContainerStatuses": [done, {"name": "j", "state": second}],
                "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}],
            });
            assert_eq!(cells(spec.clone(), status), expected, "{second}");
        }
    }

    #[test]
    fn sidecars_count_as_containers() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
        let status = json!({
            "phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}],
        });
        assert_eq!(cells(spec, status), "2/2 Running 1");
    }

    #[test]
    fn deletion_and_wide_columns() {
        for (phase, reason, expected) in
            [("Running", "", "Terminating"), ("Running", "NodeLost", "Unknown"), ("Succeeded", "", "Succeeded")]
        {
            let pod = json!({
                "metadata": {"name": "p", "creationTimestamp": "2025-12-31T23:59:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "x"}]},
                "status": {"phase": phase, "reason": reason, "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "x", "status": "True"}]},
            });
            let cells = cells_of(&pod::kind(), &pod, NOW);
            assert_eq!(cells[2], expected);
            assert_eq!(cells[4..], [json!("60s"), json!("10.0.0.1"), json!("n"), json!("<none>"), json!("1/1")]);
        }
    }
}
