//! `storage.k8s.io/v1` StorageClass.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{is_true, same, set_default, text, text_at};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const RECLAIM_POLICIES: [&str; 2] = ["Delete", "Retain"];
const BINDING_MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        list_kind: "StorageClassList",
        plural: "storageclasses",
        singular: "storageclass",
        short_names: &["sc"],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.storage.v1.StorageClass",
        storage: "storageclasses.storage.k8s.io".into(),
        hooks: Hooks { default, validate, columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Provisioner", "provisioner indicates the type of the provisioner."),
    text_column(
        "ReclaimPolicy",
        "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
    ),
    text_column(
        "VolumeBindingMode",
        "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.",
    ),
    text_column("AllowVolumeExpansion", "allowVolumeExpansion shows whether the storage class allow volume expand."),
    AGE,
];

fn default(class: &mut Value) {
    set_default(class, "reclaimPolicy", "Delete");
    set_default(class, "volumeBindingMode", "Immediate");
}

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("provisioner");
    match text(class, "provisioner") {
        "" => errors.required(&path, ""),
        provisioner => errors.invalid_text(&path, provisioner, names::qualified_name(&provisioner.to_lowercase())),
    }
    for (field, values) in [("reclaimPolicy", &RECLAIM_POLICIES), ("volumeBindingMode", &BINDING_MODES)] {
        let value = text(class, field);
        if !values.contains(&value) {
            errors.not_supported(&Path::new(field), value, values);
        }
    }
    if let Some(old) = old {
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(class.get(field), old.get(field)) {
                errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
        let field = "volumeBindingMode";
        errors.immutable(&Path::new(field), class.get(field), old.get(field));
    }
    errors.into_vec()
}

fn row(class: &Value, now: i64) -> Vec<Value> {
    let mut name = text_at(class, &["metadata", "name"]).to_owned();
    if DEFAULT_ANNOTATIONS.iter().any(|a| text_at(class, &["metadata", "annotations", a]) == "true") {
        name.push_str(" (default)");
    }
    vec![
        name.into(),
        text(class, "provisioner").into(),
        text(class, "reclaimPolicy").into(),
        text(class, "volumeBindingMode").into(),
        is_true(class, "allowVolumeExpansion").into(),
        printers::age(class, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn the_default_class_is_marked() {
        let meta = json!({"annotations": {DEFAULT_ANNOTATIONS[0]: "true"}});
        let object = created(&kind(), json!({"metadata": meta, "provisioner": "x.io/disk"}));
        assert_eq!(
            row(&object, 1_767_225_600),
            [json!("a (default)"), json!("x.io/disk"), json!("Delete"), json!("Immediate"), json!(false), json!("60s"),]
        );
    }

    #[test]
    fn validation() {
        for (new, old, expected) in [
            (json!({"provisioner": "x"}), None, vec![]),
            (json!({}), None, vec!["provisioner: Required value"]),
            (
                json!({"provisioner": "x", "reclaimPolicy": "Recycle"}),
                None,
                vec!["reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\""],
            ),
            (
                json!({"provisioner": "y", "volumeBindingMode": "WaitForFirstConsumer"}),
                Some(json!({"provisioner": "x"})),
                vec![
                    "provisioner: Forbidden: updates to provisioner are forbidden.",
                    "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), old), expected, "{new}");
        }
    }
}
