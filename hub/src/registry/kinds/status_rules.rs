//! What writes of the status of workloads must fulfil.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::json::int_at;
use crate::registry::{FieldError, names, objectmeta};

/// The rules for the status of one kind.
pub(super) struct StatusRules {
    /// Fields that must not be negative, in the order in which Kubernetes looks at them.
    pub counts: &'static [&'static str],
    /// Fields that must not be greater than others: both, and how the error calls the latter.
    pub within: &'static [(&'static str, &'static str, &'static str)],
}

impl StatusRules {
    /// Validates a write of the status: (new, old).
    pub(super) fn validate(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        // The name, the only thing for which scope and rule matter, is not judged in updates.
        objectmeta::validate(new, Some(old), true, names::path_segment, &mut errors);
        self.numbers(new, old, &mut errors);
        errors.into_vec()
    }

    fn numbers(&self, new: &Value, old: &Value, errors: &mut Errors) {
        let path = Path::new("status");
        let number = |object: &Value, field: &str| int_at(object, &["status", field]);
        for field in self.counts {
            errors.non_negative(&path.child(field), number(new, field));
        }
        for (smaller, larger, called) in self.within {
            let count = number(new, smaller).unwrap_or(0);
            if count > number(new, larger).unwrap_or(0) {
                errors.invalid(&path.child(smaller), count.to_string(), format!("cannot be greater than {called}"));
            }
        }
        let collisions = |object: &Value| number(object, "collisionCount");
        let decremented = collisions(old).is_some_and(|old| collisions(new).is_none_or(|new| new < old));
        if self.counts.contains(&"collisionCount") && decremented {
            let count = collisions(new).unwrap_or(0);
            errors.invalid(&path.child("collisionCount"), count.to_string(), "cannot be decremented");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    fn complaints(kind: &str, new: &Value, old: &Value) -> Vec<String> {
        let registry = Registry::builtin();
        let kind = registry.kinds().iter().find(|k| k.kind == kind).unwrap();
        let object = |status: &Value| json!({"metadata": {"name": "a", "namespace": "n"}, "status": status});
        let validate = kind.hooks.validate_status.unwrap();
        validate(&object(new), &object(old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn counts_fit_together() {
        for (kind, new, old, expected) in [
            ("Deployment", json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}), json!({}), vec![]),
            (
                "Deployment",
                json!({"replicas": -1, "collisionCount": 1}),
                json!({"collisionCount": 2}),
                vec![
                    "status.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "status.updatedReplicas: Invalid value: 0: cannot be greater than status.replicas",
                    "status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas",
                    "status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas",
                    "status.collisionCount: Invalid value: 1: cannot be decremented",
                ],
            ),
            (
                "ReplicaSet",
                json!({"replicas": 1, "availableReplicas": 1}),
                json!({}),
                vec!["status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"],
            ),
            (
                "StatefulSet",
                json!({"replicas": 1, "currentReplicas": 2, "availableReplicas": 1}),
                json!({}),
                vec![
                    "status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas",
                    "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas",
                ],
            ),
            (
                "DaemonSet",
                json!({"numberReady": -1}),
                json!({"collisionCount": 1}),
                vec![
                    "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
                    "status.collisionCount: Invalid value: 0: cannot be decremented",
                ],
            ),
        ] {
            assert_eq!(complaints(kind, &new, &old), expected, "{kind} {new}");
        }
    }
}
