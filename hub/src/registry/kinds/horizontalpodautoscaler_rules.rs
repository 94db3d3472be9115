//! Validation of HorizontalPodAutoscalers, in the form of `autoscaling/v2`.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, list, text};
use crate::registry::podspec::{self, parse_quantity};
use crate::registry::{FieldError, names, objectmeta};

const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;
const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// The types with their fields, in the order in which Kubernetes looks at these.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const SELECT_POLICIES: [&str; 3] = ["Disabled", "Max", "Min"];
const POLICY_TYPES: [&str; 2] = ["Percent", "Pods"];

/// Validates an autoscaler.
pub(super) fn validate(autoscaler: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(autoscaler, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = autoscaler.get("spec").unwrap_or(&Value::Null);
    // Zero is only for those that have it already.
    let had_zero = old.and_then(|old| old.get("spec")).and_then(|spec| int(spec, "minReplicas")) == Some(0);
    replicas(spec, if had_zero { 0 } else { 1 }, &path, &mut errors);
    reference(spec.get("scaleTargetRef").unwrap_or(&Value::Null), &path.child("scaleTargetRef"), &mut errors);
    metrics(spec, &path.child("metrics"), &mut errors);
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = get(spec, "behavior").and_then(|behavior| get(behavior, direction)) {
            scaling_rules(rules, &path.child("behavior").child(direction), &mut errors);
        }
    }
    errors.into_vec()
}

fn replicas(spec: &Value, lowest: i64, path: &Path, errors: &mut Errors) {
    let (min, max) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < lowest) {
        let detail = format!("must be greater than or equal to {lowest}");
        errors.invalid(&path.child("minReplicas"), min.to_string(), detail);
    }
    if max < 1 {
        errors.invalid(&path.child("maxReplicas"), max.to_string(), "must be greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid(&path.child("maxReplicas"), max.to_string(), "must be greater than or equal to `minReplicas`");
    }
}

fn reference(target: &Value, path: &Path, errors: &mut Errors) {
    for field in ["kind", "name"] {
        match text(target, field) {
            "" => errors.required(&path.child(field), ""),
            name => errors.invalid_text(&path.child(field), name, names::path_segment(name)),
        }
    }
}

fn metrics(spec: &Value, path: &Path, errors: &mut Errors) {
    let metrics = list(spec, "metrics");
    for (i, metric) in metrics.iter().enumerate() {
        one_metric(metric, &path.index(i), errors);
    }
    let from_outside = metrics.iter().any(|metric| ["Object", "External"].contains(&text(metric, "type")));
    if int(spec, "minReplicas") == Some(0) && !from_outside {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path, detail);
    }
}

fn one_metric(metric: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &METRIC_TYPES);
    }
    let given: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| get(metric, field).is_some()).collect();
    if let Some(first) = given.first() {
        source(first, &metric[*first], &path.child(first), errors);
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if let Some(missing) = expected.filter(|field| !given.contains(field)) {
        errors.required(&path.child(missing), "must populate information for the given metric source");
    }
    if given.len() != 1 {
        for other in given.into_iter().filter(|field| Some(*field) != expected) {
            errors.forbidden(&path.child(other), "must populate the given metric source only");
        }
    }
}

fn source(field: &str, source: &Value, path: &Path, errors: &mut Errors) {
    match field {
        "object" => {
            reference(source.get("describedObject").unwrap_or(&Value::Null), &path.child("describedObject"), errors);
        }
        "resource" | "containerResource" => resource(field, source, path, errors),
        _ => {}
    }
    if !["resource", "containerResource"].contains(&field) {
        let metric = source.get("metric").unwrap_or(&Value::Null);
        let path = path.child("metric").child("name");
        match text(metric, "name") {
            "" => errors.required(&path, "must specify a metric name"),
            name => errors.invalid_text(&path, name, names::path_segment(name)),
        }
    }
    let aim = source.get("target").unwrap_or(&Value::Null);
    let path = path.child("target");
    target(aim, &path, errors);
    aims(field, aim, &path, errors);
}

fn resource(field: &str, source: &Value, path: &Path, errors: &mut Errors) {
    match text(source, "name") {
        "" => errors.required(&path.child("name"), "must specify a resource name"),
        name if field == "containerResource" => {
            let named = serde_json::json!({"limits": {name: "1"}});
            let mut found = Errors::default();
            podspec::requirements(&named, path, &mut found);
            for error in found.into_vec() {
                errors.push(&path.child("name"), error);
            }
        }
        _ => {}
    }
    if field == "containerResource" {
        match text(source, "container") {
            "" => errors.required(&path.child("container"), "must specify a container"),
            name => errors.invalid_text(&path.child("container"), name, names::dns_label(name)),
        }
    }
}

