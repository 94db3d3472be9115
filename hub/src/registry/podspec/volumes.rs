//! Validation of volumes and of where they are mounted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::env::field_ref;
use super::resources::quantity;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, is_true, list, text};
use crate::registry::names::{config_key, dns_label};

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const DOWNWARD_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Validates `volumes`.
pub(super) fn volumes(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(i);
        match text(volume, "name") {
            "" => errors.required(&path.child("name"), ""),
            name => {
                errors.invalid_text(&path.child("name"), name, dns_label(name));
                if !names.insert(name) {
                    errors.duplicate(&path.child("name"), quoted(name));
                }
            }
        }
        source(volume, &path, errors);
    }
}

fn source(volume: &Value, path: &Path, errors: &mut Errors) {
    let mut sources = volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null());
    let Some((kind, source)) = sources.next() else {
        return errors.required(path, "must specify a volume type");
    };
    for (kind, _) in sources {
        errors.forbidden(&path.child(kind), "may not specify more than 1 volume type");
    }
    let path = path.child(kind);
    match kind.as_str() {
        "hostPath" => host_path(source, &path, errors),
        "emptyDir" => {
            if let Some(limit) = get(source, "sizeLimit") {
                quantity(limit, &path.child("sizeLimit"), errors);
            }
        }
        "secret" => {
            named(source, "secretName", &path, errors);
            files(source, &path, errors);
        }
        "configMap" => {
            named(source, "name", &path, errors);
            files(source, &path, errors);
        }
        "persistentVolumeClaim" => named(source, "claimName", &path, errors),
        "downwardAPI" => {
            mode(source, "defaultMode", &path, errors);
            downward_items(source, &path, errors);
        }
        "projected" => projected(source, &path, errors),
        _ => {}
    }
}

fn named(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if text(source, field).is_empty() {
        errors.required(&path.child(field), "");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    match text(source, "path") {
        "" => errors.required(&path.child("path"), ""),
        text if steps_back(text) => errors.invalid(&path.child("path"), quoted(text), "must not contain '..'"),
        _ => {}
    }
    let kind = text(source, "type");
    if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &TYPES);
    }
}

fn files(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        match text(item, "key") {
            "" => errors.required(&path.child("key"), ""),
            key => errors.invalid_text(&path.child("key"), key, config_key(key)),
        }
        relative_file(item, &path, errors);
    }
}

fn downward_items(source: &Value, path: &Path, errors: &mut Errors) {
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        relative_file(item, &path, errors);
        if let Some(field) = get(item, "fieldRef") {
            field_ref(field, &DOWNWARD_FIELDS, &path.child("fieldRef"), errors);
        } else if get(item, "resourceFieldRef").is_none() {
            errors.required(&path, "one of fieldRef and resourceFieldRef is required");
        }
    }
}

fn projected(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    let (whole, mut paths) = (path.clone(), BTreeSet::new());
    for (i, source) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        for kind in ["secret", "configMap"] {
            if let Some(source) = get(source, kind) {
                named(source, "name", &path.child(kind), errors);
                files(source, &path.child(kind), errors);
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
        if source.as_object().is_some_and(|s| s.values().filter(|v| !v.is_null()).count() > 1) {
            errors.forbidden(&path, "may not specify more than 1 volume type");
        }
    }
}

/// No two items are at one path; the error shows the object's name, or the path where there is none.
fn unique_paths<'a>(
    source: &'a Value,
    name: Option<&str>,
    paths: &mut BTreeSet<&'a str>,
    path: &Path,
    errors: &mut Errors,
) {
    for item in list(source, "items").iter().map(|i| text(i, "path")).filter(|p| !p.is_empty()) {
        if !paths.insert(item) {
            errors.invalid(path, quoted(name.unwrap_or(item)), "conflicting duplicate paths");
        }
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

fn relative_file(item: &Value, path: &Path, errors: &mut Errors) {
    mode(item, "mode", path, errors);
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

fn steps_back(path: &str) -> bool {
    path.split('/').any(|step| step == "..")
}

/// A relative path that does not leave its directory.
fn descending(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path, quoted(text), "must be a relative path");
    }
    if steps_back(text) {
        errors.invalid(path, quoted(text), "must not contain '..'");
    }
}

/// Validates the `volumeMounts` of a container.
pub(super) fn mounts(container: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut points = BTreeSet::new();
    // Kubernetes names these two without the mount's index.
    let (sub_path, sub_path_expr) = (path.child("subPath"), path.child("subPathExpr"));
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.index(i);
        match text(mount, "name") {
            name if volumes.contains(name) && !name.is_empty() => {}
            name => {
                if name.is_empty() {
                    errors.required(&path.child("name"), "");
                }
                errors.not_found(&path.child("name"), name);
            }
        }
        match text(mount, "mountPath") {
            "" => errors.required(&path.child("mountPath"), ""),
            point if !points.insert(point) => errors.invalid(&path.child("mountPath"), quoted(point), "must be unique"),
            _ => {}
        }
        let (below, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        descending(below, &sub_path, errors);
        descending(expression, &sub_path_expr, errors);
        if !below.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path.child("subPathExpr"), quoted(expression), detail);
        }
        propagation(container, mount, &path, errors);
        recursive_read_only(mount, &path, errors);
    }
}

