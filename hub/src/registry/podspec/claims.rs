//! Validation of the specs of PersistentVolumeClaims, of claims and of templates of them.

use serde_json::Value;

use super::resources::{integral, parse, quantity};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, get, list, text, text_at, texts};
use crate::registry::{names, objectmeta};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Validates a template of a claim.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut Errors) {
    let (meta, meta_path) = (template.get("metadata").unwrap_or(&Value::Null), path.child("metadata"));
    objectmeta::annotations(meta.get("annotations"), &meta_path.child("annotations"), errors);
    objectmeta::labels(meta.get("labels"), &meta_path.child("labels"), errors);
    for (field, _) in meta.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        if !["annotations", "labels"].contains(&field.as_str()) {
            errors.forbidden(&meta_path.child(field), "cannot be set");
        }
    }
    spec(template.get("spec").unwrap_or(&Value::Null), &path.child("spec"), errors);
}

/// Validates the spec of a claim.
pub(crate) fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = get(spec, "selector") {
        objectmeta::label_selector(selector, &path.child("selector"), errors);
    }
    access_modes(spec, path, errors);
    let storage_path = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        None => errors.required(&storage_path, ""),
        Some(storage) if positive(storage, &storage_path, errors) => {
            quantity(storage, &storage_path, errors);
            integral("storage", storage, &storage_path, errors);
        }
        Some(_) => {}
    }
    class_and_mode(spec, path, errors);
    data_sources(spec, path, errors);
}

/// Validates access modes, of which `ReadWriteOncePod` stands alone.
pub(crate) fn access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("accessModes");
    let modes = texts(spec, "accessModes");
    for mode in modes.iter().filter(|m| !ACCESS_MODES.contains(m)) {
        errors.not_supported(&path, mode, &ACCESS_MODES);
    }
    let others = modes.iter().any(|m| *m != "ReadWriteOncePod" && ACCESS_MODES.contains(m));
    if modes.contains(&"ReadWriteOncePod") && others {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Validates that an amount is more than nothing, and tells whether it is.
pub(crate) fn positive(value: &Value, path: &Path, errors: &mut Errors) -> bool {
    let small = parse(value).filter(|amount| amount.nano() <= 0);
    if let Some(amount) = small {
        errors.invalid(path, quoted(&amount.to_string()), "must be greater than zero");
    }
    small.is_none()
}

/// Validates `storageClassName` and `volumeMode`.
pub(crate) fn class_and_mode(spec: &Value, path: &Path, errors: &mut Errors) {
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        errors.invalid_text(&path.child("storageClassName"), class, names::dns_subdomain(class));
    }
    let mode = text(spec, "volumeMode");
    if get(spec, "volumeMode").is_some() && !["Block", "Filesystem"].contains(&mode) {
        errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

fn data_sources(spec: &Value, path: &Path, errors: &mut Errors) {
    let (source, reference) = (get(spec, "dataSource"), get(spec, "dataSourceRef"));
    for (field, source) in [("dataSource", source), ("dataSourceRef", reference)] {
        if let Some(source) = source {
            data_source(source, &path.child(field), errors);
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    let names = ["apiGroup", "kind", "name"];
    let detail = if !text_at(spec, &["dataSourceRef", "namespace"]).is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if names.iter().any(|field| text(source, field) != text(reference, field)) {
        "must match dataSourceRef"
    } else {
        return;
    };
    errors.invalid(path, path.child("dataSource").to_string(), detail);
}

fn data_source(source: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "kind"] {
        if text(source, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    let (group, kind, namespace) = (text(source, "apiGroup"), text(source, "kind"), text(source, "namespace"));
    if !group.is_empty() {
        errors.invalid_text(&path.child("apiGroup"), group, names::dns_subdomain(group));
    } else if kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path, quoted(kind), detail);
    }
    if !namespace.is_empty() {
        errors.invalid_text(&path.child("namespace"), namespace, names::dns_label(namespace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_ask_for_storage() {
        let storage = |amount: &str| json!({"requests": {"storage": amount}});
        let table = [
            (json!({"accessModes": ["ReadWriteOnce"], "resources": storage("1Gi")}), vec![]),
            (
                json!({"resources": storage("-1")}),
                vec![
                    "s.accessModes: Required value: at least 1 access mode is required",
                    "s.resources[storage]: Invalid value: \"-1\": must be greater than zero",
                ],
            ),
            (
                json!({"accessModes": ["Any"], "volumeMode": "Tape", "storageClassName": "A"}),
                vec![
                    "s.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                    "s.resources[storage]: Required value",
                    "s.storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                    "s.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
                ],
            ),
            (
                json!({"accessModes": ["ReadWriteOnce"], "resources": storage("1"), "dataSource": {"kind": "X"}}),
                vec![
                    "s.dataSource.name: Required value",
                    "s.dataSource: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                ],
            ),
        ];
        for (value, expected) in table {
            let mut errors = Errors::default();
            spec(&value, &Path::new("s"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{value}");
        }
    }

    #[test]
    fn templates_have_labels_and_annotations_only() {
        let mut errors = Errors::default();
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        template(
            &json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": claim}),
            &Path::new("t"),
            &mut errors,
        );
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["t.metadata.name: Forbidden: cannot be set"]);
    }
}
