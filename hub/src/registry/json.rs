//! Reading and filling JSON objects. A missing field and `null` are the same; a field of another type reads as missing,
//! because types are checked when a request is decoded.

use serde_json::{Map, Value};

/// A field that is there and not `null`.
pub(crate) fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|v| !v.is_null())
}

/// A field by its path.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| get(value, field))
}

/// A text; empty when missing.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or("")
}

/// A text by its path; empty when missing.
pub(crate) fn text_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or("")
}

/// An integer.
pub(crate) fn int(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

/// An integer by its path.
pub(crate) fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// Whether a boolean field is `true`.
pub(crate) fn is_true(object: &Value, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// The items of a list; none when missing.
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of a list by its path; none when missing.
pub(crate) fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of a map; none when missing.
pub(crate) fn entries(map: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    map.and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// The texts of a list; other items are left out.
pub(crate) fn texts<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    list(object, field).iter().filter_map(Value::as_str).collect()
}

/// Sets a field; does nothing when `object` is no object.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// Sets a field that is missing, `null` or an empty text.
pub(crate) fn set_default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if get(object, field).is_none_or(|v| v.as_str() == Some("")) {
        set(object, field, value);
    }
}

/// Sets a field that is missing or `null`: for texts that may be given empty.
pub(crate) fn set_missing(object: &mut Value, field: &str, value: impl Into<Value>) {
    if get(object, field).is_none() {
        set(object, field, value);
    }
}

/// Sets an integer that is missing or 0.
pub(crate) fn set_default_nonzero(object: &mut Value, field: &str, value: i64) {
    if get(object, field).is_none_or(|v| v.as_i64() == Some(0)) {
        set(object, field, value);
    }
}

/// Takes a field out.
pub(crate) fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.as_object_mut().and_then(|map| map.remove(field))
}

/// Gives `to` the field of `from`, or takes it out.
pub(crate) fn copy(to: &mut Value, from: &Value, field: &str) {
    match get(from, field) {
        Some(value) => set(to, field, value.clone()),
        None => drop(remove(to, field)),
    }
}

/// A field that is there, for change.
pub(crate) fn get_mut<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    object.get_mut(field).filter(|v| !v.is_null())
}

/// An object field for change, made when missing; `None` when `object` is no object.
pub(crate) fn ensure<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let entry = object.as_object_mut()?.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    Some(entry)
}

/// The items of a list, for change.
pub(crate) fn items_mut<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Fields that tell `false` or 0 from being unset (pointers in Go).
const TELL_ZERO: [&str; 20] = [
    "activeDeadlineSeconds",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "defaultMode",
    "enableServiceLinks",
    "fsGroup",
    "hostUsers",
    "immutable",
    "mode",
    "optional",
    "priority",
    "privileged",
    "readOnlyRootFilesystem",
    "replicas",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "shareProcessNamespace",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

/// Equality as Kubernetes' semantic equality has it: missing, `null`, `""`, empty list and empty map are the same, and
/// so are `false` and 0 where Go would leave them out.
pub(crate) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            x.iter().all(|(k, v)| same_field(k, Some(v), y.get(k)))
                && y.iter().all(|(k, v)| x.contains_key(k) || same_field(k, None, Some(v)))
        }
        (Some(Value::Array(x)), Some(Value::Array(y))) => {
            x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(Some(v), Some(w)))
        }
        (Some(x), Some(y)) if x == y => true,
        (x, y) => is_empty(x) && is_empty(y),
    }
}

fn same_field(field: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    let there = |v: Option<&Value>| v.is_some_and(|v| !v.is_null());
    (!TELL_ZERO.contains(&field) || there(a) == there(b)) && same(a, b)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::Bool(true)) => false,
        Some(Value::Number(n)) => n.as_i64() == Some(0),
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.iter().all(|(k, v)| same_field(k, None, Some(v))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_and_empty_are_the_same() {
        for (a, b, equal) in [
            (json!({"a": null}), json!({}), true),
            (json!({"a": {"b": []}}), json!({}), true),
            (json!({"a": {"b": [1]}}), json!({"a": {"b": [1], "c": ""}}), true),
            (json!({"a": [1, 2]}), json!({"a": [1]}), false),
            (json!({"a": "x"}), json!({"a": "y"}), false),
            (json!({"a": true}), json!({}), false),
            (json!({"a": false}), json!({}), true),
            (json!({"runAsUser": 0}), json!({}), false),
            (json!({"a": {"runAsUser": 0}}), json!({}), false),
            (json!({"runAsUser": null}), json!({}), true),
        ] {
            assert_eq!(same(Some(&a), Some(&b)), equal, "{a} {b}");
            assert_eq!(same(Some(&b), Some(&a)), equal, "{b} {a}");
        }
    }

    #[test]
    fn defaults_fill_only_what_is_unset() {
        let mut object = json!({"a": "", "b": null, "c": "kept", "d": 0});
        for field in ["a", "b", "c", "e"] {
            set_default(&mut object, field, "new");
        }
        set_default(&mut object, "d", 5);
        assert_eq!(object, json!({"a": "new", "b": "new", "c": "kept", "d": 0, "e": "new"}));
        set_default_nonzero(&mut object, "d", 5);
        assert_eq!(object["d"], 5);
    }

    #[test]
    fn other_types_are_left_alone() {
        let mut text = json!("no object");
        set(&mut text, "a", 1);
        assert!(ensure(&mut text, "a").is_none());
        assert_eq!(text, json!("no object"));
    }
}
