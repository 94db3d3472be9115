//! Validation of a container's environment.

use serde_json::Value;

use super::resources::parse;
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
const KNOWN_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const BYTES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
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
        resource_field_ref(resource, false, &path.child("resourceFieldRef"), errors);
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
    let (version, name) = (text(field, "apiVersion"), text(field, "fieldPath"));
    let field_path = path.child("fieldPath");
    if version.is_empty() {
        return errors.required(&path.child("apiVersion"), "");
    }
    if name.is_empty() {
        return errors.required(&field_path, "");
    }
    if let Some(why) = unconvertible(version, name) {
        return errors.invalid(&field_path, quoted(name), format!("error converting fieldPath: {why}"));
    }
    match subscript(name) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.invalid_text(path, &key, qualified_name(&key));
        }
        Some((_, key)) => errors.invalid_text(path, key, qualified_name(key)),
        // The name of the field before v1.
        None if name == "spec.host" && supported.contains(&"spec.nodeName") => {}
        None if supported.contains(&name) => {}
        None => errors.not_supported(&field_path, name, supported),
    }
}

/// Why a field has no name in Kubernetes' own form of a pod.
fn unconvertible(version: &str, name: &str) -> Option<String> {
    if version != "v1" {
        return Some(format!("unsupported pod version: {version}"));
    }
    match subscript(name) {
        Some(("metadata.annotations" | "metadata.labels", _)) => None,
        Some((map, _)) => Some(format!("field label does not support subscript: {map}")),
        None if FIELD_PATHS.contains(&name) || KNOWN_FIELDS.contains(&name) || name == "spec.host" => None,
        None => Some(format!("field label not supported: {name}")),
    }
}

/// `a['b']` as `a` and `b`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']").and_then(|p| p.split_once("['"))
}

/// Validates a reference to what a container asks for; from a volume it names the container.
pub(super) fn resource_field_ref(reference: &Value, of_volume: bool, path: &Path, errors: &mut Errors) {
    let name = text(reference, "resource");
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if of_volume && text(reference, "containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if name.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !huge && !RESOURCES.contains(&name) {
        errors.not_supported(&path.child("resource"), name, &RESOURCES);
    }
    let divisor = get(reference, "divisor").and_then(parse).filter(|divisor| divisor.nano() != 0);
    if let Some(divisor) = divisor {
        check_divisor(name, &divisor.to_string(), &path.child("divisor"), errors);
    }
}

fn check_divisor(name: &str, divisor: &str, path: &Path, errors: &mut Errors) {
    let (values, resource) = match name.split_once('.').map_or("", |(_, resource)| resource) {
        "cpu" => ("1m and 1", "cpu"),
        "memory" => (BYTES, "memory"),
        "ephemeral-storage" => (BYTES, "local ephemeral storage"),
        resource if resource.starts_with("hugepages-") => (BYTES, "hugepages"),
        _ => return,
    };
    if !values.split(", ").flat_map(|value| value.split(" and ")).any(|value| value == divisor) {
        let detail = format!("only divisor's values {values} are supported with the {resource} resource");
        errors.invalid(path, quoted(name), detail);
    }
}

fn key_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    let name = text(reference, "name");
    errors.invalid_text(&path.child("name"), name, dns_subdomain(name));
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
                json!({"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}}}),
                vec![
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name\": error converting fieldPath: unsupported pod version: v2",
                ],
            ),
            (
                json!({"name": "A", "valueFrom": field("spec.nodeName['a']")}),
                vec![
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nodeName['a']\": error converting fieldPath: field label does not support subscript: spec.nodeName",
                ],
            ),
            (json!({"name": "A", "valueFrom": field("spec.host")}), vec![]),
            (
                json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}),
                vec![
                    "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
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
