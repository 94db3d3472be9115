//! `v1` PersistentVolumeClaim.

use serde_json::{Value, json};

use super::persistentvolume::{access_modes, class, class_and_mode, or_unset, phase, positive, short_modes};
use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, copy, get, get_mut, list, same, set, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        list_kind: "PersistentVolumeClaimList",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short_names: &["pvc"],
        categories: &[],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.core.v1.PersistentVolumeClaim",
        storage: "persistentvolumeclaims".into(),
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
    text_column("Status", "phase represents the current phase of PersistentVolumeClaim."),
    text_column("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
    text_column("Capacity", "capacity represents the actual resources of the underlying volume."),
    text_column("Access Modes", "accessModes contains the actual access modes the volume backing the PVC has."),
    text_column("StorageClass", "StorageClass of the pvc"),
    text_column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    wide(text_column("VolumeMode", "volumeMode defines what type of volume is required by the claim.")),
];

/// Sets the defaults of a claim or of a template of claims.
pub(super) fn default(claim: &mut Value) {
    let Some(spec) = get_mut(claim, "spec") else { return };
    set_default(spec, "volumeMode", "Filesystem");
    if let Some(resources) = get_mut(spec, "resources") {
        for list in ["limits", "requests"] {
            if let Some(list) = get_mut(resources, list) {
                podspec::canonical(list);
            }
        }
    }
}

fn validate(claim: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(claim, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = claim.get("spec").unwrap_or(&Value::Null);
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = get(spec, "selector") {
        objectmeta::label_selector(selector, &path.child("selector"), &mut errors);
    }
    access_modes(spec, &path, &mut errors);
    let storage_path = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        None => errors.required(&storage_path, ""),
        Some(storage) => positive(storage, &storage_path, &mut errors),
    }
    class_and_mode(spec, &path, &mut errors);
    if let Some(old) = old {
        update(spec, old, &path, &mut errors);
    }
    errors.into_vec()
}

/// A bound claim may ask for more; everything else stays, but for a volume or class that was not chosen yet.
fn update(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let bound = text_at(old, &["status", "phase"]) == "Bound";
    let old = old.get("spec").unwrap_or(&Value::Null);
    let mut munged = spec.clone();
    for field in ["volumeName", "storageClassName"] {
        if text(old, field).is_empty() {
            copy(&mut munged, old, field);
        }
    }
    if bound {
        copy(&mut munged, old, "volumeAttributesClassName");
        if let (Some(resources), Some(old)) = (get_mut(&mut munged, "resources"), get(old, "resources")) {
            copy(resources, old, "requests");
        }
    }
    if !same(Some(&munged), Some(old)) {
        errors.forbidden(path, IMMUTABLE);
    }
    let amount = |spec| at(spec, &["resources", "requests", "storage"]).and_then(podspec::parse_quantity);
    if let (Some(new), Some(old)) = (amount(spec), amount(old))
        && new.nano() < old.nano()
    {
        let path = path.child("resources").child("requests").child("storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
}

fn row(claim: &Value, now: i64) -> Vec<Value> {
    let volume = text_at(claim, &["spec", "volumeName"]);
    let status = claim.get("status").unwrap_or(&Value::Null);
    // Without a volume there is nothing yet to have a size or modes.
    let (capacity, modes) = if volume.is_empty() {
        ("", String::new())
    } else {
        (text_at(status, &["capacity", "storage"]), short_modes(&texts(status, "accessModes")))
    };
    vec![
        printers::name(claim),
        phase(claim).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(claim).into(),
        or_unset(claim, "volumeAttributesClassName").into(),
        printers::age(claim, now),
        or_unset(claim, "volumeMode").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn spec(fields: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn cells() {
        let mut object = created(&kind(), spec(json!({"volumeName": "v"})));
        object["status"] = json!({"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]});
        let texts = |object: &Value| -> Vec<String> {
            row(object, 1_767_225_600).iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(texts(&object), ["a", "Bound", "v", "2Gi", "RWO", "", "<unset>", "60s", "Filesystem"]);
        object["spec"]["volumeName"] = "".into();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(texts(&object)[1..5], ["Terminating", "", "", ""]);
    }

    #[test]
    fn validation() {
        let more = json!({"resources": {"requests": {"storage": "2Gi"}}});
        let less = json!({"resources": {"requests": {"storage": "1Mi"}}});
        let forbidden = format!("spec: Forbidden: {IMMUTABLE}");
        let shrunk = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        for (fields, old, expected) in [
            (json!({}), None, vec![]),
            (
                json!({"accessModes": null}),
                None,
                vec!["spec.accessModes: Required value: at least 1 access mode is required"],
            ),
            (json!({"resources": null}), None, vec!["spec.resources[storage]: Required value"]),
            (
                json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}),
                None,
                vec!["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
            ),
            (json!({"volumeName": "v", "storageClassName": "s"}), Some(json!({})), vec![]),
            (more, Some(json!({})), vec![&*forbidden]),
            (less, Some(json!({})), vec![&*forbidden, shrunk]),
            (json!({"volumeName": "w"}), Some(json!({"volumeName": "v"})), vec![&*forbidden]),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), old.map(spec)), expected, "{fields}");
        }
    }
}
