//! Takes back the `DisruptionTarget` condition of pods that were to be deleted and were not (a part of Kubernetes'
//! disruption controller).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::view::later;
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Snapshot};

/// How long a pod may take until it is marked as deleted (Kubernetes' `stalePodDisruptionTimeout`).
const TIMEOUT_SECONDS: i64 = 2 * 60;
const TARGET: &str = "DisruptionTarget";

/// The controller.
#[derive(Debug)]
pub struct StaleDisruption;

/// Whether a pod may have the condition: most do not as much as name it.
fn named(pod: &Object) -> bool {
    pod.json.windows(TARGET.len()).any(|part| part == TARGET.as_bytes())
}

impl Controller for StaleDisruption {
    fn name(&self) -> &'static str {
        "stale-disruption"
    }

    fn keys(&self, event: &Event, _: &Snapshot) -> Vec<Key> {
        let pod = Some(&event.object).filter(|pod| &*pod.key.resource == "pods" && named(pod));
        pod.map(|pod| pod.key.clone()).into_iter().collect()
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        snapshot.list(&"pods".into(), None).filter(|pod| named(pod)).map(|pod| pod.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let stored = snapshot.get(key).filter(|pod| named(pod) && !pod.meta.deleting);
        let Some((stored, pod)) = stored.and_then(|stored| Some((stored, stored.parse::<Value>().ok()?))) else {
            return plan;
        };
        let Some(since) = stale_since(&pod) else { return plan };
        let due = later(since, TIMEOUT_SECONDS);
        if due > now {
            plan.requeue(due);
            return plan;
        }
        let patch = reset(&pod, stored, now);
        plan.writes.push(PlannedWrite::Patch { key: key.clone(), subresource: "status", patch });
        plan.why = format!("pod {} was to be disrupted and was not", key.name);
        plan
    }
}

/// Since when a pod that goes on has been about to be disrupted. What a kubelet says of one takes its time.
fn stale_since(pod: &Value) -> Option<Timestamp> {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let conditions = pod["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == TARGET && c["status"] == "True")?;
    if condition["reason"] == "TerminationByKubelet" {
        return None;
    }
    condition["lastTransitionTime"].as_str()?.parse().ok()
}

/// The patch that takes the condition back, of the pod as it was seen.
fn reset(pod: &Value, stored: &Arc<Object>, now: Timestamp) -> Value {
    let mut conditions = pod["status"]["conditions"].clone();
    for condition in conditions.as_array_mut().into_iter().flatten().filter(|c| c["type"] == TARGET) {
        let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        *condition = json!({"type": TARGET, "status": "False", "lastProbeTime": null, "lastTransitionTime": at});
    }
    json!({"metadata": {"resourceVersion": stored.revision.to_string()}, "status": {"conditions": conditions}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_that_go_on_are_stale() {
        let at = "2026-01-01T00:00:00Z";
        let pod = |phase: &str, status: &str, reason: &str| {
            let condition = json!({"type": TARGET, "status": status, "reason": reason, "lastTransitionTime": at});
            json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}, condition]}})
        };
        for (pod, stale) in [
            (pod("Running", "True", "EvictionByEvictionAPI"), true),
            (pod("Running", "False", ""), false),
            (pod("Running", "True", "TerminationByKubelet"), false),
            (pod("Failed", "True", "EvictionByEvictionAPI"), false),
            (json!({"status": {"phase": "Running"}}), false),
        ] {
            assert_eq!(stale_since(&pod).is_some(), stale, "{pod}");
        }
    }

    #[test]
    fn the_condition_is_taken_back_once() {
        let mut world = crate::controllers::testing::World::new();
        let at = crate::reconcile::events::seconds(world.now);
        let key = world.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": TARGET, "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": at},
            ]},
        }));
        assert_eq!(world.plan(&StaleDisruption, &key).requeue_at, Some(later(world.now, TIMEOUT_SECONDS)));
        world.wait(TIMEOUT_SECONDS);
        world.step(&StaleDisruption, &key);
        let conditions = world.get(&key).unwrap()["status"]["conditions"].clone();
        assert_eq!((&conditions[0]["type"], &conditions[1]["status"]), (&json!("Ready"), &json!("False")));
        assert_eq!(conditions[1].get("reason"), None);
        let plan = world.plan(&StaleDisruption, &key);
        assert!(plan.writes.is_empty() && plan.requeue_at.is_none());
    }
}
