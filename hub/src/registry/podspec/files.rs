//! Validation of volumes that are files made of objects: secrets, config maps, fields of the pod, tokens.

use std::collections::BTreeSet;

use serde_json::Value;

use super::env::{field_ref, resource_field_ref};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, list, text};
use crate::registry::objectmeta::label_selector;

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const DOWNWARD_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Validates a `secret` or `configMap`, whose name is in `field`.
pub(super) fn of_object(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    named(source, field, path, errors);
    mode(source, "defaultMode", path, errors);
    keys(source, path, errors);
}

fn named(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if text(source, field).is_empty() {
        errors.required(&path.child(field), "");
    }
}

fn keys(source: &Value, path: &Path, errors: &mut Errors) {
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        named(item, "key", &path, errors);
        file_path(item, &path, errors);
        mode(item, "mode", &path, errors);
    }
}

/// Validates a `downwardAPI`.
pub(super) fn downward(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    downward_items(source, path, errors);
}

/// Kubernetes names the volume here, not the item.
fn downward_items(source: &Value, path: &Path, errors: &mut Errors) {
    for item in list(source, "items") {
        file_path(item, path, errors);
        match (get(item, "fieldRef"), get(item, "resourceFieldRef")) {
            (Some(field), resource) => {
                field_ref(field, &DOWNWARD_FIELDS, &path.child("fieldRef"), errors);
                if resource.is_some() {
                    let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.invalid(path, quoted("resource"), detail);
                }
            }
            (None, Some(resource)) => resource_field_ref(resource, true, &path.child("resourceFieldRef"), errors),
            (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", path, errors);
    }
}

/// Validates a `projected`.
pub(super) fn projected(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    let (whole, mut paths) = (path.clone(), BTreeSet::new());
    for (i, source) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        for kind in ["secret", "configMap"] {
            if let Some(source) = get(source, kind) {
                named(source, "name", &path.child(kind), errors);
                keys(source, &path.child(kind), errors);
                unique_paths(source, Some(text(source, "name")), &mut paths, &whole, errors);
            }
        }
        if let Some(source) = get(source, "downwardAPI") {
            downward_items(source, &path.child("downwardAPI"), errors);
            unique_paths(source, None, &mut paths, &whole, errors);
        }
        if let Some(source) = get(source, "serviceAccountToken") {
            token(source, &path.child("serviceAccountToken"), &whole, errors);
        }
        if let Some(source) = get(source, "clusterTrustBundle") {
            trust_bundle(source, &path.child("clusterTrustBundle"), errors);
            unique(text(source, "path"), None, &mut paths, &whole, errors);
        }
        if source.as_object().is_some_and(|s| s.values().filter(|v| !v.is_null()).count() > 1) {
            errors.forbidden(&path, "may not specify more than 1 volume type per source");
        }
    }
}

fn unique_paths<'a>(
    source: &'a Value,
    name: Option<&str>,
    paths: &mut BTreeSet<&'a str>,
    path: &Path,
    errors: &mut Errors,
) {
    for item in list(source, "items").iter().map(|i| text(i, "path")).filter(|p| !p.is_empty()) {
        unique(item, name, paths, path, errors);
    }
}

/// No two items are at one path; the error shows the object's name, or the path where there is none.
fn unique<'a>(item: &'a str, name: Option<&str>, paths: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    if !paths.insert(item) {
        errors.invalid(path, quoted(name.unwrap_or(item)), "conflicting duplicate paths");
    }
}

/// `whole` is the volume's path, by which Kubernetes names a wrong `path`.
fn token(source: &Value, path: &Path, whole: &Path, errors: &mut Errors) {
    let seconds = int(source, "expirationSeconds").unwrap_or(0);
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(&path.child("expirationSeconds"), seconds.to_string(), detail);
    } else if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&path.child("expirationSeconds"), seconds.to_string(), detail);
    }
    match text(source, "path") {
        "" => errors.required(&whole.child("path"), ""),
        file => local(file, &whole.child("path"), errors),
    }
}

