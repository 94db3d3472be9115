//! `v1` ConfigMap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{entries, get, is_true, same};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// What the values of a ConfigMap or Secret may take together.
pub(super) const SIZE_MAX: usize = 1 << 20;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        list_kind: "ConfigMapList",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.ConfigMap",
        storage: "configmaps".into(),
        hooks: Hooks { validate, columns: &[NAME, DATA, AGE], row, ..PLAIN },
    }
}

const DATA: Column = text_column(
    "Data",
    "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'.",
);

fn validate(map: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(map, old, true, names::dns_subdomain, &mut errors);
    let mut size = 0;
    let binary = get(map, "binaryData");
    for (key, value) in entries(map.get("data")) {
        let path = Path::new("data").key(key);
        errors.invalid_text(&path, key, names::config_key(key));
        if binary.is_some_and(|b| b.get(key).is_some()) {
            errors.invalid(&path, quoted(key), "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(binary) {
        let path = Path::new("binaryData").key(key);
        errors.invalid_text(&path, key, names::config_key(key));
        size += decoded_length(value, &path, &mut errors);
    }
    if size > SIZE_MAX {
        // The empty field says that the whole object is meant.
        errors.too_long(&Path::whole(), SIZE_MAX);
    }
    if let Some(old) = old {
        immutable(map, old, &["data", "binaryData"], &mut errors);
    }
    errors.into_vec()
}

/// The length of a base64 value once decoded; an error when it is none.
pub(super) fn decoded_length(value: &Value, path: &Path, errors: &mut Errors) -> usize {
    match STANDARD.decode(value.as_str().unwrap_or("")) {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            errors.invalid(path, quoted("<redacted>"), format!("illegal base64 data: {error}"));
            0
        }
    }
}

/// Validates that nothing changes in an object that is marked as immutable.
pub(super) fn immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if !is_true(old, "immutable") {
        return;
    }
    if !is_true(new, "immutable") {
        errors.forbidden(&Path::new("immutable"), IMMUTABLE);
    }
    for field in fields {
        if !same(get(new, field), get(old, field)) {
            errors.forbidden(&Path::new(field), IMMUTABLE);
        }
    }
}

fn row(map: &Value, now: i64) -> Vec<Value> {
    let keys = entries(map.get("data")).count() + entries(map.get("binaryData")).count();
    vec![printers::name(map), keys.into(), printers::age(map, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(fields: Value) -> Value {
        let mut map = json!({"metadata": {"name": "c", "namespace": "d"}});
        json_patch::merge(&mut map, &fields);
        map
    }

    fn check(new: Value, old: Option<Value>) -> Vec<String> {
        let old = old.map(map);
        validate(&map(new), old.as_ref()).iter().map(|e| e.to_string().chars().take(80).collect()).collect()
    }

    #[test]
    fn keys_and_sizes() {
        assert_eq!(check(json!({"data": {"a.b": "c"}, "binaryData": {"d": "AAEC"}}), None), Vec::<String>::new());
        assert_eq!(
            check(json!({"data": {"a b": "c"}}), None),
            ["data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric",]
        );
        assert_eq!(
            check(json!({"data": {"a": ""}, "binaryData": {"a": ""}}), None),
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData",]
        );
        assert_eq!(
            check(json!({"data": {"a": "x".repeat(SIZE_MAX + 1)}}), None),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
        assert_eq!(check(json!({"data": {"a": "x".repeat(SIZE_MAX)}}), None), Vec::<String>::new());
    }

    #[test]
    fn immutable_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(check(old.clone(), Some(old.clone())), Vec::<String>::new());
        assert_eq!(
            check(json!({"data": {"a": "2"}}), Some(old)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }

    #[test]
    fn printed() {
        assert_eq!(row(&map(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": ""}})), 0)[1], 3);
    }
}