fn propagation(container: &Value, mount: &Value, path: &Path, errors: &mut Errors) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let path = path.child("mountPropagation");
    let mode = text(mount, "mountPropagation");
    if !mode.is_empty() && !MODES.contains(&mode) {
        errors.not_supported(&path, mode, &MODES);
    }
    let privileged = get(container, "securityContext").is_some_and(|s| is_true(s, "privileged"));
    if mode == "Bidirectional" && !privileged {
        errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(mount: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("recursiveReadOnly");
    match text(mount, "recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !is_true(mount, "readOnly") {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                errors.forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources() {
        let table = [
            (json!({"name": "v", "emptyDir": {}}), vec![]),
            (json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "a/b"}]}}), vec![]),
            (json!({"name": "v"}), vec!["volumes[0]: Required value: must specify a volume type"]),
            (
                json!({"name": "V", "emptyDir": {}}).clone(),
                vec!["volumes[0].name: Invalid value: \"V\": a lowercase RFC 1123 label must consist of"],
            ),
            (
                json!({"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}),
                vec!["volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
            ),
            (json!({"name": "v", "secret": {}}), vec!["volumes[0].secret.secretName: Required value"]),
            (
                json!({"name": "v", "hostPath": {"path": "/a/../b"}}),
                vec!["volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}),
                vec![
                    "volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "/a"}]}}),
                vec!["volumes[0].configMap.items[0].path: Invalid value: \"/a\": must be a relative path"],
            ),
            (
                json!({"name": "v", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 599}},
                    {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}},
                    {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}, "secret": {"name": "s"}},
                    {"serviceAccountToken": {"path": "../t", "expirationSeconds": 600}},
                ]}}),
                vec![
                    "volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                    "volumes[0].projected: Invalid value: \"c\": conflicting duplicate paths",
                    "volumes[0].projected.sources[2]: Forbidden: may not specify more than 1 volume type",
                    "volumes[0].projected.path: Invalid value: \"../t\": must not contain '..'",
                ],
            ),
        ];
        for (volume, expected) in table {
            let mut errors = Errors::default();
            volumes(&json!({"volumes": [volume]}), &Path::new("volumes"), &mut errors);
            let found = errors.into_vec();
            assert_eq!(found.len(), expected.len(), "{volume}: {found:?}");
            for (error, text) in found.iter().zip(expected) {
                assert!(error.to_string().starts_with(text), "{error} should be {text}");
            }
        }
    }

    #[test]
    fn mounts_name_volumes() {
        let mut errors = Errors::default();
        let container = json!({"volumeMounts": [
            {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "../x"},
        ]});
        mounts(&container, &BTreeSet::from(["v"]), &Path::new("m"), &mut errors);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "m[1].name: Not found: \"w\"",
                "m[1].mountPath: Invalid value: \"/a\": must be unique",
                "m.subPath: Invalid value: \"../x\": must not contain '..'",
            ]
        );
    }
}
