//! Events of both versions.

use super::*;
use serde_json::json;

const NOW: i64 = 1_767_225_600;

fn old_event() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default", "fieldPath": "spec.containers{web}"},
        "reason": "Pulled", "message": "Successfully pulled image\n", "type": "Normal", "count": 3,
        "firstTimestamp": "2025-12-31T23:50:00Z", "lastTimestamp": "2025-12-31T23:59:30Z",
        "source": {"component": "kubelet", "host": "n1"}, "reportingComponent": "kubelet", "reportingInstance": "n1",
    })
}

fn new_event() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "web.2", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reason": "Scheduled", "note": "Successfully assigned default/web to n1", "type": "Normal", "action": "Binding",
        "eventTime": "2025-12-31T23:59:00.000000Z", "reportingController": "default-scheduler", "reportingInstance": "hub",
    })
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn both_views_convert_without_loss() {
    let newer = from_stored(old_event());
    assert_eq!(newer["note"], "Successfully pulled image\n");
    assert_eq!(newer["regarding"]["name"], "web");
    assert_eq!(newer["deprecatedSource"], json!({"component": "kubelet", "host": "n1"}));
    assert_eq!(newer["deprecatedCount"], 3);
    assert_eq!(newer["reportingController"], "kubelet");
    assert_eq!(newer.get("involvedObject"), None);
    assert_eq!(to_stored(newer), old_event());
    assert_eq!(from_stored(to_stored(new_event())), new_event());
}

#[test]
fn printed() {
    let cells = row(&old_event(), NOW);
    assert_eq!(
        cells,
        [
            json!("30s"),
            json!("Normal"),
            json!("Pulled"),
            json!("pod/web"),
            json!("spec.containers{web}"),
            json!("kubelet, n1"),
            json!("Successfully pulled image"),
            json!("10m"),
            json!(3),
            json!("web.1"),
        ]
    );
    assert_eq!(cells.len(), COLUMNS.len());
    let cells = row(&new_event(), NOW);
    assert_eq!(cells[0], "60s");
    assert_eq!(cells[5], "default-scheduler, hub");
    assert_eq!(cells[7..9], [json!("60s"), json!(1)]);
    let mut repeated = new_event();
    repeated["series"] = json!({"count": 7, "lastObservedTime": "2025-12-31T23:59:50.000000Z"});
    assert_eq!(row(&repeated, NOW)[0], "10s");
    assert_eq!(row(&repeated, NOW)[8], 7);
}

#[test]
fn selectable() {
    let stored = to_stored(new_event());
    for (path, value) in [
        ("involvedObject.name", Some("web")),
        ("regarding.kind", Some("Pod")),
        ("reason", Some("Scheduled")),
        ("source", Some("default-scheduler")),
        ("reportingController", Some("default-scheduler")),
        ("type", Some("Normal")),
        ("involvedObject.uid", Some("")),
        ("involvedObject.color", None),
        ("message", None),
    ] {
        assert_eq!(field(&stored, path).as_deref(), value, "{path}");
    }
}

#[test]
fn old_events_are_checked_lightly() {
    assert_eq!(validate(&old_event(), None), []);
    let mut elsewhere = old_event();
    elsewhere["involvedObject"]["namespace"] = json!("other");
    assert_eq!(
        texts(&validate(&elsewhere, None)),
        ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"]
    );
    elsewhere["involvedObject"]["namespace"] = json!("");
    assert_eq!(validate(&elsewhere, None), []);
}

#[test]
fn new_events_are_checked_strictly() {
    assert_eq!(validate_strictly(&new_event(), None), []);
    let mut event = new_event();
    json_patch::merge(
        &mut event,
        &json!({"action": null, "type": "Odd", "deprecatedCount": 2, "series": {"count": 1}}),
    );
    assert_eq!(
        texts(&validate_strictly(&event, None)),
        [
            "action: Required value",
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
            "type: Invalid value: \"\": has invalid value: Odd",
            "count: Invalid value: \"\": needs to be unset",
        ]
    );
    let mut changed = new_event();
    changed["note"] = json!("other");
    assert_eq!(
        texts(&validate_strictly(&changed, Some(&new_event()))),
        ["message: Invalid value: \"other\": field is immutable"]
    );
}
