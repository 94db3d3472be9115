//! HorizontalPodAutoscaler: `autoscaling/v2`, in which they are stored, and `autoscaling/v1`, a view with one metric.

use serde_json::{Value, json};

use super::horizontalpodautoscaler_old::{MEASURED, WISHED, deep, flat};
use super::horizontalpodautoscaler_rules as rules;
use super::status_rules::StatusRules;
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{
    at, ensure, get_mut, int, int_at, list, list_at, remove, set, set_default, set_missing, text, text_at,
};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, Hooks, Kind};

/// Where `v1` keeps what it has no fields for.
const METRICS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// Percent of its cpu request that a pod uses where nothing else is asked for.
const DEFAULT_UTILIZATION: i64 = 80;
/// How many metrics a row shows.
const SHOWN: usize = 2;

/// What a status must fulfil.
const STATUS: StatusRules = StatusRules { counts: &["currentReplicas", "desiredReplicas"], within: &[] };

/// The row of `autoscaling/v2`.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        list_kind: "HorizontalPodAutoscalerList",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short_names: &["hpa"],
        categories: &["all"],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
        storage: "horizontalpodautoscalers.autoscaling".into(),
        hooks: Hooks {
            default,
            prepare_create: |object| set(object, "status", json!({"currentReplicas": 0, "desiredReplicas": 0})),
            prepare_update: keep_status,
            validate: rules::validate,
            validate_status: Some(|new, old| STATUS.validate(new, old)),
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

/// The row of `autoscaling/v1`.
pub(in crate::registry) fn kind_v1() -> Kind {
    let stored = kind();
    Kind {
        version: "v1",
        schema: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
        hooks: Hooks {
            default: default_v1,
            validate: |new, old| rules::validate(&to_stored(new.clone()), old.cloned().map(to_stored).as_ref()),
            row: |object, now| row(&to_stored(object.clone()), now),
            from_stored: Some(from_stored),
            to_stored: Some(to_stored),
            ..stored.hooks
        },
        ..stored
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column(
        "Reference",
        "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
    ),
    text_column(
        "Targets",
        "metrics contains the specifications for which to use to calculate the desired replica count.",
    ),
    text_column(
        "MinPods",
        "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.",
    ),
    text_column(
        "MaxPods",
        "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up.",
    ),
    text_column(
        "Replicas",
        "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
    ),
    AGE,
];

fn default(autoscaler: &mut Value) {
    let Some(spec) = ensure(autoscaler, "spec") else { return };
    set_default(spec, "minReplicas", 1);
    if list(spec, "metrics").is_empty() {
        set(spec, "metrics", json!([cpu_metric(DEFAULT_UTILIZATION)]));
    }
    let Some(behavior) = get_mut(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (direction, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        let Some(rules) = ensure(behavior, direction) else { return };
        set_missing(rules, "selectPolicy", "Max");
        if direction == "scaleUp" {
            set_default(rules, "stabilizationWindowSeconds", 0);
        }
        set_default(rules, "policies", policies);
    }
}

fn default_v1(autoscaler: &mut Value) {
    let annotated = at(autoscaler, &["metadata", "annotations", METRICS_ANNOTATION]).is_some();
    let Some(spec) = ensure(autoscaler, "spec") else { return };
    set_default(spec, "minReplicas", 1);
    if !annotated {
        set_default(spec, "targetCPUUtilizationPercentage", DEFAULT_UTILIZATION);
    }
}

fn cpu_metric(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// The utilization that a metric of `v1`'s only kind aims at.
fn cpu_target(metric: &Value) -> Option<i64> {
    let cpu = text_at(metric, &["resource", "name"]) == "cpu";
    int_at(metric, &["resource", "target", "averageUtilization"]).filter(|_| cpu)
}

fn from_stored(mut autoscaler: Value) -> Value {
    set(&mut autoscaler, "apiVersion", "autoscaling/v1");
    let mut annotations = Vec::new();
    if let Some(spec) = get_mut(&mut autoscaler, "spec") {
        let mut metrics = remove(spec, "metrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(i) = metrics.iter().position(|m| cpu_target(m).is_some()) {
            let percent = cpu_target(&metrics.remove(i)).unwrap_or(DEFAULT_UTILIZATION);
            set(spec, "targetCPUUtilizationPercentage", percent);
        }
        if !metrics.is_empty() {
            annotations.push((METRICS_ANNOTATION, flat(&metrics, WISHED).to_string()));
        }
        if let Some(behavior) = remove(spec, "behavior").filter(|b| !b.is_null()) {
            annotations.push((BEHAVIOR_ANNOTATION, behavior.to_string()));
        }
    }
    if let Some(status) = ensure(&mut autoscaler, "status") {
        // Always written in this version, while `v2` leaves out a count of 0.
        set_missing(status, "currentReplicas", 0);
        set_missing(status, "desiredReplicas", 0);
        let current = list(status, "currentMetrics")
            .iter()
            .filter(|m| text_at(m, &["resource", "name"]) == "cpu")
            .find_map(|m| int_at(m, &["resource", "current", "averageUtilization"]));
        let (measured, conditions) = (list(status, "currentMetrics"), list(status, "conditions"));
        if !measured.is_empty() {
            annotations.push((CURRENT_ANNOTATION, flat(measured, MEASURED).to_string()));
        }
        if !conditions.is_empty() {
            annotations.push((CONDITIONS_ANNOTATION, Value::from(conditions).to_string()));
        }
        remove(status, "currentMetrics");
        remove(status, "conditions");
        if let Some(percent) = current {
            set(status, "currentCPUUtilizationPercentage", percent);
        }
    }
    for (name, text) in annotations {
        if let Some(map) = ensure(&mut autoscaler, "metadata").and_then(|m| ensure(m, "annotations")) {
            set(map, name, text);
        }
    }
    autoscaler
}

fn to_stored(mut autoscaler: Value) -> Value {
    set(&mut autoscaler, "apiVersion", "autoscaling/v2");
    let names = [METRICS_ANNOTATION, BEHAVIOR_ANNOTATION, CURRENT_ANNOTATION, CONDITIONS_ANNOTATION];
    let [metrics, behavior, measured, conditions] = names.map(|name| take_annotation(&mut autoscaler, name));
    if let Some(spec) = get_mut(&mut autoscaler, "spec") {
        let percent = remove(spec, "targetCPUUtilizationPercentage").and_then(|p| p.as_i64());
        let mut all: Vec<Value> = percent.map(cpu_metric).into_iter().collect();
        all.extend(metrics.and_then(|m| deep(&m, WISHED)?.as_array().cloned()).unwrap_or_default());
        if !all.is_empty() {
            set(spec, "metrics", all);
        }
        if let Some(behavior) = behavior {
            set(spec, "behavior", behavior);
        }
    }
    if let Some(status) = get_mut(&mut autoscaler, "status") {
        let percent = remove(status, "currentCPUUtilizationPercentage").and_then(|p| p.as_i64());
        let cpu = |percent| json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}]);
        if let Some(measured) = measured.and_then(|m| deep(&m, MEASURED)).or_else(|| percent.map(cpu)) {
            set(status, "currentMetrics", measured);
        }
        if let Some(conditions) = conditions {
            set(status, "conditions", conditions);
        }
    }
    autoscaler
}

/// Takes out an annotation that holds JSON; what cannot be read stays where it is.
fn take_annotation(autoscaler: &mut Value, name: &str) -> Option<Value> {
    let meta = get_mut(autoscaler, "metadata")?;
    let annotations = get_mut(meta, "annotations")?;
    let value = serde_json::from_str(text(annotations, name)).ok()?;
    remove(annotations, name);
    if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
        remove(meta, "annotations");
    }
    Some(value)
}

