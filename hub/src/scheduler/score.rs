//! Which of the nodes that fit is best: Kubernetes' scores from 0 to 100 each, with its weights.

use super::filter::{term_matches, tolerates};
use super::node::{Slot, Weight};
use super::pod::{Pending, Pod};

/// Weights of the scores, as in Kubernetes' default profile; spreading a workload's pods counts double there too.
const TAINTS: i64 = 3;
const AFFINITY: i64 = 2;
const SPREAD: i64 = 2;

/// Most a single score can give.
const FULL: i64 = 100;

/// The best of the nodes given by index; the emptier, then the first by name among equals.
pub fn best(pod: &Pod, wish: &Pending, owner: Option<&str>, slots: &[Slot], fitting: &[usize]) -> Option<usize> {
    let raw: Vec<Raw> = fitting.iter().map(|i| Raw::of(wish, owner, &slots[*i])).collect();
    let most = Raw {
        siblings: raw.iter().map(|r| r.siblings).max().unwrap_or(0),
        affinity: raw.iter().map(|r| r.affinity).max().unwrap_or(0),
        taints: raw.iter().map(|r| r.taints).max().unwrap_or(0),
    };
    let scored = fitting.iter().zip(&raw).map(|(i, own)| {
        let slot = &slots[*i];
        let total = room(pod, slot)
            + SPREAD * inverted(own.siblings, most.siblings)
            + AFFINITY * share(own.affinity, most.affinity)
            + TAINTS * inverted(own.taints, most.taints);
        (total, -slot.pods, *i)
    });
    scored.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.cmp(&a.2))).map(|(_, _, i)| i)
}

/// Scores that only mean something beside those of other nodes.
struct Raw {
    siblings: i64,
    affinity: i64,
    taints: i64,
}

impl Raw {
    fn of(wish: &Pending, owner: Option<&str>, slot: &Slot) -> Self {
        let preferred = wish.node_affinity.preferred.iter();
        let soft = slot.node.taints.iter().filter(|t| t.effect == "PreferNoSchedule" && !tolerates(wish, t));
        Self {
            siblings: owner.and_then(|o| slot.owners.get(o)).copied().unwrap_or(0),
            affinity: preferred.filter(|p| term_matches(&p.preference, &slot.name, &slot.node)).map(|p| p.weight).sum(),
            taints: i64::try_from(soft.count()).unwrap_or(i64::MAX),
        }
    }
}

/// How empty the node would be, and how evenly CPU and memory would be used.
fn room(pod: &Pod, slot: &Slot) -> i64 {
    let weight = Weight::of(&pod.requests);
    let free = |used: i64, capacity: i64| if capacity <= 0 { 0 } else { (capacity - used).max(0) * FULL / capacity };
    let allocatable = &slot.node.allocatable;
    let cpu = free(slot.score_used.cpu + weight.cpu, allocatable.get("cpu"));
    let memory = free(slot.score_used.memory + weight.memory, allocatable.get("memory"));
    let least_allocated = (cpu + memory) / 2;
    let balanced = FULL - (cpu - memory).abs() / 2;
    least_allocated + balanced
}

fn share(own: i64, most: i64) -> i64 {
    if most == 0 { 0 } else { own * FULL / most }
}

fn inverted(own: i64, most: i64) -> i64 {
    if most == 0 { FULL } else { FULL - share(own, most) }
}
