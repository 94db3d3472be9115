//! `v1` PersistentVolume, and what it shares with claims.

use serde_json::{Value, json};

use super::persistentvolume_sources::{self, KINDS};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, entries, get, get_mut, remove, same, set, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

const ACCESS_MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
/// The annotation that named a class before there was a field.
pub(in crate::registry) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

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
            warn: warnings::volume,
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
    podspec::default_source(spec);
}

fn validate(volume: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(volume, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = volume.get("spec").unwrap_or(&Value::Null);
    if texts(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    podspec::access_modes(spec, &path, &mut errors);
    capacity(spec, &path.child("capacity"), &mut errors);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !["Delete", "Recycle", "Retain", ""].contains(&policy) {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.not_supported(&path, policy, &["Delete", "Recycle", "Retain"]);
    }
    if let Some(affinity) = get(spec, "nodeAffinity") {
        let path = path.child("nodeAffinity").child("required");
        match get(affinity, "required") {
            None => errors.required(&path, "must specify required node constraints"),
            Some(required) => podspec::node_selector(required, &path, &mut errors),
        }
    }
    persistentvolume_sources::validate(spec, text_at(volume, &["metadata", "name"]), &path, &mut errors);
    podspec::class_and_mode(spec, &path, &mut errors);
    if let Some(old) = old {
        unchanged(spec, old.get("spec").unwrap_or(&Value::Null), &path, &mut errors);
    }
    errors.into_vec()
}

fn capacity(spec: &Value, path: &Path, errors: &mut Errors) {
    let amounts = get(spec, "capacity");
    if entries(amounts).next().is_none() {
        errors.required(path, "");
    }
    if amounts.and_then(|a| get(a, "storage")).is_none() || entries(amounts).count() > 1 {
        let shown = amounts.map_or("core.ResourceList(nil)".into(), |amounts| match entries(Some(amounts)).next() {
            None => "core.ResourceList{}".into(),
            Some(_) => amounts.to_string(),
        });
        errors.shown_not_supported(path, shown, &["storage"]);
    }
    for (name, value) in entries(amounts) {
        let path = path.key(name);
        if let Some(amount) = podspec::parse_quantity(value).filter(|amount| amount.nano() <= -1_000_000_000) {
            let whole = amount.nano() / 1_000_000_000;
            errors.invalid(&path, whole.to_string(), "must be a valid resource quantity");
        }
        podspec::positive(value, &path, errors);
    }
}

/// The source, the mode and the nodes of a volume stay; a CSI driver may learn of the secret for growing later.
fn unchanged(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    const SECRET: &str = "controllerExpandSecretRef";
    let mut spec = spec.clone();
    if let (Some(csi), Some(before)) = (get_mut(&mut spec, "csi"), get(old, "csi"))
        && get(before, SECRET).is_none()
    {
        remove(csi, SECRET);
    }
    let sources = |spec: &Value| -> Value {
        let kept = KINDS.iter().filter_map(|kind| Some(((*kind).to_owned(), get(spec, kind)?.clone())));
        kept.collect::<serde_json::Map<_, _>>().into()
    };
    let (new_sources, old_sources) = (sources(&spec), sources(old));
    if !same(Some(&new_sources), Some(&old_sources)) {
        let lines = podspec::differences(&new_sources, &old_sources).join("\n");
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{lines}");
        errors.forbidden(&path.child("persistentvolumesource"), detail);
    }
    // Kubernetes names both without `spec`.
    errors.immutable(&Path::new("volumeMode"), spec.get("volumeMode"), old.get("volumeMode"));
    let (new_nodes, old_nodes) = (get(&spec, "nodeAffinity"), get(old, "nodeAffinity"));
    if old_nodes.is_some() && !same(new_nodes, old_nodes) {
        let shown = new_nodes.map_or_else(|| quoted("null"), ToString::to_string);
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.invalid(&Path::new("nodeAffinity"), shown, detail);
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
            (
                json!({"capacity": null}),
                None,
                vec![
                    "spec.capacity: Required value",
                    "spec.capacity: Unsupported value: core.ResourceList(nil): supported values: \"storage\"",
                ],
            ),
            (
                json!({"capacity": {"storage": "-1"}, "nodeAffinity": {}}),
                None,
                vec![
                    "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                    "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                    "spec.nodeAffinity.required: Required value: must specify required node constraints",
                ],
            ),
            (
                json!({"volumeMode": "Block"}),
                Some(json!({})),
                vec!["volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
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
                vec!["spec.local: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!({"hostPath": {"path": "/e"}}),
                Some(json!({})),
                vec![
                    "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n- hostPath.path: \"/d\"\n+ hostPath.path: \"/e\"",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), old.map(spec)), expected, "{fields}");
        }
    }
}