/// The field of a metric that its type names: `Pods` is in `pods`.
fn source(metric: &Value) -> Option<(&'static str, &Value)> {
    let field = match text(metric, "type") {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => return None,
    };
    Some((field, metric.get(field).unwrap_or(&Value::Null)))
}

fn row(autoscaler: &Value, now: i64) -> Vec<Value> {
    let spec = autoscaler.get("spec").unwrap_or(&Value::Null);
    let target = spec.get("scaleTargetRef").unwrap_or(&Value::Null);
    vec![
        printers::name(autoscaler),
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        targets(autoscaler).into(),
        int(spec, "minReplicas").map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        int(spec, "maxReplicas").unwrap_or(0).into(),
        int_at(autoscaler, &["status", "currentReplicas"]).unwrap_or(0).into(),
        printers::age(autoscaler, now),
    ]
}

/// `cpu: 12%/80%, 5/10 + 1 more...`
fn targets(autoscaler: &Value) -> String {
    let metrics = list_at(autoscaler, &["spec", "metrics"]);
    let current = list_at(autoscaler, &["status", "currentMetrics"]);
    let shown: Vec<String> = metrics.iter().enumerate().map(|(i, m)| one_target(m, current.get(i))).collect();
    let first = shown[..shown.len().min(SHOWN)].join(", ");
    match shown.len() {
        0 => "<none>".into(),
        n if n > SHOWN => format!("{first} + {} more...", n - SHOWN),
        _ => first,
    }
}

