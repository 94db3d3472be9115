//! Why no node takes a pod, in the words of Kubernetes' scheduler.

use std::collections::BTreeMap;

use super::filter::Refusal;

/// The message for a pod that so many nodes refused.
pub fn unschedulable(refusals: &[Refusal], never_preempts: bool) -> String {
    let nodes = refusals.len();
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let reasons = histogram(refusals.iter().flat_map(|r| r.reasons.iter().map(String::as_str)));
    let preemption = if never_preempts {
        "not eligible due to preemptionPolicy=Never.".to_owned()
    } else {
        format!("0/{nodes} nodes are available: {}.", histogram(refusals.iter().map(preemption)))
    };
    format!("0/{nodes} nodes are available: {reasons}. preemption: {preemption}")
}

fn preemption(refusal: &Refusal) -> &'static str {
    if refusal.preemption_may_help {
        "No preemption victims found for incoming pod"
    } else {
        "Preemption is not helpful for scheduling"
    }
}

/// `1 Insufficient cpu, 2 Too many pods`: each reason with its count, sorted as text.
fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_insert(0) += 1;
    }
    let mut texts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    texts.join(", ")
}
