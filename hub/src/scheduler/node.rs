//! A node as the scheduler sees it: what it offers, and what the pods on it have taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::pod::{HostPort, Pod, Requests};
use crate::reconcile::view::{Condition, nullable};

/// A node.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Node {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// `spec.taints`, and the taint of a node that is not ready where it has not been set yet.
    pub taints: Vec<Taint>,
    /// `status.allocatable`.
    pub allocatable: Requests,
}

/// A taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: String,
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(deserialize_with = "nullable")]
    metadata: RawMetadata,
    #[serde(deserialize_with = "nullable")]
    spec: RawSpec,
    #[serde(deserialize_with = "nullable")]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMetadata {
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    #[serde(deserialize_with = "nullable")]
    unschedulable: bool,
    #[serde(deserialize_with = "nullable")]
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    #[serde(deserialize_with = "nullable")]
    allocatable: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

impl From<Raw> for Node {
    fn from(raw: Raw) -> Self {
        let ready = raw.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
        let mut taints = raw.spec.taints;
        if !ready && !taints.iter().any(|t| t.key == NOT_READY || t.key == UNREACHABLE) {
            taints.push(Taint { key: NOT_READY.into(), value: String::new(), effect: "NoSchedule".into() });
        }
        Self {
            labels: raw.metadata.labels,
            unschedulable: raw.spec.unschedulable,
            taints,
            allocatable: Requests::parse(&raw.status.allocatable),
        }
    }
}

/// A node with what is on it.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub name: Arc<str>,
    /// The node.
    pub node: Arc<Node>,
    /// Sum of its pods' requests.
    pub used: Requests,
    /// Sum of its pods' requests as scores count them.
    pub score_used: Weight,
    /// Number of its pods.
    pub pods: i64,
    /// Ports that are taken.
    pub ports: Vec<HostPort>,
    /// Its pods by controlling owner.
    pub owners: HashMap<Box<str>, i64>,
}

/// CPU and memory as scores count them: a pod that asks for nothing still counts a little, so that such pods spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Thousandths.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Weight {
    /// A pod's weight; Kubernetes' defaults are 100 m and 200 MB.
    pub fn of(requests: &Requests) -> Self {
        let or = |amount: i64, default: i64| if amount == 0 { default } else { amount };
        Self { cpu: or(requests.get("cpu"), 100), memory: or(requests.get("memory"), 200 << 20) }
    }
}

impl Slot {
    /// An empty node.
    pub fn new(name: Arc<str>, node: Arc<Node>) -> Self {
        Self {
            name,
            node,
            used: Requests::default(),
            score_used: Weight::default(),
            pods: 0,
            ports: Vec::new(),
            owners: HashMap::new(),
        }
    }

    /// Puts a pod on it.
    pub fn take(&mut self, pod: &Pod, owner: Option<&str>) {
        let weight = Weight::of(&pod.requests);
        self.used.add(&pod.requests);
        self.score_used.cpu += weight.cpu;
        self.score_used.memory += weight.memory;
        self.pods += 1;
        self.ports.extend(pod.ports.iter().cloned());
        if let Some(owner) = owner {
            match self.owners.get_mut(owner) {
                Some(count) => *count += 1,
                None => {
                    self.owners.insert(owner.into(), 1);
                }
            }
        }
    }
}
