//! `resources` and `allocatedResources` of a container's status.

use serde_json::{Map, Value};
use skiff_shared::pod::Resources;
use skiff_shared::quantity::{Format, Quantity};
use skiff_shared::report::PodReport;

use super::signed;

/// A container's status with what its node has set aside for it and what it runs with. Of an agent that does not
/// report that, only containers that ask for nothing get it.
pub(super) fn with(mut status: Value, spec: &Value, report: &PodReport) -> Value {
    let Some((container, resizable)) = find(spec, &status["name"]) else { return status };
    let asked = &container["resources"];
    let reported = report.resources.iter().find(|r| status["name"] == r.container.as_str());
    let asks = ["requests", "limits"].iter().any(|kind| asked[kind].as_object().is_some_and(|map| !map.is_empty()));
    if reported.is_none() && asks && report.resources.is_empty() {
        return status;
    }
    let (allocated, actual) = reported.map(|r| (r.allocated, r.actual)).unwrap_or_default();
    let requests = requests(asked, &allocated);
    if !requests.is_empty() {
        status["allocatedResources"] = requests.into();
    }
    if resizable {
        status["resources"] = all(asked, &actual);
    }
    status
}

/// A container of the spec, and whether its resources can change while it runs.
fn find<'a>(spec: &'a Value, name: &Value) -> Option<(&'a Value, bool)> {
    let of = |list: &str| spec[list].as_array().into_iter().flatten().find(|c| c["name"] == *name);
    of("containers").map(|c| (c, true)).or_else(|| of("initContainers").map(|c| (c, c["restartPolicy"] == "Always")))
}

fn all(asked: &Value, actual: &Resources) -> Value {
    let mut all = asked.as_object().cloned().unwrap_or_default();
    let limits = with_amounts(&asked["limits"], actual.cpu_limit_milli, actual.memory_limit_bytes);
    for (kind, amounts) in [("requests", requests(asked, actual)), ("limits", limits)] {
        if amounts.is_empty() {
            all.remove(kind);
        } else {
            all.insert(kind.to_owned(), amounts.into());
        }
    }
    all.into()
}

fn requests(asked: &Value, has: &Resources) -> Map<String, Value> {
    with_amounts(&asked["requests"], has.cpu_request_milli, has.memory_request_bytes)
}

/// The amounts of the spec, with those of CPU and memory as they are. The same amount keeps its spelling.
fn with_amounts(asked: &Value, cpu_milli: Option<u64>, memory_bytes: Option<u64>) -> Map<String, Value> {
    let mut amounts = asked.as_object().cloned().unwrap_or_default();
    let has = [
        ("cpu", cpu_milli.map(|milli| Quantity::of_milli(signed(milli)))),
        ("memory", memory_bytes.map(|bytes| Quantity::of(signed(bytes), Format::BinarySi))),
    ];
    for (name, has) in has {
        let asked = amounts.get(name).and_then(Value::as_str).and_then(|text| Quantity::parse(text).ok());
        match has {
            Some(has) if asked.is_some_and(|asked| asked.nano() == has.nano()) => {}
            Some(has) => drop(amounts.insert(name.to_owned(), has.to_string().into())),
            None => drop(amounts.remove(name)),
        }
    }
    amounts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_those_of_the_node_in_the_spelling_of_the_spec() {
        for (asked, cpu, memory, expected) in [
            (json!(null), None, None, json!({})),
            (
                json!({"cpu": "100m", "memory": "1G"}),
                Some(100),
                Some(1_000_000_000),
                json!({"cpu": "100m", "memory": "1G"}),
            ),
            (
                json!({"cpu": "100m", "ephemeral-storage": "1"}),
                Some(1500),
                None,
                json!({"cpu": "1500m", "ephemeral-storage": "1"}),
            ),
            (json!({"memory": "1Gi", "cpu": "1"}), None, Some(64 << 20), json!({"memory": "64Mi"})),
        ] {
            assert_eq!(Value::from(with_amounts(&asked, cpu, memory)), expected, "{asked}");
        }
    }
}
