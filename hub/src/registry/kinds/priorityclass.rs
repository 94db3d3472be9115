//! `scheduling.k8s.io/v1` PriorityClass.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{int, is_true, set_default, text, text_at};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const SYSTEM_PREFIX: &str = "system-";
const VALUE_MAX: i64 = 1_000_000_000;
/// The classes that every cluster has, with their values.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const PREEMPTION: [&str; 2] = ["Never", "PreemptLowerPriority"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        list_kind: "PriorityClassList",
        plural: "priorityclasses",
        singular: "priorityclass",
        short_names: &["pc"],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.scheduling.v1.PriorityClass",
        storage: "priorityclasses.scheduling.k8s.io".into(),
        hooks: Hooks {
            default: |class| set_default(class, "preemptionPolicy", "PreemptLowerPriority"),
            validate,
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    integer(
        "Value",
        "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
    ),
    Column {
        kind: "boolean",
        ..text_column(
            "Global-Default",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class.",
        )
    },
    AGE,
    text_column("PreemptionPolicy", "preemptionPolicy is the Policy for preempting pods with lower priority."),
];

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    let name = text_at(class, &["metadata", "name"]);
    let value = int(class, "value").unwrap_or(0);
    let value_path = Path::new("value");
    if name.starts_with(SYSTEM_PREFIX) {
        if !SYSTEM.contains(&(name, value)) {
            let detail = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            errors.forbidden(&Path::new("metadata").child("name"), detail);
        }
    } else if value > VALUE_MAX {
        errors.forbidden(&value_path, format!("maximum allowed value of a user defined priority is {VALUE_MAX}"));
    }
    let policy = text(class, "preemptionPolicy");
    let policy_path = Path::new("preemptionPolicy");
    if !PREEMPTION.contains(&policy) {
        errors.not_supported(&policy_path, policy, &PREEMPTION);
    }
    if let Some(old) = old {
        if int(old, "value").unwrap_or(0) != value {
            errors.forbidden(&value_path, "may not be changed in an update.");
        }
        errors.immutable(&policy_path, class.get("preemptionPolicy"), old.get("preemptionPolicy"));
    }
    errors.into_vec()
}

fn row(class: &Value, now: i64) -> Vec<Value> {
    vec![
        printers::name(class),
        int(class, "value").unwrap_or(0).into(),
        is_true(class, "globalDefault").into(),
        printers::age(class, now),
        text(class, "preemptionPolicy").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn validation_and_cells() {
        let object = created(&kind(), json!({"value": 5}));
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [json!(5), json!(false), json!("60s"), json!("PreemptLowerPriority")]
        );
        for (new, old, expected) in [
            (json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000_i64}), None, vec![]),
            (
                json!({"metadata": {"name": "system-x"}}),
                None,
                vec![
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
                ],
            ),
            (
                json!({"value": 1_000_000_001}),
                None,
                vec!["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
            ),
            (
                json!({"value": 2}),
                Some(json!({"value": 1})),
                vec!["value: Forbidden: may not be changed in an update."],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), old), expected, "{new}");
        }
    }
}
