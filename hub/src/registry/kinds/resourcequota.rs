//! `v1` ResourceQuota.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::hooks::{PLAIN, empty_status, keep_status};
use crate::registry::json::{at, entries, get, get_mut, list, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const SCOPES: [&str; 6] =
    ["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"];
/// Pairs of scopes that exclude each other.
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// What is summed over pods.
const COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
/// Unqualified names a quota may sum; it may count [`podspec::COUNTED`] too.
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
    amounts(get(spec, "hard"), &path.child("hard"), &mut errors);
    scopes(spec, &path.child("scopes"), &mut errors);
    selector(spec, &path.child("scopeSelector").child("matchExpressions"), &mut errors);
    if let Some(old) = old {
        let set = |quota| at(quota, &["spec"]).map(|s| texts(s, "scopes").into_iter().collect::<BTreeSet<_>>());
        if set(quota).unwrap_or_default() != set(old).unwrap_or_default() {
            errors.invalid(&path.child("scopes"), shown_scopes(spec), "field is immutable");
        }
    }
    for field in ["hard", "used"] {
        amounts(at(quota, &["status", field]), &Path::new("status").child(field), &mut errors);
    }
    errors.into_vec()
}

fn amounts(amounts: Option<&Value>, path: &Path, errors: &mut Errors) {
    for (name, value) in entries(amounts) {
        let path = path.key(name);
        podspec::resource_name(name, &path, errors);
        if !name.contains('/') && !is_standard(name) {
            errors.invalid(&path, quoted(name), "must be a standard resource for quota");
        }
        podspec::quantity(value, &path, errors);
        podspec::integral(name, value, &path, errors);
    }
}

fn is_standard(name: &str) -> bool {
    let resource = name.strip_prefix("requests.").unwrap_or(name);
    SUMMED.contains(&name) || podspec::COUNTED.contains(&name) || resource.starts_with("hugepages-")
}

/// Scopes as Go prints them.
fn shown_scopes(spec: &Value) -> String {
    match get(spec, "scopes") {
        None => "[]core.ResourceQuotaScope(nil)".into(),
        Some(_) => {
            let names: Vec<String> = texts(spec, "scopes").into_iter().map(quoted).collect();
            format!("[]core.ResourceQuotaScope{{{}}}", names.join(", "))
        }
    }
}

fn scopes(spec: &Value, path: &Path, errors: &mut Errors) {
    let scopes = texts(spec, "scopes");
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.invalid(path, shown_scopes(spec), "unsupported scope");
        }
        for _ in entries(get(spec, "hard")).filter(|(name, _)| !in_scope(scope, name)) {
            errors.invalid(path, shown_scopes(spec), "unsupported scope applied to resource");
        }
    }
    conflicts(&scopes, spec, path, errors);
}

fn conflicts(scopes: &[&str], spec: &Value, path: &Path, errors: &mut Errors) {
    for _ in CONFLICTS.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))) {
        errors.invalid(path, shown_scopes(spec), "conflicting scopes");
    }
}

/// Whether a quota of this scope can tell apart what it counts.
fn in_scope(scope: &str, resource: &str) -> bool {
    let told = resource == "pods" || scope != "BestEffort" && COMPUTE.contains(&resource);
    told || !is_standard(resource) || !SCOPES.contains(&scope)
}

fn selector(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(selector) = get(spec, "scopeSelector") else { return };
    let requirements = list(selector, "matchExpressions");
    for requirement in requirements {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), quoted(scope), "unsupported scope");
        }
        for _ in entries(get(spec, "hard")).filter(|(name, _)| !in_scope(scope, name)) {
            errors.invalid(path, shown_selector(requirements), "unsupported scope applied to resource");
        }
        if SCOPES.contains(&scope) && scope != "PriorityClass" && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
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
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), quoted(other), "not a valid selector operator"),
        }
    }
    let scopes: Vec<&str> = requirements.iter().map(|r| text(r, "scopeName")).collect();
    conflicts(&scopes, spec, path, errors);
}

/// A selector as Go prints it.
fn shown_selector(requirements: &[Value]) -> String {
    let requirements = requirements.iter().map(|r| {
        let values = get(r, "values").map_or("[]string(nil)".into(), shown);
        let [scope, operator] = ["scopeName", "operator"].map(|field| quoted(text(r, field)));
        format!("core.ScopedResourceSelectorRequirement{{ScopeName:{scope}, Operator:{operator}, Values:{values}}}")
    });
    let requirements = requirements.collect::<Vec<_>>().join(", ");
    format!("core.ScopeSelector{{MatchExpressions:[]core.ScopedResourceSelectorRequirement{{{requirements}}}}}")
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
                vec![
                    "spec.hard[cups]: Invalid value: \"cups\": must be a standard resource type or fully qualified",
                    "spec.hard[cups]: Invalid value: \"cups\": must be a standard resource for quota",
                ],
            ),
            (
                json!({"hard": {"pods": "-1"}}),
                None,
                vec!["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (
                json!({"hard": {"pods": "1500m"}}),
                None,
                vec!["spec.hard[pods]: Invalid value: 1500m: must be an integer"],
            ),
            (
                json!({"hard": {"cpu": "1", "count/jobs.batch": "1"}, "scopes": ["BestEffort"]}),
                None,
                vec![
                    "spec.scopes: Invalid value: []core.ResourceQuotaScope{\"BestEffort\"}: unsupported scope applied to resource",
                ],
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
            (json!({"hard": {"requests.example.com/gpu": "1500m"}}), None, vec![]),
            (
                json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                    {"scopeName": "BestEffort", "operator": "Exists"}, {"scopeName": "NotBestEffort", "operator": "Is"},
                ]}}),
                None,
                vec![
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": not a valid selector operator",
                    "spec.scopeSelector.matchExpressions: Invalid value: []core.ResourceQuotaScope(nil): conflicting scopes",
                ],
            ),
            (
                json!({"scopes": ["BestEffort"]}),
                Some(json!({"scopes": ["Terminating"]})),
                vec!["spec.scopes: Invalid value: []core.ResourceQuotaScope{\"BestEffort\"}: field is immutable"],
            ),
        ] {
            let old = old.map(|spec| json!({"spec": spec}));
            assert_eq!(complaints(&kind(), json!({"spec": spec}), old), expected, "{spec}");
        }
    }
}
