//! A pod as the scheduler sees it: what it asks for and where it may go.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use skiff_shared::quantity::Quantity;

use crate::reconcile::view::{Condition, Expression, Parts, Phase, Selector, Toleration, nullable};

/// A pod. One that is bound keeps only what it takes from its node.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Raw")]
pub struct Pod {
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.nodeName`; empty until bound.
    pub node: Box<str>,
    /// Neither ended nor removed: it takes room.
    pub takes_room: bool,
    /// `spec.priority`.
    pub priority: i32,
    /// What it asks for.
    pub requests: Requests,
    /// The ports it wants of its node.
    pub ports: Vec<HostPort>,
    /// What matters until it is bound.
    pub pending: Option<Box<Pending>>,
}

impl Pod {
    /// It is to be placed, and by this scheduler.
    pub fn waits_for_us(&self) -> bool {
        self.pending.as_ref().is_some_and(|wish| wish.ours)
    }

    /// It waits as before, for the same, whatever it was told meanwhile.
    pub fn waits_as(&self, before: &Self) -> bool {
        let same = |a: &Pending, b: &Pending| {
            (a.gated, a.ours, a.never_preempts) == (b.gated, b.ours, b.never_preempts)
                && (&a.node_selector, &a.node_affinity, &a.tolerations, &a.spread)
                    == (&b.node_selector, &b.node_affinity, &b.tolerations, &b.spread)
        };
        let wishes = self.pending.as_ref().zip(before.pending.as_ref());
        wishes.is_some_and(|(now, then)| same(now, then))
            && (self.priority, &self.requests, &self.ports) == (before.priority, &before.requests, &before.ports)
    }
}

/// What matters of a pod that is to be scheduled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// `spec.schedulingGates` is not empty.
    pub gated: bool,
    /// `spec.schedulerName` is this scheduler's (or not set).
    pub ours: bool,
    /// `spec.preemptionPolicy` is `Never`.
    pub never_preempts: bool,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.affinity.nodeAffinity`.
    pub node_affinity: NodeAffinity,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.topologySpreadConstraints`.
    pub spread: Vec<SpreadConstraint>,
    /// The `PodScheduled` condition.
    pub scheduled: Option<Condition>,
}

/// Amounts by resource, sorted by name; CPU in thousandths, everything else in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(Vec<(Box<str>, i64)>);

impl Requests {
    /// From a map of quantities; malformed ones (which validation refuses) count as none.
    pub fn parse(quantities: &BTreeMap<String, String>) -> Self {
        let amount = |name: &str, text: &str| {
            Quantity::parse(text).ok().map(|q| if name == "cpu" { q.milli() } else { q.value() })
        };
        Self(quantities.iter().filter_map(|(name, text)| Some((name.as_str().into(), amount(name, text)?))).collect())
    }

    /// The amount of a resource; 0 where there is none.
    pub fn get(&self, name: &str) -> i64 {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).map_or(0, |i| self.0[i].1)
    }

    /// All amounts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    /// Adds the amounts of another.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Raises each amount to that of another, where that is more.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        for (name, amount) in &other.0 {
            match self.0.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(i) => self.0[i].1 = with(self.0[i].1, *amount),
                Err(i) => self.0.insert(i, (name.clone(), *amount)),
            }
        }
    }
}

/// A port of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Address; empty for all.
    pub ip: Box<str>,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: Box<str>,
    /// Number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once.
    pub fn conflicts(&self, other: &Self) -> bool {
        let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// `nodeAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    /// `requiredDuringSchedulingIgnoredDuringExecution`: one of the terms must match.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// `preferredDuringSchedulingIgnoredDuringExecution`.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    pub preferred: Vec<PreferredTerm>,
}

/// Terms of which one must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The terms.
    #[serde(deserialize_with = "nullable")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// A term with a weight.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// Expressions that must all match; none at all match nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// On labels.
    #[serde(deserialize_with = "nullable")]
    pub match_expressions: Vec<Expression>,
    /// On fields (`metadata.name`).
    #[serde(deserialize_with = "nullable")]
    pub match_fields: Vec<Expression>,
}

/// A `topologySpreadConstraint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraint {
    /// Most pods a domain may have beyond the emptiest.
    pub max_skew: i64,
    /// Label of nodes whose value is the domain.
    #[serde(deserialize_with = "nullable")]
    pub topology_key: String,
    /// `DoNotSchedule` (the default) or `ScheduleAnyway`.
    #[serde(deserialize_with = "nullable")]
    pub when_unsatisfiable: String,
    /// Which pods count.
    pub label_selector: Option<Selector>,
}

type Raw = Parts<RawSpec, RawStatus>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    scheduler_name: String,
    #[serde(deserialize_with = "nullable")]
    priority: i32,
    #[serde(deserialize_with = "nullable")]
    preemption_policy: String,
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<RawContainer>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<RawContainer>,
    #[serde(deserialize_with = "nullable")]
    overhead: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    affinity: RawAffinity,
    #[serde(deserialize_with = "nullable")]
    tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "nullable")]
    topology_spread_constraints: Vec<SpreadConstraint>,
    #[serde(deserialize_with = "nullable")]
    scheduling_gates: Vec<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawAffinity {
    #[serde(deserialize_with = "nullable")]
    node_affinity: NodeAffinity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    resources: RawResources,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<RawPort>,
    #[serde(deserialize_with = "nullable")]
    restart_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResources {
    #[serde(deserialize_with = "nullable")]
    requests: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    #[serde(deserialize_with = "nullable")]
    container_port: i32,
    #[serde(deserialize_with = "nullable")]
    host_port: i32,
    #[serde(rename = "hostIP", deserialize_with = "nullable")]
    host_ip: Box<str>,
    protocol: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: Option<Phase>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "nullable")]
    container_statuses: Vec<RawContainerStatus>,
    #[serde(deserialize_with = "nullable")]
    init_container_statuses: Vec<RawContainerStatus>,
}

