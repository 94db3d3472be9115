//! The taints that follow from a node's conditions.

use jiff::Timestamp;

use super::view::{Node, Taint};

/// Key of the taint of a node whose agent is silent.
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Key of the taint of a node that says it is not ready.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The taints a node should have: those others set, and those that its conditions ask for. `None` when it has them.
pub(super) fn wanted(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let asked = asked(node);
    let ours = |t: &Taint| {
        [UNREACHABLE, NOT_READY, UNSCHEDULABLE].contains(&t.key.as_str())
            || PRESSURES.iter().any(|(_, key)| *key == t.key)
    };
    let is = |t: &Taint, key: &str, effect: &str| t.key == key && t.effect == effect;
    let mut taints: Vec<Taint> = node.spec.taints.clone();
    taints.retain(|t| !ours(t) || asked.iter().any(|(key, effect)| is(t, key, effect)));
    for (key, effect) in asked {
        if !taints.iter().any(|t| is(t, key, effect)) {
            taints.push(Taint { key: key.into(), value: String::new(), effect: effect.into(), time_added: Some(now) });
        }
    }
    (taints != node.spec.taints).then_some(taints)
}

fn asked(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut asked = match node.condition("Ready") {
        "True" => Vec::new(),
        "False" => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        // A node that never reported is new: nothing runs on it that would have to go.
        "" => vec![(NOT_READY, "NoSchedule")],
        _ => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
    };
    if node.spec.unschedulable {
        asked.push((UNSCHEDULABLE, "NoSchedule"));
    }
    asked.extend(
        PRESSURES.iter().filter(|(kind, _)| node.condition(kind) == "True").map(|(_, key)| (*key, "NoSchedule")),
    );
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_follow_conditions_and_leave_those_of_others_alone() {
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let theirs = taint("dedicated", "NoSchedule");
        for (ready, unschedulable, has, expected) in [
            ("True", false, vec![theirs.clone()], None),
            ("True", false, vec![theirs.clone(), taint(UNREACHABLE, "NoExecute")], Some("dedicated:NoSchedule")),
            ("True", true, vec![], Some("node.kubernetes.io/unschedulable:NoSchedule")),
            (
                "False",
                false,
                vec![theirs.clone()],
                Some(
                    "dedicated:NoSchedule node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute",
                ),
            ),
            (
                "Unknown",
                false,
                vec![taint(NOT_READY, "NoSchedule")],
                Some("node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute"),
            ),
            ("Unknown", false, vec![taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE, "NoExecute")], None),
        ] {
            let node: Node = serde_json::from_value(json!({
                "spec": {"unschedulable": unschedulable, "taints": has},
                "status": {"conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]},
            }))
            .unwrap();
            let wanted = wanted(&node, Timestamp::UNIX_EPOCH);
            let texts =
                wanted.map(|w| w.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect::<Vec<_>>().join(" "));
            assert_eq!(texts.as_deref(), expected, "{ready} {unschedulable}");
        }
    }
}
