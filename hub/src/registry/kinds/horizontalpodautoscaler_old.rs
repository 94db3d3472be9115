//! Metrics as `autoscaling/v1` writes them into annotations: flat, with names of their own for each kind of source.

use serde_json::{Map, Value};

use crate::registry::json::{at, ensure, get, set, text};

/// A source's field, and its names beside the paths that they have in `v2`.
type Source = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// What is wished for (`spec.metrics`).
pub(super) const WISHED: &[Source] = &[
    (
        "resource",
        &[
            ("name", &["name"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
            ("container", &["container"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("targetAverageValue", &["target", "averageValue"]),
            ("selector", &["metric", "selector"]),
        ],
    ),
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("targetValue", &["target", "value"]),
            ("selector", &["metric", "selector"]),
            ("averageValue", &["target", "averageValue"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
    ),
];

/// What was measured (`status.currentMetrics`).
pub(super) const MEASURED: &[Source] = &[
    (
        "resource",
        &[
            ("name", &["name"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
            ("container", &["container"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("currentAverageValue", &["current", "averageValue"]),
            ("selector", &["metric", "selector"]),
        ],
    ),
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("currentValue", &["current", "value"]),
            ("selector", &["metric", "selector"]),
            ("averageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
];

/// The old form of metrics.
pub(super) fn flat(metrics: &[Value], sources: &[Source]) -> Value {
    metrics.iter().map(|metric| translated(metric, sources, flat_source)).collect()
}

/// Metrics from their old form; `None` where they are no list.
pub(super) fn deep(metrics: &Value, sources: &[Source]) -> Option<Value> {
    Some(metrics.as_array()?.iter().map(|metric| translated(metric, sources, deep_source)).collect())
}

type Names = [(&'static str, &'static [&'static str])];

fn translated(metric: &Value, sources: &[Source], translate: fn(&Value, &Names) -> Value) -> Value {
    let mut out = Map::from_iter([("type".to_owned(), text(metric, "type").into())]);
    for (field, names) in sources {
        if let Some(source) = get(metric, field) {
            out.insert((*field).to_owned(), translate(source, names));
        }
    }
    out.into()
}

fn flat_source(source: &Value, names: &Names) -> Value {
    names.iter().filter_map(|(name, path)| Some(((*name).to_owned(), at(source, path)?.clone()))).collect()
}

fn deep_source(source: &Value, names: &Names) -> Value {
    let mut out = Value::Object(Map::new());
    for (name, path) in names {
        let Some(value) = get(source, name) else { continue };
        // An average is wished for where there is one: the value beside it is the zero that Go writes.
        let average =
            |(name, path): &(&str, &[&str])| path.last() == Some(&"averageValue") && get(source, name).is_some();
        let zero = *path == ["target", "value"] && value == "0" && names.iter().any(average);
        match path {
            _ if zero => {}
            [part, field] => {
                if let Some(part) = ensure(&mut out, part) {
                    set(part, field, value.clone());
                }
            }
            [field] => set(&mut out, field, value.clone()),
            _ => {}
        }
    }
    if let Some(target) = out.get_mut("target") {
        let kinds = [("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value")];
        if let Some((_, kind)) = kinds.into_iter().find(|(field, _)| get(target, field).is_some()) {
            set(target, "type", kind);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_go_there_and_back() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "name": "web"});
        for (sources, new, old) in [
            (
                WISHED,
                json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}}),
                json!({"type": "Resource", "resource": {"name": "memory", "targetAverageUtilization": 50}}),
            ),
            (
                WISHED,
                json!({"type": "Pods", "pods": {"metric": {"name": "rate", "selector": {}}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
                json!({"type": "Pods", "pods": {"metricName": "rate", "selector": {}, "targetAverageValue": "10"}}),
            ),
            (
                WISHED,
                json!({"type": "Object", "object": {"describedObject": service, "metric": {"name": "rate"}, "target": {"type": "Value", "value": "5"}}}),
                json!({"type": "Object", "object": {"target": service, "metricName": "rate", "targetValue": "5"}}),
            ),
            (
                MEASURED,
                json!({"type": "External", "external": {"metric": {"name": "queue"}, "current": {"averageValue": "2"}}}),
                json!({"type": "External", "external": {"metricName": "queue", "currentAverageValue": "2"}}),
            ),
        ] {
            assert_eq!(flat(std::slice::from_ref(&new), sources), json!([old]));
            assert_eq!(deep(&json!([old]), sources), Some(json!([new])));
        }
        let zero = json!([{"type": "Object", "object": {"targetValue": "0", "averageValue": "3"}}]);
        let target = json!({"type": "AverageValue", "averageValue": "3"});
        assert_eq!(deep(&zero, WISHED), Some(json!([{"type": "Object", "object": {"target": target}}])));
        assert_eq!(deep(&json!("?"), WISHED), None);
    }
}
