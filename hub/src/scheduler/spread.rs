//! `topologySpreadConstraints`: pods that match are to be spread evenly over domains of nodes.

use std::collections::BTreeMap;

use skiff_shared::selector::LabelSelector;

use super::filter::{Refusal, wanted};
use super::node::Slot;
use super::pod::{Pending, SpreadConstraint};
use crate::reconcile::view::selects;
use crate::store::Object;

/// A hard constraint with how many matching pods each domain has.
#[derive(Debug)]
pub struct Domains<'a> {
    constraint: &'a SpreadConstraint,
    counts: BTreeMap<&'a str, i64>,
    matches_itself: bool,
}

impl<'a> Domains<'a> {
    /// Counts the pods of the pod's namespace, given with the index of their node, for each hard constraint of a pod.
    /// Nodes that the pod does not select, or that lack the label, are no domains.
    pub fn count(pod: &Object, wish: &'a Pending, slots: &'a [Slot], placed: &[(&Object, usize)]) -> Vec<Self> {
        let hard = wish.spread.iter().filter(|c| c.when_unsatisfiable != "ScheduleAnyway");
        hard.map(|constraint| {
            let selector = selector(constraint);
            let domain = |slot: &'a Slot| slot.node.labels.get(&constraint.topology_key).map(String::as_str);
            let mut counts: BTreeMap<&str, i64> = slots
                .iter()
                .filter(|s| wanted(wish, &s.name, &s.node))
                .filter_map(|s| domain(s).map(|d| (d, 0)))
                .collect();
            for (other, node) in placed {
                let same_namespace = other.key.namespace == pod.key.namespace && !other.meta.deleting;
                if same_namespace
                    && selects(&selector, other)
                    && let Some(count) = domain(&slots[*node]).and_then(|d| counts.get_mut(d))
                {
                    *count += 1;
                }
            }
            Self { constraint, counts, matches_itself: selects(&selector, pod) }
        })
        .collect()
    }

    /// Judges a node.
    ///
    /// # Errors
    /// Why the node would break the constraint.
    pub fn allows(&self, slot: &Slot) -> Result<(), Refusal> {
        let Some(domain) = slot.node.labels.get(&self.constraint.topology_key) else {
            let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Err(Refusal::for_good(reason));
        };
        let fewest = self.counts.values().min().copied().unwrap_or(0);
        let here = self.counts.get(domain.as_str()).copied().unwrap_or(0) + i64::from(self.matches_itself);
        if here - fewest > self.constraint.max_skew {
            return Err(Refusal::for_now(vec!["node(s) didn't match pod topology spread constraints".into()]));
        }
        Ok(())
    }
}

fn selector(constraint: &SpreadConstraint) -> LabelSelector {
    // No selector, or one that cannot be read, matches nothing: an impossible requirement.
    let nothing = || LabelSelector::parse("!a,a").unwrap_or_default();
    constraint.label_selector.as_ref().and_then(|s| s.label_selector()).unwrap_or_else(nothing)
}