fn trust_bundle(source: &Value, path: &Path, errors: &mut Errors) {
    let selector = get(source, "labelSelector");
    match (get(source, "name"), get(source, "signerName")) {
        (Some(_), Some(_)) => {
            errors.invalid(path, source.to_string(), "only one of name and signerName may be used");
        }
        (Some(_), None) => {
            if text(source, "name").is_empty() {
                errors.required(&path.child("name"), "must be a valid object name");
            }
            if let Some(selector) = selector {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), selector.to_string(), detail);
            }
        }
        (None, Some(_)) => {
            if text(source, "signerName").is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            if let Some(selector) = selector {
                label_selector(selector, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    file_path(source, path, errors);
}

/// The `path` of a file within its volume.
fn file_path(item: &Value, path: &Path, errors: &mut Errors) {
    match text(item, "path") {
        "" => errors.required(&path.child("path"), ""),
        file => local(file, &path.child("path"), errors),
    }
}

/// A relative path that stays in its volume, and out of the way of the names that nodes use there.
fn local(file: &str, path: &Path, errors: &mut Errors) {
    descending(file, path, errors);
    if file.starts_with("..") && !file.starts_with("../") {
        errors.invalid(path, quoted(file), "must not start with '..'");
    }
}

fn mode(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = int(source, field).filter(|m| !(0..=0o777).contains(m)) {
        errors.invalid(&path.child(field), mode.to_string(), MODE_RANGE);
    }
}

/// Whether a path has an element `..`.
pub(super) fn steps_back(path: &str) -> bool {
    path.split('/').any(|step| step == "..")
}

/// Validates a relative path that does not leave its directory.
pub(super) fn descending(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path, quoted(text), "must be a relative path");
    }
    if steps_back(text) {
        errors.invalid(path, quoted(text), "must not contain '..'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Check = fn(&Value, &Path, &mut Errors);

    #[test]
    fn files_of_objects() {
        let table: [(Check, Value, Vec<&str>); 5] = [
            (
                |v, p, e| of_object(v, "secretName", p, e),
                json!({"items": [{"mode": 512}, {"key": "a b", "path": "/a"}, {"key": "k", "path": "..a"}]}),
                vec![
                    "v.secretName: Required value",
                    "v.items[0].key: Required value",
                    "v.items[0].path: Required value",
                    "v.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                    "v.items[1].path: Invalid value: \"/a\": must be a relative path",
                    "v.items[2].path: Invalid value: \"..a\": must not start with '..'",
                ],
            ),
            (
                downward,
                json!({"items": [{"path": "p"}, {"path": "q", "resourceFieldRef": {"resource": "limits.cpu"}}]}),
                vec![
                    "v: Required value: one of fieldRef and resourceFieldRef is required",
                    "v.resourceFieldRef.containerName: Required value",
                ],
            ),
            (
                downward,
                json!({"items": [{"path": "p", "resourceFieldRef": {}, "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}]}),
                vec![
                    "v.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
                    "v: Invalid value: \"resource\": fieldRef and resourceFieldRef can not be specified simultaneously",
                ],
            ),
            (
                projected,
                json!({"sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 599}},
                    {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}},
                    {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}, "secret": {"name": "s"}},
                    {"serviceAccountToken": {"path": "../t", "expirationSeconds": 600}},
                ]}),
                vec![
                    "v.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                    "v: Invalid value: \"c\": conflicting duplicate paths",
                    "v.sources[2]: Forbidden: may not specify more than 1 volume type per source",
                    "v.path: Invalid value: \"../t\": must not contain '..'",
                ],
            ),
            (
                projected,
                json!({"sources": [{"clusterTrustBundle": {}}]}),
                vec![
                    "v.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified",
                    "v.sources[0].clusterTrustBundle.path: Required value",
                ],
            ),
        ];
        for (check, value, expected) in table {
            let mut errors = Errors::default();
            check(&value, &Path::new("v"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{value}");
        }
    }
}
