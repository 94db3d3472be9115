//! Validation of volumes and of where they are mounted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::env::field_ref;
use super::resources::quantity;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, list, text};
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
    for (i, source) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        for kind in ["secret", "configMap"] {
            if let Some(source) = get(source, kind) {
                named(source, "name", &path.child(kind), errors);
                files(source, &path.child(kind), errors);
            }
        }
        if let Some(source) = get(source, "downwardAPI") {
            downward_items(source, &path.child("downwardAPI"), errors);
        }
        if let Some(source) = get(source, "serviceAccountToken") {
            named(source, "path", &path.child("serviceAccountToken"), errors);
        }
    }
}

fn relative_file(item: &Value, path: &Path, errors: &mut Errors) {
    mode(item, "mode", path, errors);
    match text(item, "path") {
        "" => errors.required(&path.child("path"), ""),
        file => {
            descending(file, &path.child("path"), errors);
            if file.starts_with("..") {
                errors.invalid(&path.child("path"), quoted(file), "must not start with '..'");
            }
        }
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
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.index(i);
        match text(mount, "name") {
            "" => errors.required(&path.child("name"), ""),
            name if volumes.contains(name) => {}
            name => errors.not_found(&path.child("name"), name),
        }
        match text(mount, "mountPath") {
            "" => errors.required(&path.child("mountPath"), ""),
            point if !points.insert(point) => errors.invalid(&path.child("mountPath"), quoted(point), "must be unique"),
            _ => {}
        }
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        descending(sub_path, &path.child("subPath"), errors);
        if !sub_path.is_empty() && !expression.is_empty() {
            errors.invalid(
                &path.child("subPathExpr"),
                quoted(expression),
                "subPathExpr and subPath are mutually exclusive",
            );
        }
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
                "m[2].subPath: Invalid value: \"../x\": must not contain '..'",
            ]
        );
    }
}
