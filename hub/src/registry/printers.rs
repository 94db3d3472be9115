//! What printer rows have in common: ages, durations, label sets, columns.

use serde_json::Value;

use super::Column;
use super::excerpt::{Field, fields};
use super::json;

const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The name column.
pub const NAME: Column = Column { name: "Name", kind: "string", format: "name", description: NAME_TEXT, priority: 0 };
/// The age column.
pub const AGE: Column = text("Age", AGE_TEXT);
/// Columns of kinds that have none of their own.
pub const GENERIC: &[Column] =
    &[NAME, Column { name: "Created At", kind: "date", format: "", description: AGE_TEXT, priority: 0 }];

/// A text column.
pub const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

/// An integer column.
pub const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}

/// The same column, only shown by `-o wide`.
pub const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

/// The fields that rows of workloads look at: what they have in common, and the numbers of their status.
pub const WORKLOAD: &[Field] = fields! {
    metadata { name creationTimestamp }
    spec { replicas selector template { spec { containers { name image } } } }
    status { replicas readyReplicas updatedReplicas availableReplicas }
};

/// The row of kinds that have no columns of their own.
pub fn generic_row(object: &Value, _now: i64) -> Vec<Value> {
    vec![name(object), json::text_at(object, &["metadata", "creationTimestamp"]).into()]
}

/// The cell of [`NAME`].
pub fn name(object: &Value) -> Value {
    json::text_at(object, &["metadata", "name"]).into()
}

/// The cell of [`AGE`]; `now` in Unix seconds.
pub fn age(object: &Value, now: i64) -> Value {
    since(json::text_at(object, &["metadata", "creationTimestamp"]), now).into()
}

/// How long ago an RFC 3339 time was: `7m52s`; `<unknown>` when there is none.
pub fn since(time: &str, now: i64) -> String {
    seconds(time).map_or_else(|| "<unknown>".to_owned(), |then| human_duration(now.saturating_sub(then)))
}

/// An RFC 3339 time in Unix seconds.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// A duration in at most two units, as kubectl prints ages: `119s`, `7m52s`, `21m`, `3d4h`, `2y30d`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        // Clocks of two machines differ a little: a second in the future is now.
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two_units(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two_units(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two_units(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two_units(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// `text`, or `<none>` when it is empty.
pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A set of labels: `a=1,b=2`, or `<none>`.
pub fn labels(map: Option<&Value>) -> String {
    let mut pairs: Vec<String> =
        json::entries(map).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.sort();
    or_none(&pairs.join(",")).to_owned()
}

/// A `meta/v1.LabelSelector`: `a=1,b in (x,y),!c`, or `<none>`.
pub fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return "<none>".into() };
    let mut terms: Vec<(&str, String)> = json::entries(selector.get("matchLabels"))
        .map(|(k, v)| (k, format!("{k}={}", v.as_str().unwrap_or_default())))
        .collect();
    for requirement in json::list(selector, "matchExpressions") {
        let key = json::text(requirement, "key");
        let mut values = json::texts(requirement, "values");
        values.sort_unstable();
        let values = values.join(",");
        let term = match json::text(requirement, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".into(),
        };
        terms.push((key, term));
    }
    terms.sort_by_key(|(key, _)| *key);
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    or_none(&terms.join(",")).to_owned()
}

/// A field of each container of a pod template, joined by commas: names, images.
pub fn of_containers(object: &Value, field: &str) -> Value {
    let containers = json::list_at(object, &["spec", "template", "spec", "containers"]);
    containers.iter().map(|c| json::text(c, field)).collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn durations_print_as_kubectl_prints_them() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7 * MINUTE + 52, "7m52s"),
            (21 * MINUTE + 5, "21m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR + MINUTE, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (8 * DAY + HOUR, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (760 * DAY, "2y30d"),
            (8 * 365 * DAY + DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn ages_need_a_time() {
        assert_eq!(since("2026-01-01T00:00:00Z", 1_767_225_600 + 90), "90s");
        assert_eq!(since("2026-01-01T00:00:00.500000Z", 1_767_225_600 + 90), "90s");
        assert_eq!(since("", 0), "<unknown>");
        assert_eq!(since("soon", 0), "<unknown>");
    }

    #[test]
    fn label_sets_and_selectors() {
        assert_eq!(labels(Some(&json!({"b": "2", "a": "1"}))), "a=1,b=2");
        assert_eq!(labels(None), "<none>");
        for (value, text) in [
            (json!({"matchLabels": {"a": "1"}}), "a=1"),
            (
                json!({"matchLabels": {"z": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["y", "x"]}]}),
                "b in (x,y),z=1",
            ),
            (json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}), "!b"),
            (json!({"matchExpressions": [{"key": "b", "operator": "?"}]}), "<error>"),
            (json!({}), "<none>"),
        ] {
            assert_eq!(selector(Some(&value)), text);
        }
    }

    proptest! {
        #[test]
        fn every_duration_prints(seconds in any::<i64>()) {
            prop_assert!(human_duration(seconds).len() <= 24);
        }
    }
}