fn one_target(metric: &Value, current: Option<&Value>) -> String {
    let Some((field, spec)) = source(metric) else { return "<unknown type>".into() };
    let target = spec.get("target").unwrap_or(&Value::Null);
    let current = current.and_then(|c| at(c, &[field, "current"])).unwrap_or(&Value::Null);
    let known = |value: &str| if value.is_empty() { "<unknown>".to_owned() } else { value.to_owned() };
    let percent = |from: &Value| int(from, "averageUtilization").map(|p| format!("{p}%"));
    let average = text(target, "averageValue");
    if field == "resource" || field == "containerResource" {
        let name = text(spec, "name");
        if !average.is_empty() {
            return format!("{name}: {}/{average}", known(text(current, "averageValue")));
        }
        let wanted = percent(target).unwrap_or_else(|| "<auto>".into());
        return format!("{name}: {}/{wanted}", percent(current).unwrap_or_else(|| "<unknown>".into()));
    }
    match (average, field) {
        ("", _) => format!("{}/{}", known(text(current, "value")), text(target, "value")),
        (average, "pods") => format!("{}/{average}", known(text(current, "averageValue"))),
        (average, _) => format!("{}/{average} (avg)", known(text(current, "averageValue"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::created;

    fn spec(fields: Value) -> Value {
        let mut spec =
            json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn defaults_and_cells() {
        let mut object = created(&kind(), spec(json!({"behavior": {}})));
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80)]));
        assert_eq!(object["spec"]["behavior"]["scaleUp"]["policies"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [json!("Deployment/web"), json!("cpu: <unknown>/80%"), json!("1"), json!(5), json!(0), json!("60s")]
        );
        object["status"]["currentMetrics"] = json!([{"resource": {"current": {"averageUtilization": 12}}}]);
        assert_eq!(targets(&object), "cpu: 12%/80%");
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
        object["spec"]["metrics"] = json!([pods, pods, pods]);
        assert_eq!(targets(&object), "<unknown>/10, <unknown>/10 + 1 more...");
    }

    #[test]
    fn the_old_version_keeps_what_it_cannot_say_in_annotations() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        let stored =
            created(&kind(), spec(json!({"metrics": [cpu_metric(50), memory], "behavior": {"scaleDown": {}}})));
        let old = from_stored(stored.clone());
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(old["spec"].get("metrics"), None);
        let memory = json!([{"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}]);
        let annotation = old["metadata"]["annotations"][METRICS_ANNOTATION].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(annotation).unwrap(), memory);
        assert_eq!(to_stored(old), stored);
        let mut measured = stored;
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "100m"}}});
        measured["status"]["currentMetrics"] = json!([cpu]);
        measured["status"]["conditions"] = json!([{"type": "AbleToScale", "status": "True"}]);
        let old = from_stored(measured.clone());
        assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 20);
        assert_eq!(to_stored(old), measured);
        measured["status"] = json!({"desiredReplicas": 2});
        let counts = json!({"currentReplicas": 0, "desiredReplicas": 2});
        assert_eq!(from_stored(measured)["status"], counts, "clients require both counts");
        let plain = created(&kind_v1(), spec(json!({})));
        assert_eq!(plain["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(to_stored(plain)["spec"]["metrics"], json!([cpu_metric(80)]));
    }
}
