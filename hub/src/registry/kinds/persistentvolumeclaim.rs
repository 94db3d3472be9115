//! `v1` PersistentVolumeClaim.

use serde_json::{Value, json};

use super::persistentvolume::{CLASS_ANNOTATION, class, or_unset, phase, short_modes};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, copy, get, get_mut, remove, same, set, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

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
            warn: warnings::claim,
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
    same_sources(spec);
    if let Some(resources) = get_mut(spec, "resources") {
        for list in ["limits", "requests"] {
            if let Some(list) = get_mut(resources, list) {
                podspec::canonical(list);
            }
        }
    }
}

/// `dataSource` is the older name of `dataSourceRef`; within its namespace, a claim has both. Before there were two, it
/// was left out where it named anything but a claim or a snapshot.
fn same_sources(spec: &mut Value) {
    let known = |source: &Value| match text(source, "kind") {
        "PersistentVolumeClaim" => text(source, "apiGroup").is_empty(),
        "VolumeSnapshot" => text(source, "apiGroup") == "snapshot.storage.k8s.io",
        _ => false,
    };
    if get(spec, "dataSourceRef").is_none() && get(spec, "dataSource").is_some_and(|source| !known(source)) {
        remove(spec, "dataSource");
    }
    let local = text_at(spec, &["dataSourceRef", "namespace"]).is_empty();
    match (get(spec, "dataSource").cloned(), get(spec, "dataSourceRef").cloned()) {
        (Some(source), None) => set(spec, "dataSourceRef", source),
        (None, Some(source)) if local => set(spec, "dataSource", source),
        _ => {}
    }
}

fn validate(claim: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(claim, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = claim.get("spec").unwrap_or(&Value::Null);
    podspec::claim_spec(spec, &path, &mut errors);
    if let Some(old) = old {
        update(claim, old, &path, &mut errors);
    }
    errors.into_vec()
}

/// A bound claim may ask for more; everything else stays, but for a volume or class that was not chosen yet.
fn update(claim: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let mark = |claim| text_at(claim, &["metadata", "annotations", CLASS_ANNOTATION]);
    if mark(claim) != mark(old) {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.invalid(&path, quoted(mark(claim)), "field is immutable");
    }
    let bound = text_at(claim, &["status", "phase"]) == "Bound";
    let available = at(old, &["status", "capacity", "storage"]).and_then(podspec::parse_quantity);
    let (spec, old) = (claim.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
    let mut munged = spec.clone();
    for field in ["volumeName", "storageClassName"] {
        if get(old, field).is_none_or(|v| field == "volumeName" && v.as_str() == Some("")) {
            copy(&mut munged, old, field);
        }
    }
    if bound {
        copy(&mut munged, old, "volumeAttributesClassName");
        let before = at(old, &["resources", "requests", "storage"]);
        let requests = get_mut(&mut munged, "resources").and_then(|r| get_mut(r, "requests"));
        if let (Some(requests), Some(before)) = (requests, before) {
            set(requests, "storage", before.clone());
        }
    }
    if !same(Some(&munged), Some(old)) {
        let lines = podspec::differences(&munged, old).join("\n");
        errors.forbidden(path, format!("{IMMUTABLE}\n{lines}"));
    }
    let amount = |spec| at(spec, &["resources", "requests", "storage"]).and_then(podspec::parse_quantity);
    if let (Some(new), Some(before)) = (amount(spec), amount(old))
        && new.nano() < before.nano()
        && new.nano() <= available.map_or(0, |a| a.nano())
    {
        let path = path.child("resources").child("requests").child("storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
    // Kubernetes names it without `spec`.
    errors.immutable(&Path::new("volumeMode"), spec.get("volumeMode"), old.get("volumeMode"));
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
    fn data_sources_are_two() {
        let snapshot = json!({"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "s"});
        let other = json!({"kind": "Other", "name": "o"});
        for (fields, source, reference) in [
            (json!({"dataSource": snapshot}), &snapshot, &snapshot),
            (json!({"dataSourceRef": snapshot}), &snapshot, &snapshot),
            (json!({"dataSource": other}), &Value::Null, &Value::Null),
        ] {
            let object = created(&kind(), spec(fields));
            assert_eq!((&object["spec"]["dataSource"], &object["spec"]["dataSourceRef"]), (source, reference));
        }
    }

    #[test]
    fn validation() {
        let more = json!({"resources": {"requests": {"storage": "2Gi"}}});
        let less = json!({"resources": {"requests": {"storage": "1Mi"}}});
        let amount = "resources.requests.storage";
        let forbidden = |lines: &str| format!("spec: Forbidden: {IMMUTABLE}\n{lines}");
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
            (more, Some(json!({})), vec![&*forbidden(&format!("- {amount}: \"1Gi\"\n+ {amount}: \"2Gi\""))]),
            (less, Some(json!({})), vec![&*forbidden(&format!("- {amount}: \"1Gi\"\n+ {amount}: \"1Mi\""))]),
            (
                json!({"volumeName": "w"}),
                Some(json!({"volumeName": "v"})),
                vec![&*forbidden("- volumeName: \"v\"\n+ volumeName: \"w\"")],
            ),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), old.map(spec)), expected, "{fields}");
        }
    }
}
