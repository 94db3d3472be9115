//! `storage.k8s.io/v1` StorageClass.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{entries, is_true, list, same, set_missing, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, warnings};

const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 << 10;
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
        hooks: Hooks { default, validate, warn: warnings::storage_class, columns: COLUMNS, row, ..PLAIN },
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
    set_missing(class, "reclaimPolicy", "Delete");
    set_missing(class, "volumeBindingMode", "Immediate");
}

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("provisioner");
    match text(class, "provisioner") {
        "" => errors.required(&path, ""),
        provisioner => errors.invalid_text(&path, provisioner, names::qualified_name(&provisioner.to_lowercase())),
    }
    parameters(class.get("parameters"), &Path::new("parameters"), &mut errors);
    let [policy, mode] = ["reclaimPolicy", "volumeBindingMode"].map(|field| text(class, field));
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &RECLAIM_POLICIES);
    }
    if !BINDING_MODES.contains(&mode) {
        errors.not_supported(&Path::new("volumeBindingMode"), mode, &BINDING_MODES);
    }
    topologies(list(class, "allowedTopologies"), &Path::new("allowedTopologies"), &mut errors);
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

fn parameters(parameters: Option<&Value>, path: &Path, errors: &mut Errors) {
    let count = entries(parameters).count();
    if count > PARAMETERS_MAX {
        return errors.too_long(path, PARAMETERS_MAX);
    }
    if entries(parameters).any(|(key, _)| key.is_empty()) {
        errors.invalid(path, quoted(""), "field can not be empty.");
    }
    let size: usize = entries(parameters).map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > PARAMETERS_SIZE_MAX {
        errors.too_long(path, PARAMETERS_SIZE_MAX);
    }
}

fn topologies(terms: &[Value], path: &Path, errors: &mut Errors) {
    // Kubernetes compares with the terms before, and takes a term that says nothing for one of them.
    let mut seen = vec![BTreeMap::new()];
    for (i, term) in terms.iter().enumerate() {
        let path = path.index(i).child("matchLabelExpressions");
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (i, requirement) in list(term, "matchLabelExpressions").iter().enumerate() {
            let (path, key) = (path.index(i), text(requirement, "key"));
            let values = topology_values(&texts(requirement, "values"), &path.child("values"), errors);
            errors.invalid_text(&path.child("key"), key, names::qualified_name(key));
            if keys.insert(key, values).is_some() {
                errors.duplicate(&path.child("key"), quoted(key));
            }
        }
        if seen.contains(&keys) {
            errors.duplicate(&path, quoted(""));
        }
        seen.push(keys);
    }
}

fn topology_values<'a>(values: &[&'a str], path: &Path, errors: &mut Errors) -> BTreeSet<&'a str> {
    if values.is_empty() {
        errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        if !seen.insert(*value) {
            errors.duplicate(&path.index(i), quoted(value));
        }
    }
    seen
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
                json!({"provisioner": "x", "volumeBindingMode": "", "parameters": {"": "x"}}),
                None,
                vec![
                    "parameters: Invalid value: \"\": field can not be empty.",
                    "volumeBindingMode: Unsupported value: \"\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
                ],
            ),
            (
                json!({"provisioner": "x", "allowedTopologies": [{}, {"matchLabelExpressions": [{"key": "z"}, {"key": "z", "values": ["a", "a"]}]}]}),
                None,
                vec![
                    "allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\"",
                    "allowedTopologies[1].matchLabelExpressions[0].values: Required value",
                    "allowedTopologies[1].matchLabelExpressions[1].values[1]: Duplicate value: \"a\"",
                    "allowedTopologies[1].matchLabelExpressions[1].key: Duplicate value: \"z\"",
                ],
            ),
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
