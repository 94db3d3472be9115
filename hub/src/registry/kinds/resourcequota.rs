//! `v1` ResourceQuota.

use std::collections::BTreeSet;

use serde_json::Value;
use skiff_shared::quantity::Quantity;

use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::hooks::{PLAIN, empty_status, keep_status};
use crate::registry::json::{at, entries, get, get_mut, list, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const SCOPES: [&str; 6] =
    ["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"];
/// Pairs of scopes that exclude each other.
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// What is counted, so in whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
/// What is summed over pods.
const COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
/// Unqualified names a quota may sum; it may count [`COUNTED`] too.
const SUMMED: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn is_standard(resource: &str) -> bool {
    SUMMED.contains(&resource) || COUNTED.contains(&resource)
}

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "ResourceQuota",
        list_kind: "ResourceQuotaList",
        plural: "resourcequotas",
        singular: "resourcequota",
        short_names: &["quota"],
        categories: &[],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.core.v1.ResourceQuota",
        storage: "resourcequotas".into(),
        hooks: Hooks {
            default,
            prepare_create: empty_status,
            prepare_update: keep_status,
            validate,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    text_column(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];

fn default(quota: &mut Value) {
    for (part, lists) in [("spec", &["hard"][..]), ("status", &["hard", "used"])] {
        let Some(part) = get_mut(quota, part) else { continue };
        for list in lists {
            if let Some(list) = get_mut(part, list) {
                podspec::canonical(list);
            }
        }
    }
}

fn validate(quota: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(quota, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = quota.get("spec").unwrap_or(&Value::Null);
    for (name, value) in entries(get(spec, "hard")) {
        let path = path.child("hard").key(name);
        resource(name, &path, &mut errors);
        podspec::quantity(value, &path, &mut errors);
        let counted = COUNTED.contains(&name) || name.starts_with("requests.") && name.contains('/');
        let whole = |q: Quantity| q.nano() % 1_000_000_000 == 0;
        if counted && value.as_str().and_then(|v| Quantity::parse(v).ok()).is_some_and(|q| !whole(q)) {
            errors.invalid(&path, shown(value), "must be an integer");
        }
    }
    let scopes: BTreeSet<&str> = texts(spec, "scopes").into_iter().collect();
    let scopes_path = path.child("scopes");
    let listed = spec.get("scopes").unwrap_or(&Value::Null).to_string();
    for scope in scopes.iter().filter(|s| !SCOPES.contains(s)) {
        errors.invalid(&scopes_path, quoted(scope), "unsupported scope");
    }
    let hard = || entries(get(spec, "hard")).map(|(name, _)| name);
    for _ in scopes.iter().flat_map(|scope| hard().filter(|name| !in_scope(scope, name))) {
        errors.invalid(&scopes_path, listed.clone(), "unsupported scope applied to resource");
    }
    if CONFLICTS.iter().any(|pair| pair.iter().all(|s| scopes.contains(s))) {
        errors.invalid(&scopes_path, listed, "conflicting scopes");
    }
    selector(spec, &path.child("scopeSelector").child("matchExpressions"), &mut errors);
    if let Some(old) = old {
        errors.immutable(&scopes_path, spec.get("scopes"), at(old, &["spec", "scopes"]));
        errors.immutable(&path.child("scopeSelector"), spec.get("scopeSelector"), at(old, &["spec", "scopeSelector"]));
    }
    errors.into_vec()
}

/// Whether a quota of this scope can tell apart what it counts.
fn in_scope(scope: &str, resource: &str) -> bool {
    let standard = is_standard(resource);
    !standard || resource == "pods" || scope != "BestEffort" && COMPUTE.contains(&resource)
}

fn selector(spec: &Value, path: &Path, errors: &mut Errors) {
    for requirement in get(spec, "scopeSelector").map_or(&[][..], |s| list(s, "matchExpressions")) {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), quoted(scope), "unsupported scope");
        } else if scope != "PriorityClass" && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), quoted(operator), detail);
        }
        let values = texts(requirement, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &path.child("values"),
                shown(&requirement["values"]),
                "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), quoted(other), "not a valid selector operator"),
        }
    }
}

fn resource(name: &str, path: &Path, errors: &mut Errors) {
    let complaints = names::qualified_name(name);
    let known = name.contains('/') || is_standard(name) || name.contains("hugepages-");
    if complaints.is_empty() && !known {
        errors.invalid(path, quoted(name), "must be a standard resource for quota");
    }
    errors.invalid_text(path, name, complaints);
}

/// Used and hard amounts in two texts: those of limits, and all others.
fn row(quota: &Value, now: i64) -> Vec<Value> {
    let mut hard: Vec<&str> = entries(at(quota, &["status", "hard"])).map(|(name, _)| name).collect();
    hard.sort_unstable();
    let amounts = |limits: bool| {
        let of_kind = hard.iter().filter(|name| name.starts_with("limits") == limits);
        let texts: Vec<String> = of_kind
            .map(|name| {
                let used = text_at(quota, &["status", "used", name]);
                let used = if used.is_empty() { "0" } else { used };
                format!("{name}: {used}/{}", text_at(quota, &["status", "hard", name]))
            })
            .collect();
        Value::from(texts.join(", "))
    };
    vec![printers::name(quota), amounts(false), amounts(true), printers::age(quota, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::complaints;
    use serde_json::json;

    #[test]
    fn amounts_are_shown_used_over_hard() {
        let quota = json!({"metadata": {"name": "q"}, "status": {
            "hard": {"pods": "10", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "3", "limits.cpu": "500m"},
        }});
        let cells = row(&quota, 0);
        assert_eq!(cells[1..3], [json!("cpu: 0/1, pods: 3/10"), json!("limits.cpu: 500m/2")]);
    }

    #[test]
    fn validation() {
        for (spec, old, expected) in [
            (json!({"hard": {"pods": 5, "count/deployments.apps": "2"}}), None, vec![]),
            (
                json!({"hard": {"cups": "1"}}),
                None,
                vec!["spec.hard[cups]: Invalid value: \"cups\": must be a standard resource for quota"],
            ),
            (
                json!({"hard": {"pods": "-1"}}),
                None,
                vec!["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (
                json!({"hard": {"pods": "1500m"}}),
                None,
                vec!["spec.hard[pods]: Invalid value: \"1500m\": must be an integer"],
            ),
            (
                json!({"hard": {"cpu": "1", "count/jobs.batch": "1"}, "scopes": ["BestEffort"]}),
                None,
                vec!["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In"}, {"scopeName": "Terminating", "operator": "Exists"},
                ]}}),
                None,
                vec![
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                ],
            ),
            (
                json!({"scopes": ["BestEffort"]}),
                Some(json!({"scopes": ["Terminating"]})),
                vec!["spec.scopes: Invalid value: []string{\"BestEffort\"}: field is immutable"],
            ),
        ] {
            let old = old.map(|spec| json!({"spec": spec}));
            assert_eq!(complaints(&kind(), json!({"spec": spec}), old), expected, "{spec}");
        }
    }
}
