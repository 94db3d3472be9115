//! Validation of what steers the scheduler beside affinity: tolerations, spreading, gates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::affinity::NO_SELECTOR;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, entries, get, int, list, list_at, text, texts};
use crate::registry::names::{label_value, qualified_name};
use crate::registry::objectmeta::label_selector;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NOT_POSITIVE: &str = "must be greater than zero";

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

/// Validates `topologySpreadConstraints`.
pub(super) fn spreading(spec: &Value, path: &Path, errors: &mut Errors) {
    const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
    let constraints = list(spec, "topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew.to_string(), NOT_POSITIVE);
        }
        let [key, action] = ["topologyKey", "whenUnsatisfiable"].map(|field| text(constraint, field));
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !ACTIONS.contains(&action) {
            errors.not_supported(&path.child("whenUnsatisfiable"), action, &ACTIONS);
        }
        let same = |c: &Value| text(c, "topologyKey") == key && text(c, "whenUnsatisfiable") == action;
        if constraints[i + 1..].iter().any(same) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.duplicate(&path, quoted(&format!("{{{key}, {action}}}")));
        }
        min_domains(constraint, action, &path.child("minDomains"), errors);
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = text(constraint, field);
            if get(constraint, field).is_some() && !["Honor", "Ignore"].contains(&policy) {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        spread_keys(constraint, &path.child("matchLabelKeys"), errors);
        if let Some(selector) = get(constraint, "labelSelector") {
            label_selector(selector, &path.child("labelSelector"), errors);
        }
    }
}

fn min_domains(constraint: &Value, action: &str, path: &Path, errors: &mut Errors) {
    let Some(domains) = int(constraint, "minDomains") else { return };
    if domains <= 0 {
        errors.invalid(path, domains.to_string(), NOT_POSITIVE);
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(path, domains.to_string(), detail);
    }
}

fn spread_keys(constraint: &Value, path: &Path, errors: &mut Errors) {
    let keys = texts(constraint, "matchLabelKeys");
    let selector = get(constraint, "labelSelector");
    if !keys.is_empty() && selector.is_none() {
        errors.forbidden(path, NO_SELECTOR);
    }
    let selected = |key: &str| {
        selector.is_some_and(|s| {
            entries(get(s, "matchLabels")).any(|(label, _)| label == key)
                || list(s, "matchExpressions").iter().any(|e| text(e, "key") == key)
        })
    };
    for (i, key) in keys.into_iter().enumerate() {
        errors.invalid_text(&path.index(i), key, qualified_name(key));
        if selected(key) {
            errors.invalid(&path.index(i), quoted(key), "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// Validates `readinessGates`.
pub(super) fn readiness_gates(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let (path, kind) = (path.index(i).child("conditionType"), text(gate, "conditionType"));
        errors.invalid_text(&path, kind, qualified_name(kind));
    }
}

/// Validates `schedulingGates`.
pub(super) fn scheduling_gates(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (path.index(i), text(gate, "name"));
        errors.invalid_text(&path, name, qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, quoted(name));
        }
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
    fn spread_constraints() {
        let good = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"});
        let table = [
            (json!({}), vec![]),
            (
                json!({"maxSkew": 0, "topologyKey": "", "minDomains": 0}),
                vec![
                    "t[0].maxSkew: Invalid value: 0: must be greater than zero",
                    "t[0].topologyKey: Required value: can not be empty",
                    "t[0].minDomains: Invalid value: 0: must be greater than zero",
                ],
            ),
            (
                json!({"whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1, "nodeTaintsPolicy": "No"}),
                vec![
                    "t[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                    "t[0].nodeTaintsPolicy: Unsupported value: \"No\": supported values: \"Honor\", \"Ignore\"",
                ],
            ),
            (
                json!({"matchLabelKeys": ["a"]}),
                vec!["t[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"],
            ),
            (
                json!({"matchLabelKeys": ["a"], "labelSelector": {"matchLabels": {"a": "b"}}}),
                vec!["t[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector"],
            ),
        ];
        for (fields, expected) in table {
            let mut constraint = good.clone();
            json_patch::merge(&mut constraint, &fields);
            let mut errors = Errors::default();
            spreading(&json!({"topologySpreadConstraints": [constraint]}), &Path::new("t"), &mut errors);
            assert_eq!(texts_of(errors), expected, "{fields}");
        }
        let mut errors = Errors::default();
        spreading(&json!({"topologySpreadConstraints": [good, good]}), &Path::new("t"), &mut errors);
        let twice = "t[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, DoNotSchedule}\"";
        assert_eq!(texts_of(errors), [twice]);
    }
}
