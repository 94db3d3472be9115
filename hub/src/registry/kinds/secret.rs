//! `v1` Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::configmap::{SIZE_MAX, decoded_length, immutable};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, ensure, entries, get, remove, set, set_default, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Secret",
        list_kind: "SecretList",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.Secret",
        storage: "secrets".into(),
        hooks: Hooks {
            default,
            validate,
            field: |secret, path| (path == "type").then(|| text(secret, "type").to_owned()),
            columns: &[NAME, TYPE, DATA, AGE],
            row,
            ..PLAIN
        },
    }
}

const TYPE: Column = text_column("Type", "Used to facilitate programmatic handling of secret data.");
const DATA: Column = text_column(
    "Data",
    "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'.",
);

fn default(secret: &mut Value) {
    set_default(secret, "type", "Opaque");
    let Some(plain) = remove(secret, "stringData") else { return };
    if entries(Some(&plain)).next().is_none() {
        return;
    }
    if let Some(data) = ensure(secret, "data") {
        for (key, value) in entries(Some(&plain)) {
            set(data, key, STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }
}

fn validate(secret: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(secret, old, true, names::dns_subdomain, &mut errors);
    if let Some(old) = old {
        errors.immutable(&Path::new("type"), secret.get("type"), old.get("type"));
        immutable(secret, old, &["data"], &mut errors);
    }
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in entries(secret.get("data")) {
        errors.invalid_text(&path.key(key), key, names::config_key(key));
        size += decoded_length(value, &path.key(key), &mut errors);
    }
    if size > SIZE_MAX {
        errors.too_long(&path, SIZE_MAX);
    }
    by_type(secret, &path, &mut errors);
    errors.into_vec()
}

fn by_type(secret: &Value, path: &Path, errors: &mut Errors) {
    let value = |key: &str| at(secret, &["data", key]).and_then(Value::as_str);
    match text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if at(secret, &["metadata", "annotations", ACCOUNT]).is_none_or(|v| v.as_str() == Some("")) {
                errors.required(&Path::new("metadata").child("annotations").key(ACCOUNT), "");
            }
        }
        "kubernetes.io/dockercfg" => docker_config(value(".dockercfg"), &path.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => {
            docker_config(value(".dockerconfigjson"), &path.key(".dockerconfigjson"), errors);
        }
        "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
            // Either may be empty, but one must be there.
            for key in ["username", "password"] {
                errors.required(&path.key(key), "");
            }
        }
        "kubernetes.io/ssh-auth" if value("ssh-privatekey").unwrap_or("").is_empty() => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if value(key).is_none() {
                    errors.required(&path.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn docker_config(value: Option<&str>, path: &Path, errors: &mut Errors) {
    let Some(value) = value else { return errors.required(path, "") };
    let Ok(bytes) = STANDARD.decode(value) else { return };
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.invalid(path, quoted("<secret contents redacted>"), error.to_string());
    }
}

fn row(secret: &Value, now: i64) -> Vec<Value> {
    let keys = entries(get(secret, "data")).count();
    vec![printers::name(secret), text(secret, "type").into(), keys.into(), printers::age(secret, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(fields: Value) -> Value {
        let mut secret = json!({"metadata": {"name": "s", "namespace": "d"}});
        json_patch::merge(&mut secret, &fields);
        default(&mut secret);
        secret
    }

    fn check(fields: Value, old: Option<&Value>) -> Vec<String> {
        validate(&secret(fields), old).iter().map(|e| e.to_string().chars().take(80).collect()).collect()
    }

    #[test]
    fn plain_text_is_encoded() {
        let secret = secret(json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "3"}}));
        assert_eq!(secret["data"], json!({"a": "MQ==", "b": "Mw=="}));
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret.get("stringData"), None);
        assert_eq!(row(&secret, 0)[1..3], [json!("Opaque"), json!(2)]);
    }

    #[test]
    fn validation() {
        let table = [
            (json!({"data": {"a": "MQ=="}}), vec![]),
            (
                json!({"data": {"a": "x".repeat(3)}}),
                vec!["data[a]: Invalid value: \"<redacted>\": illegal base64 data: Invalid padding"],
            ),
            (
                json!({"data": {"a": STANDARD.encode("x".repeat(SIZE_MAX + 1))}}),
                vec!["data: Too long: may not be more than 1048576 bytes"],
            ),
            (json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), vec!["data[tls.key]: Required value"]),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "no"}}),
                vec!["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": expected i"],
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(check(fields.clone(), None), expected, "{:.80}", fields.to_string());
        }
    }

    #[test]
    fn the_type_stays() {
        let old = secret(json!({}));
        assert_eq!(check(json!({"type": "x"}), Some(&old)), ["type: Invalid value: \"x\": field is immutable"]);
    }
}
