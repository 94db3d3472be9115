//! Validation of affinity: to nodes, and to and against pods.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{entries, get, int, list, list_at, same, text, texts};
use crate::registry::names::{dns_label, dns_subdomain, label_value, qualified_name};
use crate::registry::objectmeta::label_selector;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// Detail for keys of labels without a selector to complete.
pub(super) const NO_SELECTOR: &str = "must not be specified when labelSelector is not set";

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
    for namespace in texts(term, "namespaces") {
        errors.invalid_text(&path.child("namespace"), namespace, dns_label(namespace));
    }
    label_keys(term, path, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.invalid_text(&path.child("topologyKey"), key, qualified_name(key));
}

/// Validates `matchLabelKeys` and `mismatchLabelKeys` of a term.
fn label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = get(term, "labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = texts(term, field);
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&path.child(field), NO_SELECTOR);
            continue;
        }
        for (i, key) in keys.into_iter().enumerate() {
            errors.invalid_text(&path.child(field).index(i), key, qualified_name(key));
        }
    }
    let (wanted, unwanted) = (texts(term, "matchLabelKeys"), texts(term, "mismatchLabelKeys"));
    let mut seen: BTreeSet<&str> = entries(selector.and_then(|s| get(s, "matchLabels"))).map(|(key, _)| key).collect();
    for expression in selector.map_or(&[][..], |s| list(s, "matchExpressions")) {
        let key = text(expression, "key");
        // One of the two was made of `matchLabelKeys`. Kubernetes names the term here, not the field.
        if let Some(i) = wanted.iter().position(|k| *k == key).filter(|_| seen.contains(key)) {
            errors.invalid(&path.index(i), quoted(key), "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
    for (i, key) in wanted.iter().enumerate().filter(|(_, key)| unwanted.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&path.child("matchLabelKeys").index(i), quoted(key), detail);
    }
}

fn node_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(required) = get(affinity, REQUIRED) {
        node_selector(required, &path.child(REQUIRED), errors);
    }
    for (i, weighted) in list(affinity, PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(i);
        weight(weighted, &path, errors);
        let preference = weighted.get("preference").unwrap_or(&Value::Null);
        node_selector_term(preference, false, &path.child("preference"), errors);
    }
}

/// Validates a `NodeSelector` that must hold.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(term, true, &path.index(i), errors);
    }
}

/// Values that no label can have are an error only where the term must hold.
fn node_selector_term(term: &Value, must_hold: bool, path: &Path, errors: &mut Errors) {
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        node_labels(requirement, &path, errors);
        for (j, value) in texts(requirement, "values").into_iter().enumerate().filter(|_| must_hold) {
            errors.invalid_text(&path.child("values").index(j), value, label_value(value));
        }
    }
    for (i, requirement) in list(term, "matchFields").iter().enumerate() {
        node_fields(requirement, &path.child("matchFields").index(i), errors);
    }
}

fn node_labels(requirement: &Value, path: &Path, errors: &mut Errors) {
    let values = texts(requirement, "values");
    let values_path = path.child("values");
    match text(requirement, "operator") {
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

/// Of a node's fields there is its name only.
fn node_fields(requirement: &Value, path: &Path, errors: &mut Errors) {
    let values = texts(requirement, "values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&path.child("values"), detail);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&path.child("operator"), quoted(other), "not a valid selector operator"),
    }
    match text(requirement, "key") {
        "metadata.name" => {
            for (i, value) in values.into_iter().enumerate() {
                errors.invalid_text(&path.child("values").index(i), value, dns_subdomain(value));
            }
        }
        other => errors.invalid(&path.child("key"), quoted(other), "not a valid field selector key"),
    }
}

/// Validates that an update of a gated pod narrows the nodes it may run on, and nothing else.
pub(super) fn only_narrowed(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let terms = |affinity: Option<&Value>| -> Vec<Value> {
        affinity.map_or(&[][..], |a| list_at(a, &[REQUIRED, "nodeSelectorTerms"])).to_vec()
    };
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    let (new, old) = (terms(new), terms(old));
    if !old.is_empty() && new.len() != old.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&path, Value::from(new).to_string(), detail);
    }
    for (i, (new, _)) in new.iter().zip(&old).enumerate().filter(|(_, (new, old))| !is_narrower(new, old)) {
        errors.invalid(&path.index(i), new.to_string(), "only additions are allowed (no mutations or deletions)");
    }
}

/// Whether a term still has all that it had, in its place. One that selects nothing stays so.
fn is_narrower(new: &Value, old: &Value) -> bool {
    let parts = ["matchExpressions", "matchFields"].map(|field| (list(new, field), list(old, field)));
    let empty_before = parts.iter().all(|(_, old)| old.is_empty());
    parts.iter().all(|(new, old)| {
        let kept = new.len() >= old.len() && new.iter().zip(*old).all(|(new, old)| same(Some(new), Some(old)));
        kept && (!empty_before || new.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts_of(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
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
                format!(
                    "a.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.topologyKey: Invalid value: \"\": name part must be non-empty"
                ),
                format!(
                    "a.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.topologyKey: Invalid value: \"\": {}",
                    qualified_name("").pop().unwrap()
                ),
            ]
        );
    }

    #[test]
    fn terms_of_nodes_and_keys_of_pods() {
        let node = |term: Value| json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}});
        let at = format!("a.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0]");
        let pod = |term: Value| json!({"podAffinity": {REQUIRED: [term]}});
        let of_pod = format!("a.podAffinity.{REQUIRED}[0]");
        let table = [
            (node(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})), vec![]),
            (
                node(json!({"matchFields": [{"key": "spec.x", "operator": "Exists"}]})),
                vec![
                    format!("{at}.matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator"),
                    format!("{at}.matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key"),
                ],
            ),
            (
                node(json!({"matchFields": [{"key": "metadata.name", "operator": "In"}]})),
                vec![format!(
                    "{at}.matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
                )],
            ),
            (
                pod(json!({"topologyKey": "z", "matchLabelKeys": ["a"]})),
                vec![format!(
                    "{of_pod}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
                )],
            ),
            (
                pod(json!({
                    "topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b"}},
                    "matchLabelKeys": ["c"], "mismatchLabelKeys": ["c"],
                })),
                vec![format!(
                    "{of_pod}.matchLabelKeys[0]: Invalid value: \"c\": exists in both matchLabelKeys and mismatchLabelKeys"
                )],
            ),
        ];
        for (value, expected) in table {
            let mut errors = Errors::default();
            affinity(&value, &Path::new("a"), &mut errors);
            assert_eq!(texts_of(errors), expected, "{value}");
        }
    }

    #[test]
    fn gated_pods_become_narrower() {
        let terms = |terms: Value| json!({REQUIRED: {"nodeSelectorTerms": terms}});
        let (a, b) = (json!({"key": "a", "operator": "Exists"}), json!({"key": "b", "operator": "Exists"}));
        let old = terms(json!([{"matchExpressions": [a]}]));
        for (new, old, fine) in [
            (terms(json!([{"matchExpressions": [a, b]}])), Some(&old), true),
            (terms(json!([{"matchExpressions": [b, a]}])), Some(&old), false),
            (terms(json!([{"matchExpressions": [a]}, {}])), Some(&old), false),
            (json!({}), Some(&old), false),
            (terms(json!([{}])), None, true),
            (terms(json!([{"matchExpressions": [a]}])), Some(&terms(json!([{}]))), false),
        ] {
            let mut errors = Errors::default();
            only_narrowed(Some(&new), old, &Path::new("n"), &mut errors);
            assert_eq!(texts_of(errors).is_empty(), fine, "{new}");
        }
    }
}
