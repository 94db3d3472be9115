//! Validation of where a container has its volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::files::{descending, steps_back};
use super::volumes::Volumes;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, is_true, list, text};

/// Validates the `volumeMounts` of a container.
pub(super) fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mut points = BTreeSet::new();
    let devices = list(container, "volumeDevices");
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let item = path.index(i);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&item.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&item.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&item.child("mountPath"), "");
        }
        if !points.insert(point) {
            errors.invalid(&item.child("mountPath"), quoted(point), "must be unique");
        }
        if devices.iter().any(|d| text(d, "name") == name) {
            errors.invalid(&item.child("name"), quoted(name), "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| text(d, "devicePath") == point) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(&item.child("mountPath"), quoted(point), detail);
        }
        let of_image = volumes.get(name).is_some_and(|v| get(v, "image").is_some());
        sub_paths(mount, of_image, path, &item, errors);
        propagation(container, mount, path, errors);
        recursive_read_only(mount, path, errors);
    }
}

/// Kubernetes names some of these without the mount's index.
fn sub_paths(mount: &Value, of_image: bool, path: &Path, item: &Path, errors: &mut Errors) {
    let fields = ["subPath", "subPathExpr"].map(|field| (field, text(mount, field)));
    for (field, value) in fields.iter().filter(|(_, value)| of_image && !value.is_empty()) {
        errors.invalid(&item.child(field), quoted(value), "not allowed in image volume sources");
    }
    let [(_, below), (_, expression)] = fields;
    descending(below, &path.child("subPath"), errors);
    if !below.is_empty() && !expression.is_empty() {
        let detail = "subPathExpr and subPath are mutually exclusive";
        errors.invalid(&item.child("subPathExpr"), quoted(expression), detail);
    }
    descending(expression, &path.child("subPathExpr"), errors);
}

fn propagation(container: &Value, mount: &Value, path: &Path, errors: &mut Errors) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    if get(mount, "mountPropagation").is_none() {
        return;
    }
    let path = path.child("mountPropagation");
    let mode = text(mount, "mountPropagation");
    if !MODES.contains(&mode) {
        errors.not_supported(&path, mode, &MODES);
    }
    let privileged = get(container, "securityContext").is_some_and(|s| is_true(s, "privileged"));
    if mode == "Bidirectional" && !privileged {
        errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(mount: &Value, path: &Path, errors: &mut Errors) {
    if get(mount, "recursiveReadOnly").is_none() {
        return;
    }
    let path = path.child("recursiveReadOnly");
    match text(mount, "recursiveReadOnly") {
        "Disabled" => {}
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

/// Validates the `volumeDevices` of a container.
pub(super) fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let (mut paths, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mounts = list(container, "volumeMounts");
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(i);
        let (name_path, device_path) = (path.child("name"), path.child("devicePath"));
        let (name, point) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            errors.required(&name_path, "");
        }
        if names.contains(name) {
            errors.invalid(&name_path, quoted(name), "must be unique");
        }
        match volumes.get(name) {
            Some(volume) if !["persistentVolumeClaim", "ephemeral"].iter().any(|k| get(volume, k).is_some()) => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&name_path, quoted(name), detail);
            }
            Some(_) => {}
            None => errors.not_found(&name_path, name),
        }
        if point.is_empty() {
            errors.required(&device_path, "");
        }
        if paths.contains(point) {
            errors.invalid(&device_path, quoted(point), "must be unique");
        }
        if steps_back(point) {
            errors.invalid(&device_path, quoted(point), "can not contain backsteps ('..')");
        } else {
            paths.insert(point);
        }
        if mounts.iter().any(|m| text(m, "name") == name) {
            errors.invalid(&name_path, quoted(name), "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| text(m, "mountPath") == point) {
            errors.invalid(&device_path, quoted(point), "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(container: &Value) -> Vec<String> {
        let (v, claim) = (json!({"name": "v", "emptyDir": {}}), json!({"persistentVolumeClaim": {"claimName": "c"}}));
        let volumes = Volumes::from([("v", &v), ("c", &claim)]);
        let mut errors = Errors::default();
        mounts(container, &volumes, &Path::new("m"), &mut errors);
        devices(container, &volumes, &Path::new("d"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mounts_name_volumes() {
        let container = json!({"volumeMounts": [
            {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"},
            {"name": "v", "mountPath": "/b", "subPath": "../x"},
            {"name": "v", "mountPath": "/c", "mountPropagation": "Bidirectional"},
        ]});
        assert_eq!(
            check(&container),
            [
                "m[1].name: Not found: \"w\"",
                "m[1].mountPath: Invalid value: \"/a\": must be unique",
                "m.subPath: Invalid value: \"../x\": must not contain '..'",
                "m.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            ]
        );
    }

    #[test]
    fn devices_are_claims() {
        let container = json!({
            "volumeMounts": [{"name": "c", "mountPath": "/x"}],
            "volumeDevices": [{"name": "v", "devicePath": "/d"}, {"name": "c", "devicePath": "/../d"}, {"name": "n"}],
        });
        assert_eq!(
            check(&container),
            [
                "m[0].name: Invalid value: \"c\": must not already exist in volumeDevices",
                "d[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                "d[1].devicePath: Invalid value: \"/../d\": can not contain backsteps ('..')",
                "d[1].name: Invalid value: \"c\": must not already exist in volumeMounts",
                "d[2].name: Not found: \"n\"",
                "d[2].devicePath: Required value",
            ]
        );
    }
}
