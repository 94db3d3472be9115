//! `scheduling.k8s.io/v1` PriorityClass.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{ensure, int, is_true, set, set_missing, text, text_at};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const SYSTEM_PREFIX: &str = "system-";
const VALUE_MAX: i64 = 1_000_000_000;
/// The classes that every cluster has, with their values.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const PREEMPTION: [&str; 2] = ["PreemptLowerPriority", "Never"];

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
            default,
            prepare_create: |class| {
                // It is the first generation for ever.
                if let Some(meta) = ensure(class, "metadata") {
                    set(meta, "generation", 1);
                }
            },
            validate,
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

fn default(class: &mut Value) {
    set_missing(class, "value", 0);
    set_missing(class, "preemptionPolicy", "PreemptLowerPriority");
}

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    match old {
        None => new_class(class, &mut errors),
        Some(old) => {
            if value(old) != value(class) {
                errors.forbidden(&Path::new("value"), "may not be changed in an update.");
            }
            let field = "preemptionPolicy";
            errors.immutable(&Path::new(field), class.get(field), old.get(field));
        }
    }
    errors.into_vec()
}

fn value(class: &Value) -> i64 {
    int(class, "value").unwrap_or(0)
}

fn new_class(class: &Value, errors: &mut Errors) {
    let name = text_at(class, &["metadata", "name"]);
    if name.starts_with(SYSTEM_PREFIX) {
        if let Some(complaint) = not_of_the_system(class, name) {
            let detail = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {complaint}"
            );
            errors.forbidden(&Path::new("metadata").child("name"), detail);
        }
    } else if value(class) > VALUE_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
        errors.forbidden(&Path::new("value"), detail);
    }
    let path = Path::new("preemptionPolicy");
    match text(class, "preemptionPolicy") {
        "" => errors.required(&path, ""),
        policy if PREEMPTION.contains(&policy) => {}
        policy => errors.not_supported(&path, policy, &PREEMPTION),
    }
}

/// What tells a class from the class of the system that has its name.
fn not_of_the_system(class: &Value, name: &str) -> Option<String> {
    match SYSTEM.iter().find(|(system, _)| *system == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, expected)) if value(class) != *expected => {
            Some(format!("value of {name} PriorityClass must be {expected}"))
        }
        Some(_) if is_true(class, "globalDefault") => {
            Some(format!("globalDefault of {name} PriorityClass must be false"))
        }
        Some(_) => None,
    }
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
                json!({"metadata": {"name": "system-node-critical"}, "value": 1}),
                None,
                vec![
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
                ],
            ),
            (json!({"preemptionPolicy": ""}), None, vec!["preemptionPolicy: Required value"]),
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