/// What a node has set aside for a container and what that runs with, which a resize may not have changed yet.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    allocated_resources: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    resources: RawResources,
}

impl From<Raw> for Pod {
    fn from(raw: Raw) -> Self {
        let phase = raw.status.phase.unwrap_or_default();
        let waits = raw.spec.node_name.is_empty() && !phase.is_terminal() && raw.metadata.deletion_timestamp.is_none();
        Self {
            created: raw.metadata.creation_timestamp,
            takes_room: !phase.is_terminal(),
            priority: raw.spec.priority,
            requests: requests(&raw.spec, &raw.status),
            ports: ports(&raw.spec),
            node: raw.spec.node_name.clone(),
            pending: waits.then(|| Box::new(pending(raw))),
        }
    }
}

fn pending(raw: Raw) -> Pending {
    Pending {
        gated: !raw.spec.scheduling_gates.is_empty(),
        ours: matches!(raw.spec.scheduler_name.as_str(), "" | "default-scheduler"),
        never_preempts: raw.spec.preemption_policy == "Never",
        node_selector: raw.spec.node_selector,
        node_affinity: raw.spec.affinity.node_affinity,
        tolerations: raw.spec.tolerations,
        spread: raw.spec.topology_spread_constraints,
        scheduled: raw.status.conditions.into_iter().find(|c| c.kind == "PodScheduled"),
    }
}

/// What a pod needs at its neediest moment: all containers and sidecars together, or an init container beside the
/// sidecars started before it.
fn requests(spec: &RawSpec, status: &RawStatus) -> Requests {
    let infeasible = status.conditions.iter().any(|c| c.kind == "PodResizePending" && c.reason == "Infeasible");
    let (mut sidecars, mut peak) = (Requests::default(), Requests::default());
    for init in &spec.init_containers {
        if init.restart_policy == "Always" {
            sidecars.add(&resized(init, &status.init_container_statuses, infeasible));
        } else {
            let mut moment = sidecars.clone();
            moment.add(&Requests::parse(&init.resources.requests));
            peak.raise(&moment);
        }
    }
    let mut total = sidecars;
    for container in &spec.containers {
        total.add(&resized(container, &status.container_statuses, infeasible));
    }
    total.raise(&peak);
    total.add(&Requests::parse(&spec.overhead));
    total
}

/// What a container asks for, or has where that is more; what it has where the node will never have room for more.
fn resized(container: &RawContainer, statuses: &[RawContainerStatus], infeasible: bool) -> Requests {
    let asked = Requests::parse(&container.resources.requests);
    let Some(status) = statuses.iter().find(|s| s.name == container.name) else { return asked };
    let mut has = Requests::parse(&status.allocated_resources);
    has.raise(&Requests::parse(&status.resources.requests));
    if !infeasible || has == Requests::default() {
        has.raise(&asked);
    }
    has
}

fn ports(spec: &RawSpec) -> Vec<HostPort> {
    let host_port = |p: &RawPort| if spec.host_network && p.host_port == 0 { p.container_port } else { p.host_port };
    let ports = spec.containers.iter().flat_map(|c| &c.ports);
    ports
        .filter(|p| host_port(p) > 0)
        .map(|p| HostPort {
            ip: p.host_ip.clone(),
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: host_port(p),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str) -> serde_json::Value {
        json!({"resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}})
    }

    #[test]
    fn requests_are_those_of_the_neediest_moment() {
        let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        let spec = json!({
            "initContainers": [container("300m"), sidecar, container("2")],
            "containers": [container("500m"), container("250m")],
            "overhead": {"cpu": "10m"},
        });
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        assert_eq!(pod.requests.get("cpu"), 2110, "the init container beside the sidecar, and the overhead");
        assert_eq!(pod.requests.get("memory"), 128 << 20, "both containers");
    }

    #[test]
    fn a_resize_counts_with_the_larger_of_what_is_asked_and_what_is_had() {
        for (asked, has, reason, expected) in [
            ("1", json!({}), "", 1000),
            ("1", json!({"allocatedResources": {"cpu": "2"}}), "", 2000),
            ("1", json!({"allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "3"}}}), "", 3000),
            ("4", json!({"allocatedResources": {"cpu": "1"}}), "Deferred", 4000),
            ("4", json!({"allocatedResources": {"cpu": "1"}}), "Infeasible", 1000),
        ] {
            let mut status = has.clone();
            status["name"] = json!("c");
            let pod = json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": asked}}}]},
                "status": {
                    "containerStatuses": [status],
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                },
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(pod.requests.get("cpu"), expected, "{asked} {has} {reason}");
        }
    }

    #[test]
    fn host_ports_conflict_by_address_protocol_and_number() {
        let port = |ip: &str, protocol: &str, port| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        for (a, b, expected) in [
            (port("", "TCP", 80), port("10.0.0.1", "TCP", 80), true),
            (port("10.0.0.2", "TCP", 80), port("10.0.0.1", "TCP", 80), false),
            (port("", "TCP", 80), port("", "UDP", 80), false),
            (port("", "TCP", 80), port("", "TCP", 81), false),
            (port("0.0.0.0", "TCP", 80), port("", "TCP", 80), true),
        ] {
            assert_eq!(a.conflicts(&b), expected, "{a:?} {b:?}");
        }
    }
}
