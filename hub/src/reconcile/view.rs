//! Lean typed views of stored objects: only what controllers decide on, so that thousands of pods can be held parsed.
//! `null` counts as missing everywhere, as in Kubernetes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use skiff_shared::selector::{LabelSelector, Operator, Requirement};

use super::events::seconds;
use crate::store::{Event, Key, Object, Snapshot};

/// Deserializes a field for which `null` means its default.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The times and annotations in `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `creationTimestamp`.
    pub creation_timestamp: Option<Timestamp>,
    /// `deletionTimestamp`.
    pub deletion_timestamp: Option<Timestamp>,
    /// `annotations`.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

/// What a pod's life cycle depends on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "RawPod")]
pub struct Pod {
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.nodeName`; empty until bound.
    pub node: Box<str>,
    /// `status.phase`.
    pub phase: Phase,
    /// Since when the `Ready` condition is `True`.
    pub ready_since: Option<Timestamp>,
    /// Restarts of all containers.
    pub restarts: u32,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
}

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Phase {
    /// Not all containers have started; also a pod without status.
    #[default]
    Pending,
    /// The node lost sight of it.
    Unknown,
    /// At least one container runs or restarts.
    Running,
    /// Ended well: will not run again.
    Succeeded,
    /// Ended badly: will not run again.
    Failed,
}

impl Phase {
    /// The pod has ended and will not run again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed => true,
            Self::Pending | Self::Unknown | Self::Running => false,
        }
    }
}

impl Pod {
    /// Neither ended nor being deleted: it counts as a replica.
    pub fn is_active(&self) -> bool {
        !self.phase.is_terminal() && !self.deleting
    }

    /// Ready for at least `min_ready_seconds`.
    pub fn is_available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        self.available_at(min_ready_seconds).is_some_and(|at| at <= now)
    }

    /// When a ready pod becomes available; `None` for one that is not ready.
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        self.ready_since.map(|since| later(since, min_ready_seconds))
    }
}

/// `seconds` later than `at`, at most the end of time.
pub fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// An object in its parts, of which a view takes what it needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound = "S: Default + Deserialize<'de>, T: Default + Deserialize<'de>")]
pub struct Parts<S, T> {
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: S,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: T,
}

type RawPod = Parts<RawPodSpec, RawPodStatus>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Option<Phase>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "nullable")]
    container_statuses: Vec<RawContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    #[serde(deserialize_with = "nullable")]
    restart_count: u32,
}

impl From<RawPod> for Pod {
    fn from(raw: RawPod) -> Self {
        let cost = raw.metadata.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        let ready = raw.status.conditions.iter().find(|c| c.kind == "Ready" && c.status == "True");
        Self {
            created: raw.metadata.creation_timestamp,
            deleting: raw.metadata.deletion_timestamp.is_some(),
            node: raw.spec.node_name,
            phase: raw.status.phase.unwrap_or_default(),
            ready_since: ready.map(|c| c.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH)),
            restarts: raw.status.container_statuses.iter().map(|c| c.restart_count).sum(),
            deletion_cost: cost.and_then(|c| c.parse().ok()).unwrap_or(0),
        }
    }
}

/// A condition of any kind of object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason.
    #[serde(deserialize_with = "nullable")]
    pub reason: String,
    /// Message.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
    /// `lastUpdateTime`, where the kind has it.
    pub last_update_time: Option<Timestamp>,
    /// `lastTransitionTime`.
    pub last_transition_time: Option<Timestamp>,
}

/// A condition to set.
#[derive(Debug, Clone, Copy)]
pub struct NewCondition<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// Reason.
    pub reason: &'a str,
    /// Message.
    pub message: &'a str,
}

/// The conditions of an object as they are stored, with one set. The transition time changes with the status only.
/// `None` when nothing but that time would change.
pub fn with_condition(conditions: &Value, new: NewCondition<'_>, now: Timestamp) -> Option<Vec<Value>> {
    let mut list = conditions.as_array().cloned().unwrap_or_default();
    let old = list.iter().position(|c| c["type"] == new.kind);
    let mut condition = old.map_or_else(|| json!({"type": new.kind}), |i| list[i].clone());
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let same_status = condition["status"] == new.status;
    if same_status && text(&condition["reason"]) == new.reason && text(&condition["message"]) == new.message {
        return None;
    }
    if !same_status {
        condition["lastTransitionTime"] = json!(seconds(now));
    }
    condition["status"] = json!(new.status);
    for (field, value) in [("reason", new.reason), ("message", new.message)] {
        if value.is_empty() {
            condition.as_object_mut().map(|c| c.remove(field));
        } else {
            condition[field] = json!(value);
        }
    }
    match old {
        Some(i) => list[i] = condition,
        None => list.push(condition),
    }
    Some(list)
}

/// `spec.selector` of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    #[serde(deserialize_with = "nullable")]
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    match_expressions: Vec<Expression>,
}

/// One expression of a selector (label, node or toleration terms share the form).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Expression {
    /// Label key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    pub operator: String,
    /// Values.
    #[serde(default, deserialize_with = "nullable")]
    pub values: Vec<String>,
}

impl Expression {
    /// As a requirement; `None` for an operator that is not known, which must match nothing.
    pub fn requirement(&self) -> Option<Requirement> {
        let operator = match self.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            _ => return None,
        };
        Some(Requirement { key: self.key.clone(), operator, values: self.values.clone() })
    }
}

impl Selector {
    /// As a label selector; `None` when an operator is not known.
    pub fn label_selector(&self) -> Option<LabelSelector> {
        let mut selector = LabelSelector::equal(self.match_labels.clone());
        for expression in &self.match_expressions {
            selector.requirements.push(expression.requirement()?);
        }
        Some(selector)
    }
}

/// A toleration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Taint key; empty with `Exists` for every taint.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// `Equal` (the default) or `Exists`.
    #[serde(deserialize_with = "nullable")]
    pub operator: String,
    /// Taint value for `Equal`.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// Taint effect; empty for all.
    #[serde(deserialize_with = "nullable")]
    pub effect: String,
    /// How long `NoExecute` is tolerated; for ever without.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it tolerates a taint.
    pub fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        let exists = self.operator == "Exists";
        (self.effect.is_empty() || self.effect == effect)
            && (self.key == key || (self.key.is_empty() && exists))
            && (exists || self.value == value)
    }
}

/// A label of an object.
pub fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    let labels = &object.meta.labels;
    labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|i| &*labels[i].1)
}

/// Whether a selector matches an object's labels.
pub fn selects(selector: &LabelSelector, object: &Object) -> bool {
    selector.matches(|key| label(object, key))
}

/// The key of what an event is about, if that is of this resource.
pub fn changed(event: &Event, resource: &str) -> Vec<Key> {
    let key = &event.object.key;
    if &*key.resource == resource { vec![key.clone()] } else { Vec::new() }
}

/// The keys of all objects of a resource.
pub fn all(snapshot: &Snapshot, resource: &str) -> Vec<Key> {
    snapshot.list(&resource.into(), None).map(|object| object.key.clone()).collect()
}

/// The key of an object by its parts.
pub fn key(resource: &str, namespace: &str, name: &str) -> Key {
    Key { resource: resource.into(), namespace: namespace.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_view_takes_what_matters_and_survives_nulls() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-3"}},
            "spec": {"nodeName": "edge-1"},
            "status": {"phase": "Running", "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        }))
        .unwrap();
        assert_eq!((&*pod.node, pod.restarts, pod.deletion_cost), ("edge-1", 3, -3));
        let ready: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        assert!(pod.is_available(0, ready) && !pod.is_available(5, ready) && pod.is_available(5, later(ready, 5)));
        let bare: Pod =
            serde_json::from_value(json!({"metadata": {"annotations": null}, "spec": null, "status": null})).unwrap();
        assert!(bare.is_active() && bare.phase == Phase::Pending);
    }

    #[test]
    fn a_condition_changes_its_transition_time_with_its_status_only() {
        let (then, now) = (Timestamp::from_second(0).unwrap(), Timestamp::from_second(60).unwrap());
        let first = with_condition(
            &Value::Null,
            NewCondition { kind: "Ready", status: "False", reason: "A", message: "m" },
            then,
        )
        .unwrap();
        let same = NewCondition { kind: "Ready", status: "False", reason: "A", message: "m" };
        assert_eq!(with_condition(&json!(first), same, now), None);
        let second = with_condition(&json!(first), NewCondition { message: "", ..same }, now).unwrap();
        assert_eq!(
            second,
            vec![
                json!({"type": "Ready", "status": "False", "reason": "A", "lastTransitionTime": "1970-01-01T00:00:00Z"})
            ]
        );
        let third = with_condition(&json!(second), NewCondition { status: "True", ..same }, now).unwrap();
        assert_eq!(third[0]["lastTransitionTime"], "1970-01-01T00:01:00Z");
    }

    #[test]
    fn tolerations_match_as_kubernetes_says() {
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: None,
        };
        for (t, expected) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Exists", "", ""), true),
            (toleration("k", "", "v", ""), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("other", "Exists", "", ""), false),
        ] {
            assert_eq!(t.tolerates("k", "v", "NoSchedule"), expected, "{t:?}");
        }
    }
}
