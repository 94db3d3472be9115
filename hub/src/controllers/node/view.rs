//! A node as its controllers see it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::reconcile::events::seconds;
use crate::reconcile::view::{Condition, nullable};

/// A node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "nullable")]
    pub(super) spec: Spec,
    #[serde(deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "nullable")]
    pub(super) unschedulable: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) taints: Vec<Taint>,
    #[serde(rename = "podCIDR", deserialize_with = "nullable")]
    pub(super) pod_cidr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

/// A taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Taint {
    pub(super) key: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) value: String,
    pub(super) effect: String,
    pub(super) time_added: Option<Timestamp>,
}

impl Taint {
    /// As it is stored.
    pub(super) fn to_value(&self) -> Value {
        let mut value = json!({"key": self.key, "effect": self.effect});
        if !self.value.is_empty() {
            value["value"] = json!(self.value);
        }
        if let Some(at) = self.time_added {
            value["timeAdded"] = json!(seconds(at));
        }
        value
    }
}

impl Node {
    /// The status of a condition: `True`, `False`, `Unknown`, or empty where there is none.
    pub(super) fn condition(&self, kind: &str) -> &str {
        self.status.conditions.iter().find(|c| c.kind == kind).map_or("", |c| &c.status)
    }

    /// Taints that evict pods.
    pub(super) fn evicting(&self) -> impl Iterator<Item = &Taint> {
        self.spec.taints.iter().filter(|t| t.effect == "NoExecute")
    }
}
