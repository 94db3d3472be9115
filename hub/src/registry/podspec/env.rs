//! Validation of a container's environment.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, list, text};
use crate::registry::names::{config_key, dns_subdomain, env_name, qualified_name};

const FIELD_PATHS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// Fields of a pod that can be named, but not all from the environment.
const KNOWN_FIELDS: [&str; 7] = [
    "metadata.labels",
    "metadata.annotations",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.hostNetwork",
    "status.phase",
    "status.nominatedNodeName",
];
const MORE_THAN_ONE: &str = "may not have more than one field specified at a time";

/// Validates `env`.
pub(super) fn env(container: &Value, path: &Path, errors: &mut Errors) {
    for (i, variable) in list(container, "env").iter().enumerate() {
        let path = path.index(i);
        match text(variable, "name") {
            "" => errors.required(&path.child("name"), ""),
            name => errors.invalid_text(&path.child("name"), name, env_name(name)),
        }
        if let Some(source) = get(variable, "valueFrom") {
            value_from(source, !text(variable, "value").is_empty(), &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = get(source, "fieldRef") {
        sources += 1;
        field_ref(field, &FIELD_PATHS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = get(source, "resourceFieldRef") {
        sources += 1;
        resource_field_ref(resource, &path.child("resourceFieldRef"), errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = get(source, kind) {
            sources += 1;
            key_ref(reference, &path.child(kind), errors);
        }
    }
    if sources == 0 {
        errors.invalid(
            path,
            quoted(""),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if has_value {
        errors.invalid(path, quoted(""), "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, quoted(""), MORE_THAN_ONE);
    }
}

/// Validates a reference to a field of the pod, e.g. `metadata.labels['app']`.
pub(super) fn field_ref(field: &Value, supported: &[&str], path: &Path, errors: &mut Errors) {
    if text(field, "apiVersion").is_empty() {
        errors.required(&path.child("apiVersion"), "");
    }
    let name = text(field, "fieldPath");
    let path = path.child("fieldPath");
    if name.is_empty() {
        return errors.required(&path, "");
    }
    if let Some((map, key)) = subscript(name) {
        match map {
            "metadata.annotations" => errors.invalid_text(&path, key, qualified_name(&key.to_lowercase())),
            "metadata.labels" => errors.invalid_text(&path, key, qualified_name(key)),
            _ => errors.invalid(&path, quoted(map), "does not support subscript"),
        }
    } else if !FIELD_PATHS.contains(&name) && !KNOWN_FIELDS.contains(&name) {
        errors.invalid(&path, quoted(name), format!("error converting fieldPath: field label not supported: {name}"));
    } else if !supported.contains(&name) {
        errors.not_supported(&path, name, supported);
    }
}

/// `a['b']` as `a` and `b`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']").and_then(|p| p.split_once("['"))
}

fn resource_field_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    match text(reference, "resource") {
        "" => errors.required(&path.child("resource"), ""),
        name if RESOURCES.contains(&name) || name.contains("hugepages-") => {}
        name => errors.not_supported(&path.child("resource"), name, &RESOURCES),
    }
}

fn key_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    if text(reference, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    match text(reference, "key") {
        "" => errors.required(&path.child("key"), ""),
        key => errors.invalid_text(&path.child("key"), key, config_key(key)),
    }
}

/// Validates `envFrom`.
pub(super) fn env_from(container: &Value, path: &Path, errors: &mut Errors) {
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        let item = path.index(i);
        let prefix = text(source, "prefix");
        errors.invalid_text(&item.child("prefix"), prefix, env_name(prefix));
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = get(source, kind) else { continue };
            sources += 1;
            let path = item.child(kind).child("name");
            match text(reference, "name") {
                "" => errors.required(&path, ""),
                name => errors.invalid_text(&path, name, dns_subdomain(name)),
            }
        }
        // Kubernetes names the list here, not the item.
        match sources {
            0 => errors.invalid(path, quoted(""), "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, quoted(""), MORE_THAN_ONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(container: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        env(container, &Path::new("env"), &mut errors);
        env_from(container, &Path::new("envFrom"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn variables() {
        let field = |path: &str| json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}});
        let key = json!({"name": "c", "key": "k"});
        let table = [
            (json!({"name": "A", "value": "1"}), vec![]),
            (json!({"name": "A", "valueFrom": field("status.podIP")}), vec![]),
            (json!({"name": "A", "valueFrom": field("metadata.labels['app']")}), vec![]),
            (json!({"name": "A", "valueFrom": {"secretKeyRef": key}}), vec![]),
            (json!({"value": "1"}), vec!["env[0].name: Required value"]),
            (
                json!({"name": "A", "valueFrom": {}}),
                vec![
                    "env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                ],
            ),
            (
                json!({"name": "A", "value": "x", "valueFrom": {"secretKeyRef": key}}),
                vec!["env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
            ),
            (
                json!({"name": "A", "valueFrom": {"secretKeyRef": key, "configMapKeyRef": key}}),
                vec!["env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time"],
            ),
            (
                json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}),
                vec!["env[0].valueFrom.secretKeyRef.key: Required value"],
            ),
            (
                json!({"name": "A", "valueFrom": field("spec.nope")}),
                vec![
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nope\": error converting fieldPath: field label not supported: spec.nope",
                ],
            ),
            (
                json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gas"}}}),
                vec![
                    "env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.gas\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
                ],
            ),
        ];
        for (variable, expected) in table {
            assert_eq!(check(&json!({"env": [variable]})), expected, "{variable}");
        }
    }

    #[test]
    fn whole_objects() {
        for (source, expected) in [
            (json!({"configMapRef": {"name": "c"}}), vec![]),
            (json!({}), vec!["envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"]),
            (json!({"secretRef": {}}), vec!["envFrom[0].secretRef.name: Required value"]),
        ] {
            assert_eq!(check(&json!({"envFrom": [source]})), expected, "{source}");
        }
    }
}
