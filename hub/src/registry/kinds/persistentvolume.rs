//! `v1` PersistentVolume, and what it shares with claims.

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, entries, get, get_mut, same, set, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const ACCESS_MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];
/// The annotation that named a class before there was a field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "PersistentVolume",
        list_kind: "PersistentVolumeList",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short_names: &["pv"],
        categories: &[],
        namespaced: false,
        subresources: &["status"],
        schema: "io.k8s.api.core.v1.PersistentVolume",
        storage: "persistentvolumes".into(),
        hooks: Hooks {
            default,
            prepare_create: |object| set(object, "status", json!({"phase": "Pending"})),
            prepare_update: keep_status,
            validate,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Capacity", "capacity is the description of the persistent volume's resources and capacity."),
    text_column("Access Modes", "accessModes contains all ways the volume can be mounted."),
    text_column(
        "Reclaim Policy",
        "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim.",
    ),
    text_column("Status", "phase indicates if a volume is available, bound to a claim, or released by a claim."),
    text_column(
        "Claim",
        "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim.",
    ),
    text_column("StorageClass", "StorageClass of the pv"),
    text_column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    text_column(
        "Reason",
        "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.",
    ),
    AGE,
    wide(text_column(
        "VolumeMode",
        "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state.",
    )),
];

fn default(volume: &mut Value) {
    let Some(spec) = get_mut(volume, "spec") else { return };
    set_default(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_default(spec, "volumeMode", "Filesystem");
    if let Some(capacity) = get_mut(spec, "capacity") {
        podspec::canonical(capacity);
    }
    if let Some(host_path) = get_mut(spec, "hostPath") {
        set_default(host_path, "type", "");
    }
}

fn validate(volume: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(volume, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = volume.get("spec").unwrap_or(&Value::Null);
    if texts(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    access_modes(spec, &path, &mut errors);
    capacity(spec, &path.child("capacity"), &mut errors);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !["Delete", "Recycle", "Retain", ""].contains(&policy) {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.not_supported(&path, policy, &["Delete", "Recycle", "Retain"]);
    }
    sources(spec, &path, &mut errors);
    class_and_mode(spec, &path, &mut errors);
    if let Some(old) = old {
        unchanged(spec, old.get("spec").unwrap_or(&Value::Null), &path, &mut errors);
    }
    errors.into_vec()
}

/// Validates access modes, of which `ReadWriteOncePod` stands alone.
pub(super) fn access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("accessModes");
    let modes = texts(spec, "accessModes");
    for mode in modes.iter().filter(|m| ACCESS_MODES.iter().all(|(name, _)| name != *m)) {
        errors.not_supported(&path, mode, &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Validates `storageClassName` and `volumeMode`.
pub(super) fn class_and_mode(spec: &Value, path: &Path, errors: &mut Errors) {
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        errors.invalid_text(&path.child("storageClassName"), class, names::dns_subdomain(class));
    }
    let mode = text(spec, "volumeMode");
    if !["Block", "Filesystem", ""].contains(&mode) {
        errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

/// Validates that an amount of storage is more than nothing.
pub(super) fn positive(value: &Value, path: &Path, errors: &mut Errors) {
    podspec::quantity(value, path, errors);
    if podspec::parse_quantity(value).is_some_and(|q| q.nano() == 0) {
        errors.invalid(path, quoted(value.as_str().unwrap_or("0")), "must be greater than zero");
    }
}

fn capacity(spec: &Value, path: &Path, errors: &mut Errors) {
    let amounts = get(spec, "capacity");
    let names: Vec<&str> = entries(amounts).map(|(name, _)| name).collect();
    match names[..] {
        [] => errors.required(path, ""),
        ["storage"] => {}
        _ => errors.not_supported(path, &names.join(","), &["storage"]),
    }
    for (name, value) in entries(amounts) {
        positive(value, &path.key(name), errors);
    }
}

fn sources(spec: &Value, path: &Path, errors: &mut Errors) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|s| get(spec, s).is_some()).collect();
    match given.split_first() {
        None => errors.required(path, "must specify a volume type"),
        Some((_, more)) => {
            for source in more {
                errors.forbidden(&path.child(source), "may not specify more than 1 volume type");
            }
        }
    }
    for source in ["hostPath", "local", "nfs"] {
        if get(spec, source).is_some_and(|s| text(s, "path").is_empty()) {
            errors.required(&path.child(source).child("path"), "");
        }
    }
    if get(spec, "nfs").is_some_and(|s| text(s, "server").is_empty()) {
        errors.required(&path.child("nfs").child("server"), "");
    }
    if get(spec, "local").is_some() && get(spec, "nodeAffinity").is_none() {
        errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
    }
    if text_at(spec, &["hostPath", "path"]) == "/" && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.forbidden(&path, "may not be 'recycle' for a hostPath mount of '/'");
    }
}

fn unchanged(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    if !SOURCES.iter().all(|source| same(spec.get(source), old.get(source))) {
        errors.forbidden(
            &path.child("persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    errors.immutable(&path.child("volumeMode"), spec.get("volumeMode"), old.get("volumeMode"));
    if get(old, "nodeAffinity").is_some() {
        errors.immutable(&path.child("nodeAffinity"), spec.get("nodeAffinity"), old.get("nodeAffinity"));
    }
}

/// Access modes in their short forms, joined by commas, each once.
pub(super) fn short_modes(modes: &[&str]) -> String {
    let given = ACCESS_MODES.iter().filter(|(name, _)| modes.contains(name));
    given.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The class of a volume or claim, by annotation or field; empty when it has none.
pub(super) fn class(object: &Value) -> &str {
    match text_at(object, &["metadata", "annotations", CLASS_ANNOTATION]) {
        "" => text_at(object, &["spec", "storageClassName"]),
        annotated => annotated,
    }
}

/// The phase, or `Terminating`.
pub(super) fn phase(object: &Value) -> &str {
    if at(object, &["metadata", "deletionTimestamp"]).is_some() {
        "Terminating"
    } else {
        text_at(object, &["status", "phase"])
    }
}

/// A field of the spec, or `<unset>`.
pub(super) fn or_unset<'a>(object: &'a Value, field: &str) -> &'a str {
    match text_at(object, &["spec", field]) {
        "" => "<unset>",
        value => value,
    }
}

fn row(volume: &Value, now: i64) -> Vec<Value> {
    let spec = volume.get("spec").unwrap_or(&Value::Null);
    let claim = get(spec, "claimRef").map(|c| format!("{}/{}", text(c, "namespace"), text(c, "name")));
    vec![
        printers::name(volume),
        text_at(spec, &["capacity", "storage"]).into(),
        short_modes(&texts(spec, "accessModes")).into(),
        text(spec, "persistentVolumeReclaimPolicy").into(),
        phase(volume).into(),
        claim.unwrap_or_default().into(),
        class(volume).into(),
        or_unset(volume, "volumeAttributesClassName").into(),
        text_at(volume, &["status", "reason"]).into(),
        printers::age(volume, now),
        or_unset(volume, "volumeMode").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn spec(fields: Value) -> Value {
        let mut spec =
            json!({"capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn defaults_and_cells() {
        let object =
            created(&kind(), spec(json!({"claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "s"})));
        assert_eq!(object["status"], json!({"phase": "Pending"}));
        let cells: Vec<String> =
            row(&object, 1_767_225_600).iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(cells, ["a", "1Gi", "RWO", "Retain", "Pending", "n/c", "s", "<unset>", "", "60s", "Filesystem"]);
    }

    #[test]
    fn validation() {
        for (fields, old, expected) in [
            (json!({}), None, vec![]),
            (json!({"capacity": null}), None, vec!["spec.capacity: Required value"]),
            (
                json!({"capacity": {"storage": "0"}}),
                None,
                vec!["spec.capacity[storage]: Invalid value: \"0\": must be greater than zero"],
            ),
            (json!({"accessModes": []}), None, vec!["spec.accessModes: Required value"]),
            (json!({"hostPath": null}), None, vec!["spec: Required value: must specify a volume type"]),
            (
                json!({"local": {"path": "/x"}}),
                None,
                vec![
                    "spec.local: Forbidden: may not specify more than 1 volume type",
                    "spec.nodeAffinity: Required value: Local volume requires node affinity",
                ],
            ),
            (
                json!({"hostPath": {"path": "/e"}}),
                Some(json!({})),
                vec!["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
            ),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), old.map(spec)), expected, "{fields}");
        }
    }
}