fn target(target: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        errors.invalid(&path.child("type"), quoted(kind), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = get(target, field).and_then(parse_quantity).filter(|amount| amount.nano() <= 0) {
            errors.invalid(&path.child(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|p| *p < 1) {
        errors.invalid(&path.child("averageUtilization"), percent.to_string(), "must be greater than 0");
    }
}

/// Which values of its target a source must have, and which it must not have together.
fn aims(field: &str, target: &Value, path: &Path, errors: &mut Errors) {
    let [value, average, utilization] =
        ["value", "averageValue", "averageUtilization"].map(|field| get(target, field).is_some());
    let (missing, required, detail) = match field {
        "object" => (!value && !average, "averageValue", "must set either a target value or averageValue"),
        "external" => {
            (!value && !average, "averageValue", "must set either a target value for metric or a per-pod target")
        }
        "pods" => (!average, "averageValue", "must specify a positive target averageValue"),
        _ => (
            !utilization && !average,
            "averageUtilization",
            "must set either a target raw value or a target utilization",
        ),
    };
    if missing {
        errors.required(&path.child(required), detail);
    }
    match field {
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&path.child("value"), detail);
        }
        "resource" | "containerResource" if utilization && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.forbidden(&path.child("averageValue"), detail);
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, path: &Path, errors: &mut Errors) {
    let window = int(rules, "stabilizationWindowSeconds");
    let window_path = path.child("stabilizationWindowSeconds");
    match window {
        Some(seconds) if seconds < 0 => {
            errors.invalid(&window_path, seconds.to_string(), "must be greater than or equal to zero");
        }
        Some(seconds) if seconds > WINDOW_MAX => {
            errors.invalid(&window_path, seconds.to_string(), format!("must be less than or equal to {WINDOW_MAX}"));
        }
        Some(_) | None => {}
    }
    let select = get(rules, "selectPolicy").and_then(Value::as_str);
    if let Some(select) = select.filter(|select| !SELECT_POLICIES.contains(select)) {
        errors.not_supported(&path.child("selectPolicy"), select, &SELECT_POLICIES);
    }
    let path = path.child("policies");
    if list(rules, "policies").is_empty() {
        errors.required(&path, "must specify at least one Policy");
    }
    for (i, policy) in list(rules, "policies").iter().enumerate() {
        scaling_policy(policy, &path.index(i), errors);
    }
}

fn scaling_policy(policy: &Value, path: &Path, errors: &mut Errors) {
    if !POLICY_TYPES.contains(&text(policy, "type")) {
        errors.not_supported(&path.child("type"), text(policy, "type"), &POLICY_TYPES);
    }
    for field in ["value", "periodSeconds"] {
        let number = int(policy, field).unwrap_or(0);
        if number <= 0 {
            errors.invalid(&path.child(field), number.to_string(), "must be greater than zero");
        }
    }
    if let Some(period) = int(policy, "periodSeconds").filter(|period| *period > PERIOD_MAX) {
        let detail = format!("must be less than or equal to {PERIOD_MAX}");
        errors.invalid(&path.child("periodSeconds"), period.to_string(), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::horizontalpodautoscaler::{kind, kind_v1};
    use crate::registry::kinds::testing::complaints;
    use serde_json::json;

    fn spec(fields: Value) -> Value {
        let mut spec =
            json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    fn check(table: Vec<(Value, Vec<&str>)>) {
        for (fields, expected) in table {
            assert_eq!(complaints(&kind(), spec(fields.clone()), None), expected, "{fields}");
        }
    }

    #[test]
    fn bounds() {
        assert_eq!(complaints(&kind_v1(), spec(json!({})), None), Vec::<String>::new());
        check(vec![
            (json!({}), vec![]),
            (
                json!({"maxReplicas": 1, "minReplicas": 3}),
                vec!["spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"],
            ),
            (
                json!({"minReplicas": 0}),
                vec![
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (json!({"scaleTargetRef": {"name": ""}}), vec!["spec.scaleTargetRef.name: Required value"]),
        ]);
    }

    #[test]
    fn sources() {
        let metric = |metric: Value| json!({"metrics": [metric]});
        let pods = json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}});
        check(vec![
            (metric(json!({"type": "Pods", "pods": pods})), vec![]),
            (
                metric(json!({"type": "Magic"})),
                vec![
                    "spec.metrics[0].type: Unsupported value: \"Magic\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
                ],
            ),
            (
                metric(json!({"type": "Resource", "pods": pods})),
                vec!["spec.metrics[0].resource: Required value: must populate information for the given metric source"],
            ),
            (
                metric(json!({"type": "Pods", "pods": pods, "external": pods})),
                vec!["spec.metrics[0].external: Forbidden: must populate the given metric source only"],
            ),
            (
                metric(
                    json!({"type": "Object", "object": {"metric": {"name": "a/b"}, "target": {"type": "Odd", "value": "-1"}}}),
                ),
                vec![
                    "spec.metrics[0].object.describedObject.kind: Required value",
                    "spec.metrics[0].object.describedObject.name: Required value",
                    "spec.metrics[0].object.metric.name: Invalid value: \"a/b\": may not contain '/'",
                    "spec.metrics[0].object.target.type: Invalid value: \"Odd\": must be either Utilization, Value, or AverageValue",
                    "spec.metrics[0].object.target.value: Invalid value: -1: must be positive",
                ],
            ),
            (
                metric(
                    json!({"type": "ContainerResource", "containerResource": {"name": "pods", "target": {"type": "Utilization", "averageUtilization": 0}}}),
                ),
                vec![
                    "spec.metrics[0].containerResource.name: Invalid value: \"pods\": must be a standard resource for containers",
                    "spec.metrics[0].containerResource.container: Required value: must specify a container",
                    "spec.metrics[0].containerResource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                ],
            ),
            (
                metric(
                    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value", "averageValue": "1", "averageUtilization": 5}}}),
                ),
                vec![
                    "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
                ],
            ),
        ]);
    }

    #[test]
    fn behavior() {
        check(vec![
            (json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3600}}}), vec![]),
            (
                json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "Odd", "policies": [{"periodSeconds": 1801}]}}}),
                vec![
                    "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                    "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Odd\": supported values: \"Disabled\", \"Max\", \"Min\"",
                    "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"\": supported values: \"Percent\", \"Pods\"",
                    "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                    "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                ],
            ),
        ]);
    }
}
