//! `v1` Namespace.

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, copy, ensure, list_at, set, set_default, text_at};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The label that carries a namespace's own name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer of the namespace controller.
const FINALIZER: &str = "kubernetes";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Namespace",
        list_kind: "NamespaceList",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        categories: &[],
        namespaced: false,
        subresources: &["finalize", "status"],
        schema: "io.k8s.api.core.v1.Namespace",
        storage: "namespaces".into(),
        hooks: Hooks {
            default: label,
            prepare_create,
            prepare_update,
            validate,
            field: |namespace, path| {
                (path == "status.phase").then(|| text_at(namespace, &["status", "phase"]).to_owned())
            },
            columns: &[NAME, STATUS, AGE],
            row,
            ..PLAIN
        },
    }
}

const STATUS: Column = text_column("Status", "The status of the namespace");

fn label(namespace: &mut Value) {
    let name = text_at(namespace, &["metadata", "name"]).to_owned();
    // A wrong name is one error, not two.
    if !names::dns_label(&name).is_empty() {
        return;
    }
    if let Some(labels) = ensure(namespace, "metadata").and_then(|m| ensure(m, "labels")) {
        set(labels, NAME_LABEL, name);
    }
}

fn prepare_create(namespace: &mut Value) {
    set(namespace, "status", json!({"phase": "Active"}));
    if let Some(spec) = ensure(namespace, "spec") {
        set_default(spec, "finalizers", json!([]));
        let finalizers = spec.get_mut("finalizers").and_then(Value::as_array_mut);
        if let Some(finalizers) = finalizers.filter(|f| !f.contains(&json!(FINALIZER))) {
            finalizers.push(json!(FINALIZER));
        }
    }
}

/// Finalizers change through `finalize` only.
fn prepare_update(namespace: &mut Value, old: &Value) {
    copy(namespace, old, "status");
    copy(namespace, old, "spec");
}

fn validate(namespace: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(namespace, old, false, names::dns_label, &mut errors);
    if let Some(old) = old
        && old.get("status") != namespace.get("status")
    {
        phase(namespace, &mut errors);
    }
    for finalizer in list_at(namespace, &["spec", "finalizers"]).iter().filter_map(Value::as_str) {
        objectmeta::finalizer_name(finalizer, &Path::new("spec").child("finalizers"), &mut errors);
    }
    errors.into_vec()
}

/// A namespace is active until it is deleted. The capital letter is Kubernetes' own.
fn phase(namespace: &Value, errors: &mut Errors) {
    let (phase, path) = (text_at(namespace, &["status", "phase"]), Path::new("status").child("Phase"));
    match (at(namespace, &["metadata", "deletionTimestamp"]), phase) {
        (None, "Active") | (Some(_), "Terminating") => {}
        (None, _) => errors.invalid(&path, quoted(phase), "may only be 'Active' if `deletionTimestamp` is empty"),
        (Some(_), _) => {
            errors.invalid(&path, quoted(phase), "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
    }
}

fn row(namespace: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(namespace), text_at(namespace, &["status", "phase"]).into(), printers::age(namespace, now)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace() {
        let mut namespace = json!({"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}});
        label(&mut namespace);
        prepare_create(&mut namespace);
        assert_eq!(
            namespace,
            json!({
                "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            })
        );
        assert_eq!(validate(&namespace, None), []);
        assert_eq!(row(&namespace, 0), [json!("shop"), json!("Active"), json!("<unknown>")]);
    }

    #[test]
    fn the_phase_follows_deletion() {
        let active = json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}});
        let mut other = active.clone();
        other["status"]["phase"] = "Terminating".into();
        let texts: Vec<String> = validate(&other, Some(&active)).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]
        );
    }

    #[test]
    fn names_are_labels() {
        let errors = validate(&json!({"metadata": {"name": "a.b"}}), None);
        assert!(
            errors[0].to_string().starts_with("metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must")
        );
    }
}
