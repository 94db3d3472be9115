//! Validation of what steers the scheduler: tolerations, affinity, spreading.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, get, int, list, list_at, text, texts};
use crate::registry::names::{label_value, qualified_name};
use crate::registry::objectmeta::label_selector;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Validates the effect of a taint or toleration.
pub(crate) fn taint_effect(effect: &str, path: &Path, errors: &mut Errors) {
    if !EFFECTS.contains(&effect) {
        errors.not_supported(path, effect, &EFFECTS);
    }
}

/// Validates `tolerations`.
pub(crate) fn tolerations(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        one_toleration(toleration, &path.index(i), errors);
    }
}

fn one_toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let [key, operator, effect, value] = ["key", "operator", "effect", "value"].map(|f| text(toleration, f));
    let operator_path = path.child("operator");
    if !key.is_empty() {
        errors.invalid_text(&path.child("key"), key, qualified_name(key));
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&operator_path, quoted(operator), detail);
    }
    if int(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        errors.invalid(
            &path.child("effect"),
            quoted(effect),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
    match operator {
        "Equal" | "" => {
            let complaints = label_value(value);
            if !complaints.is_empty() {
                errors.invalid(&operator_path, quoted(value), complaints.join(";"));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => errors.invalid(&operator_path, quoted(value), "value must be empty when `operator` is 'Exists'"),
        other => errors.not_supported(&operator_path, other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        taint_effect(effect, &path.child("effect"), errors);
    }
}

/// Validates `affinity`.
pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(node) = get(affinity, "nodeAffinity") {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = get(affinity, kind) else { continue };
        let path = path.child(kind);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_affinity_term(term, &path.child(REQUIRED).index(i), errors);
        }
        for (i, weighted) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(weighted, &path, errors);
            pod_affinity_term(
                weighted.get("podAffinityTerm").unwrap_or(&Value::Null),
                &path.child("podAffinityTerm"),
                errors,
            );
        }
    }
}

fn weight(weighted: &Value, path: &Path, errors: &mut Errors) {
    let weight = int(weighted, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight.to_string(), "must be in the range 1-100");
    }
}

fn pod_affinity_term(term: &Value, path: &Path, errors: &mut Errors) {
    for field in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = get(term, field) {
            label_selector(selector, &path.child(field), errors);
        }
    }
    topology_key(term, path, errors);
}

fn topology_key(term: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("topologyKey");
    match text(term, "topologyKey") {
        "" => errors.required(&path, "can not be empty"),
        key => errors.invalid_text(&path, key, qualified_name(key)),
    }
}

fn node_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(required) = get(affinity, REQUIRED) {
        let path = path.child(REQUIRED).child("nodeSelectorTerms");
        let terms = list(required, "nodeSelectorTerms");
        if terms.is_empty() {
            errors.required(&path, "must have at least one node selector term");
        }
        for (i, term) in terms.iter().enumerate() {
            node_selector_term(term, &path.index(i), errors);
        }
    }
    for (i, weighted) in list(affinity, PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(i);
        weight(weighted, &path, errors);
        node_selector_term(weighted.get("preference").unwrap_or(&Value::Null), &path.child("preference"), errors);
    }
}

fn node_selector_term(term: &Value, path: &Path, errors: &mut Errors) {
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = texts(requirement, "values");
        let operator = text(requirement, "operator");
        let values_path = path.child("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(&values_path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.required(&values_path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&path.child("operator"), quoted(other), "not a valid selector operator"),
        }
        let key = text(requirement, "key");
        errors.invalid_text(&path.child("key"), key, qualified_name(key));
    }
}

/// Validates `topologySpreadConstraints`.
pub(super) fn spreading(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.index(i);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew.to_string(), "must be greater than zero");
        }
        topology_key(constraint, &path, errors);
        let action = text(constraint, "whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            errors.not_supported(&path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if let Some(selector) = get(constraint, "labelSelector") {
            label_selector(selector, &path.child("labelSelector"), errors);
        }
    }
}

/// Validates `schedulingGates` and `readinessGates`.
pub(super) fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (path.child("schedulingGates").index(i), text(gate, "name"));
        errors.invalid_text(&path, name, qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, quoted(name));
        }
    }
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let (path, kind) = (path.child("readinessGates").index(i).child("conditionType"), text(gate, "conditionType"));
        errors.invalid_text(&path, kind, qualified_name(kind));
    }
}

/// Validates that an update only takes scheduling gates away.
pub(super) fn only_deleted_gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let before: Vec<&str> = list(old, "schedulingGates").iter().map(|g| text(g, "name")).collect();
    for (i, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !before.contains(&name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(i).child("name"), detail);
        }
    }
}

/// Validates that an update only adds tolerations (and changes their seconds).
pub(super) fn only_added_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let without_seconds = |spec: &Value| -> Vec<Value> {
        let mut tolerations = list_at(spec, &["tolerations"]).to_vec();
        for toleration in &mut tolerations {
            crate::registry::json::remove(toleration, "tolerationSeconds");
        }
        tolerations
    };
    let (new, old) = (without_seconds(new), without_seconds(old));
    let kept = |o: &Value| new.iter().any(|n| crate::registry::json::same(at(n, &[]), Some(o)));
    if !old.iter().all(kept) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts_of(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tolerations_one_by_one() {
        let table = [
            (json!({"operator": "Exists"}), vec![]),
            (json!({"key": "a", "value": "b", "effect": "NoSchedule"}), vec![]),
            (
                json!({"value": "b"}),
                vec![
                    "t[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                ],
            ),
            (
                json!({"key": "a", "operator": "Is"}),
                vec!["t[0].operator: Unsupported value: \"Is\": supported values: \"Equal\", \"Exists\""],
            ),
            (
                json!({"key": "a", "effect": "No"}),
                vec![
                    "t[0].effect: Unsupported value: \"No\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                json!({"key": "a", "tolerationSeconds": 1}),
                vec!["t[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"],
            ),
        ];
        for (toleration, expected) in table {
            let mut errors = Errors::default();
            tolerations(&json!({"tolerations": [toleration]}), &Path::new("t"), &mut errors);
            assert_eq!(texts_of(errors), expected, "{toleration}");
        }
    }

    #[test]
    fn tolerations_only_grow() {
        let old = json!({"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 1}]});
        for (new, fine) in [
            (json!({"tolerations": [{"key": "b"}, {"key": "a", "operator": "Exists", "tolerationSeconds": 9}]}), true),
            (json!({"tolerations": [{"key": "b"}]}), false),
            (json!({}), false),
        ] {
            let mut errors = Errors::default();
            only_added_tolerations(&new, &old, &Path::new("t"), &mut errors);
            assert_eq!(texts_of(errors).is_empty(), fine, "{new}");
        }
    }

    #[test]
    fn affinities() {
        let mut errors = Errors::default();
        let value = json!({
            "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}]}]}},
            "podAntiAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": ""}}]},
        });
        affinity(&value, &Path::new("a"), &mut errors);
        assert_eq!(
            texts_of(errors),
            [
                format!(
                    "a.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
                ),
                format!("a.podAntiAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100"),
                format!(
                    "a.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.topologyKey: Required value: can not be empty"
                ),
            ]
        );
    }
}
