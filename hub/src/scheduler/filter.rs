//! Whether a pod may go to a node, and if not, why: Kubernetes' filters, in their order and words.

use skiff_shared::selector::Requirement;

use super::node::{Node, Slot, Taint};
use super::pod::{NodeSelectorTerm, Pending, Pod};
use crate::reconcile::view::Expression;

/// Why a pod cannot go to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reasons, in Kubernetes' words.
    pub reasons: Vec<String>,
    /// Whether removing other pods could help.
    pub preemption_may_help: bool,
}

impl Refusal {
    pub(super) fn for_good(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: false }
    }

    pub(super) fn for_now(reasons: Vec<String>) -> Self {
        Self { reasons, preemption_may_help: true }
    }
}

/// Judges a node by itself: everything but rules that look at other nodes.
///
/// # Errors
/// The first filter's reasons why not.
pub fn fits(pod: &Pod, wish: &Pending, slot: &Slot) -> Result<(), Refusal> {
    let node = &*slot.node;
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() };
    if node.unschedulable && !tolerates(wish, &cordon) {
        return Err(Refusal::for_good("node(s) were unschedulable"));
    }
    let hard = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    if let Some(taint) = node.taints.iter().filter(hard).find(|t| !tolerates(wish, t)) {
        return Err(Refusal::for_good(format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)));
    }
    if !wanted(wish, &slot.name, node) {
        return Err(Refusal::for_good("node(s) didn't match Pod's node affinity/selector"));
    }
    if pod.ports.iter().any(|p| slot.ports.iter().any(|taken| p.conflicts(taken))) {
        return Err(Refusal::for_now(vec!["node(s) didn't have free ports for the requested pod ports".into()]));
    }
    let lacking = lacking(pod, slot);
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(Refusal { preemption_may_help: could_ever_fit(pod, node), reasons: lacking })
    }
}

/// Whether a pod tolerates a taint.
pub fn tolerates(wish: &Pending, taint: &Taint) -> bool {
    wish.tolerations.iter().any(|t| t.tolerates(&taint.key, &taint.value, &taint.effect))
}

/// Whether a node's labels and name match a term.
pub fn term_matches(term: &NodeSelectorTerm, name: &str, node: &Node) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let holds = |e: &Expression, value: Option<&str>| e.requirement().is_some_and(|r: Requirement| r.matches(value));
    term.match_expressions.iter().all(|e| holds(e, node.labels.get(&e.key).map(String::as_str)))
        && term.match_fields.iter().all(|e| e.key == "metadata.name" && holds(e, Some(name)))
}

/// `nodeSelector` and required node affinity.
pub(super) fn wanted(wish: &Pending, name: &str, node: &Node) -> bool {
    let selected = wish.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = wish.node_affinity.required.as_ref();
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term_matches(t, name, node)))
}

fn lacking(pod: &Pod, slot: &Slot) -> Vec<String> {
    let allocatable = &slot.node.allocatable;
    let mut lacking = Vec::new();
    if slot.pods + 1 > allocatable.get("pods") {
        lacking.push("Too many pods".to_owned());
    }
    let short = pod
        .requests
        .iter()
        .filter(|(name, amount)| *amount > 0 && *amount > allocatable.get(name) - slot.used.get(name));
    lacking.extend(short.map(|(name, _)| format!("Insufficient {name}")));
    lacking
}

/// Whether the node could hold the pod if it were empty.
fn could_ever_fit(pod: &Pod, node: &Node) -> bool {
    pod.requests.iter().all(|(name, amount)| amount <= node.allocatable.get(name))
}
