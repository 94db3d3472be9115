//! Which pods of a ReplicaSet go first when there are too many. Kubernetes' order, see
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-down-a-replicaset>.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use crate::reconcile::view::{Phase, Pod};

/// A pod that may be deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// The pod.
    pub(super) pod: &'a Pod,
    /// How many active pods of the same workload share its node: the more, the sooner it goes.
    pub(super) colocated: usize,
}

/// Orders pods: those to delete first come first.
pub(super) fn deletion_order(a: &Candidate<'_>, b: &Candidate<'_>, now: Timestamp) -> Ordering {
    let age = |at: Option<Timestamp>| at.map_or(0, |t| magnitude(now, t));
    rank(a)
        .cmp(&rank(b))
        // Among ready pods and among all of them, the younger by order of magnitude goes first.
        .then_with(|| age(a.pod.ready_since).cmp(&age(b.pod.ready_since)))
        .then_with(|| b.pod.restarts.cmp(&a.pod.restarts))
        .then_with(|| age(a.pod.created).cmp(&age(b.pod.created)))
}

fn rank(c: &Candidate<'_>) -> (bool, Phase, bool, i32, Reverse<usize>) {
    (!c.pod.node.is_empty(), c.pod.phase, c.pod.ready_since.is_some(), c.pod.deletion_cost, Reverse(c.colocated))
}

/// The age as a power of two: pods of about the same age count as equal, so that chance spreads what is deleted.
fn magnitude(now: Timestamp, then: Timestamp) -> u32 {
    let seconds = u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0);
    u64::BITS - seconds.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn running() -> Pod {
        Pod {
            node: "a".into(),
            phase: Phase::Running,
            ready_since: Some(time(0)),
            created: Some(time(0)),
            ..Pod::default()
        }
    }

    #[test]
    fn the_first_of_each_pair_is_deleted_first() {
        let base = running();
        let pairs = [
            (
                "unassigned before assigned",
                Pod { node: "".into(), phase: Phase::Pending, ..base.clone() },
                0,
                Pod { phase: Phase::Pending, ..base.clone() },
                0,
            ),
            ("pending before running", Pod { phase: Phase::Pending, ..base.clone() }, 0, base.clone(), 0),
            ("unknown before running", Pod { phase: Phase::Unknown, ..base.clone() }, 0, base.clone(), 0),
            ("not ready before ready", Pod { ready_since: None, ..base.clone() }, 0, base.clone(), 0),
            ("cheaper first", Pod { deletion_cost: -1, ..base.clone() }, 0, base.clone(), 5),
            ("crowded node first", base.clone(), 3, base.clone(), 1),
            ("ready for less long first", Pod { ready_since: Some(time(900)), ..base.clone() }, 0, base.clone(), 0),
            ("more restarts first", Pod { restarts: 4, ..base.clone() }, 0, Pod { restarts: 1, ..base.clone() }, 0),
            ("newer first", Pod { created: Some(time(900)), ..base.clone() }, 0, base.clone(), 0),
        ];
        for (rule, first, first_rank, second, second_rank) in pairs {
            let a = Candidate { pod: &first, colocated: first_rank };
            let b = Candidate { pod: &second, colocated: second_rank };
            assert_eq!(deletion_order(&a, &b, time(1000)), Ordering::Less, "{rule}");
            assert_eq!(deletion_order(&b, &a, time(1000)), Ordering::Greater, "{rule}, reversed");
        }
    }
}
