//! `policy/v1` PodDisruptionBudget.

use serde_json::{Value, json};

use super::workload::{count_or_percent, not_over_all};
use crate::registry::conditions::conditions;
use crate::registry::fields::{Errors, Path};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::hooks::{PLAIN, keep_status, some_spec};
use crate::registry::json::{at, get, int_at, list_at, set};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const EVICTION_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        list_kind: "PodDisruptionBudgetList",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        categories: &[],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.policy.v1.PodDisruptionBudget",
        storage: "poddisruptionbudgets.policy".into(),
        hooks: Hooks {
            default: some_spec,
            prepare_create: |object| {
                let counts =
                    json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
                set(object, "status", counts);
            },
            prepare_update: keep_status,
            validate,
            validate_status: Some(validate_status),
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Min Available", "The minimum number of pods that must be available."),
    text_column("Max Unavailable", "The maximum number of pods that may be unavailable."),
    integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

fn validate(budget: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(budget, old, true, names::path_segment, &mut errors);
    let path = Path::new("spec");
    let spec = budget.get("spec").unwrap_or(&Value::Null);
    let bounds = ["minAvailable", "maxUnavailable"].map(|field| (field, get(spec, field)));
    if bounds.iter().all(|(_, bound)| bound.is_some()) {
        errors.invalid(&path, shown_spec(spec), "minAvailable and maxUnavailable cannot be both set");
    }
    for (field, bound) in bounds {
        if let Some(bound) = bound {
            count_or_percent(bound, &path.child(field), &mut errors);
            not_over_all(bound, &path.child(field), &mut errors);
        }
    }
    if let Some(selector) = get(spec, "selector") {
        objectmeta::label_selector(selector, &path.child("selector"), &mut errors);
    }
    let policy = get(spec, "unhealthyPodEvictionPolicy").and_then(Value::as_str);
    if let Some(policy) = policy.filter(|policy| !EVICTION_POLICIES.contains(policy)) {
        errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &EVICTION_POLICIES);
    }
    errors.into_vec()
}

fn shown_spec(spec: &Value) -> String {
    let fields = [
        ("MinAvailable", "intstr.IntOrString", "minAvailable"),
        ("Selector", "v1.LabelSelector", "selector"),
        ("MaxUnavailable", "intstr.IntOrString", "maxUnavailable"),
        ("UnhealthyPodEvictionPolicy", "policy.UnhealthyPodEvictionPolicyType", "unhealthyPodEvictionPolicy"),
    ];
    let fields = fields.map(|(name, kind, field)| (name, shown_pointer(kind, spec, field)));
    shown_struct("policy.PodDisruptionBudgetSpec", &fields)
}

fn validate_status(budget: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(budget, Some(old), true, names::path_segment, &mut errors);
    let path = Path::new("status");
    conditions(list_at(budget, &["status", "conditions"]), &path.child("conditions"), &mut errors);
    for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        errors.non_negative(&path.child(count), int_at(budget, &["status", count]));
    }
    errors.into_vec()
}

fn row(budget: &Value, now: i64) -> Vec<Value> {
    let bound = |field| match at(budget, &["spec", field]) {
        None => Value::from("N/A"),
        Some(Value::String(percent)) => percent.as_str().into(),
        Some(count) => count.to_string().into(),
    };
    vec![
        printers::name(budget),
        bound("minAvailable"),
        bound("maxUnavailable"),
        int_at(budget, &["status", "disruptionsAllowed"]).unwrap_or(0).into(),
        printers::age(budget, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    #[test]
    fn validation_and_cells() {
        let object = created(&kind(), json!({"spec": {"minAvailable": 2}}));
        assert_eq!(row(&object, 1_767_225_600)[1..], [json!("2"), json!("N/A"), json!(0), json!("60s")]);
        for (spec, expected) in [
            (json!({"maxUnavailable": "50%", "selector": {"matchLabels": {"a": "b"}}}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec![
                    "spec: Invalid value: policy.PodDisruptionBudgetSpec{MinAvailable:(*intstr.IntOrString)(0xc000000000), Selector:(*v1.LabelSelector)(nil), MaxUnavailable:(*intstr.IntOrString)(0xc000000000), UnhealthyPodEvictionPolicy:(*policy.UnhealthyPodEvictionPolicyType)(nil)}: minAvailable and maxUnavailable cannot be both set",
                ],
            ),
            (
                json!({"minAvailable": -1}),
                vec!["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "Maybe"}),
                vec![
                    "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Maybe\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), json!({"spec": spec}), None), expected, "{spec}");
        }
    }
}
