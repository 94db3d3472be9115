//! A Deployment and its ReplicaSets as one pass sees and changes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::arithmetic::{Fenceposts, IntOrPercent};
use super::template;
use crate::reconcile::view::{Condition, Metadata, Selector, nullable};
use crate::store::Object;

/// `deployment.kubernetes.io/revision`.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Revisions that a set had before it became current again.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's size when the set was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with surge.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A Deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deployment {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    #[serde(deserialize_with = "nullable")]
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    replicas: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(super) selector: Selector,
    #[serde(deserialize_with = "template_identity")]
    pub(super) template: Box<str>,
    #[serde(deserialize_with = "nullable")]
    strategy: Strategy,
    #[serde(deserialize_with = "nullable")]
    pub(super) min_ready_seconds: i64,
    pub(super) revision_history_limit: Option<usize>,
    #[serde(deserialize_with = "nullable")]
    pub(super) paused: bool,
    progress_deadline_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
    #[serde(deserialize_with = "nullable")]
    rolling_update: RollingUpdate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_surge: Option<IntOrPercent>,
    max_unavailable: Option<IntOrPercent>,
}

/// `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) observed_generation: i64,
    pub(super) replicas: i64,
    pub(super) updated_replicas: i64,
    pub(super) ready_replicas: i64,
    pub(super) available_replicas: i64,
    pub(super) unavailable_replicas: i64,
    pub(super) collision_count: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(super) conditions: Vec<Condition>,
}

fn template_identity<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    Value::deserialize(deserializer).map(|template| template::identity(&template))
}

impl Deployment {
    /// `spec.replicas`, 1 by default.
    pub(super) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Whether pods of the old template go before those of the new one come.
    pub(super) fn recreates(&self) -> bool {
        self.spec.strategy.kind == "Recreate"
    }

    /// The limits of a rolling update; none for Recreate.
    pub(super) fn fenceposts(&self) -> Fenceposts {
        if self.recreates() {
            return Fenceposts { surge: 0, unavailable: 0 };
        }
        let default = IntOrPercent::Percent("25%".to_owned());
        let update = &self.spec.strategy.rolling_update;
        let surge = update.max_surge.as_ref().unwrap_or(&default);
        Fenceposts::resolve(surge, update.max_unavailable.as_ref().unwrap_or(&default), self.replicas())
    }

    /// The progress deadline in seconds; the largest value means none.
    pub(super) fn progress_deadline(&self) -> Option<i64> {
        self.spec.progress_deadline_seconds.filter(|s| *s != i64::from(i32::MAX))
    }
}

/// A ReplicaSet as it is stored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoredSet {
    metadata: Metadata,
    spec: StoredSpec,
    #[serde(deserialize_with = "nullable")]
    status: StoredStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredSpec {
    replicas: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    min_ready_seconds: i64,
    #[serde(deserialize_with = "template_identity")]
    template: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredStatus {
    replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    observed_generation: i64,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

/// A ReplicaSet in one pass: what is stored, and what the pass makes of it.
#[derive(Debug)]
pub(super) struct Set {
    /// The stored object; `None` for one that this pass creates.
    pub(super) object: Option<Arc<Object>>,
    pub(super) stored: Arc<StoredSet>,
    pub(super) name: Box<str>,
    pub(super) replicas: i64,
    pub(super) min_ready_seconds: i64,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Set {
    pub(super) fn stored(object: &Arc<Object>, stored: Arc<StoredSet>) -> Self {
        Self {
            object: Some(Arc::clone(object)),
            name: (&*object.key.name).into(),
            replicas: stored.replicas(),
            min_ready_seconds: stored.spec.min_ready_seconds,
            annotations: stored.metadata.annotations.clone(),
            stored,
        }
    }

    /// A set that does not exist yet.
    pub(super) fn planned(name: &str, min_ready_seconds: i64) -> Self {
        Self {
            object: None,
            stored: Arc::default(),
            name: name.into(),
            replicas: 0,
            min_ready_seconds,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether it has, or is to have, pods.
    pub(super) fn is_active(&self) -> bool {
        self.replicas > 0
    }

    pub(super) fn number(&self, annotation: &str) -> Option<i64> {
        self.annotations.get(annotation)?.parse().ok()
    }

    pub(super) fn revision(&self) -> i64 {
        self.number(REVISION).unwrap_or(0)
    }

    /// Sets an annotation; whether that changed it.
    pub(super) fn annotate(&mut self, name: &str, value: String) -> bool {
        if self.annotations.get(name) == Some(&value) {
            return false;
        }
        self.annotations.insert(name.to_owned(), value);
        true
    }

    /// Whether old revisions' clean-up may remove it: no pods, and its controller has seen that.
    pub(super) fn is_spent(&self) -> bool {
        let status = &self.stored.status;
        self.object.as_ref().is_some_and(|o| !o.meta.deleting && o.meta.generation <= status.observed_generation)
            && status.replicas == 0
            && self.stored.replicas() == 0
            && self.replicas == 0
    }

    /// Creation order, oldest first; one that is being created is the newest.
    pub(super) fn age_order(&self) -> (Timestamp, &str) {
        let created = if self.object.is_some() { self.stored.metadata.creation_timestamp } else { None };
        (created.unwrap_or(Timestamp::MAX), &self.name)
    }
}

impl StoredSet {
    pub(super) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    pub(super) fn min_ready_seconds(&self) -> i64 {
        self.spec.min_ready_seconds
    }

    pub(super) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.metadata.annotations
    }

    pub(super) fn template(&self) -> &str {
        &self.spec.template
    }

    /// Pods there are, ready ones, available ones.
    pub(super) fn counts(&self) -> (i64, i64, i64) {
        (self.status.replicas, self.status.ready_replicas, self.status.available_replicas)
    }

    pub(super) fn failure(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == "ReplicaFailure" && c.status == "True")
    }
}
