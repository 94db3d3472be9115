//! `v1` ReplicationController.

use serde_json::{Value, json};

use super::workload::{self, CONTAINERS, IMAGES};
use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, entries, get, int, int_at, set};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "ReplicationController",
        list_kind: "ReplicationControllerList",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short_names: &["rc"],
        categories: &["all"],
        namespaced: true,
        subresources: &["scale", "status"],
        schema: "io.k8s.api.core.v1.ReplicationController",
        storage: "replicationcontrollers".into(),
        hooks: Hooks {
            default,
            prepare_create: |object| set(object, "status", json!({"replicas": 0})),
            prepare_update: keep_status,
            validate,
            warn: warnings::named_template,
            field: |object, path| {
                (path == "status.replicas").then(|| int_at(object, &["status", "replicas"]).unwrap_or(0).to_string())
            },
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "Replicas is the number of desired replicas."),
    integer("Current", "Replicas is the most recently observed number of replicas."),
    integer("Ready", "The number of ready replicas for this replication controller."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column("Selector", "Selector is a label query over pods that should match the Replicas count.")),
];

/// Selector and labels come from the template where they are not given.
fn default(controller: &mut Value) {
    let labels = at(controller, &["spec", "template", "metadata", "labels"]).cloned();
    let unset = |map: Option<&Value>| entries(map).next().is_none();
    if let Some(labels) = labels.filter(|l| !unset(Some(l))) {
        if unset(at(controller, &["metadata", "labels"]))
            && let Some(meta) = ensure(controller, "metadata")
        {
            set(meta, "labels", labels.clone());
        }
        if unset(at(controller, &["spec", "selector"]))
            && let Some(spec) = ensure(controller, "spec")
        {
            set(spec, "selector", labels);
        }
    }
    let Some(spec) = ensure(controller, "spec") else { return };
    workload::default_replicas(spec);
    if get(spec, "template").is_some() {
        workload::default_template(spec);
    }
}

fn validate(controller: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(controller, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = controller.get("spec").unwrap_or(&Value::Null);
    errors.non_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    let selector = get(spec, "selector");
    if entries(selector).next().is_none() {
        errors.required(&path.child("selector"), "");
    }
    errors.non_negative(&path.child("replicas"), int(spec, "replicas"));
    if old.is_some() {
        counts(controller, &mut errors);
    }
    let path = path.child("template");
    let Some(template) = get(spec, "template") else {
        errors.required(&path, "");
        return errors.into_vec();
    };
    let labels = at(template, &["metadata", "labels"]);
    let matching = entries(selector).all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value));
    workload::labels_match(matching, labels, &path, &mut errors);
    podspec::template(template, &path, &mut errors);
    workload::always_restarting("ReplicationController", template, &path, &mut errors);
    errors.into_vec()
}

/// Counts are not negative, and none is above that of all replicas.
fn counts(controller: &Value, errors: &mut Errors) {
    const PARTS: [&str; 3] = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    let path = Path::new("status");
    let count = |field| int_at(controller, &["status", field]).unwrap_or(0);
    for field in ["replicas"].into_iter().chain(PARTS).chain(["observedGeneration"]) {
        errors.non_negative(&path.child(field), Some(count(field)));
    }
    for field in PARTS.into_iter().filter(|field| count(field) > count("replicas")) {
        errors.invalid(&path.child(field), count(field).to_string(), "cannot be greater than status.replicas");
    }
    if count("availableReplicas") > count("readyReplicas") {
        let available = count("availableReplicas").to_string();
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
}

fn row(controller: &Value, now: i64) -> Vec<Value> {
    vec![
        printers::name(controller),
        int_at(controller, &["spec", "replicas"]).unwrap_or(0).into(),
        int_at(controller, &["status", "replicas"]).unwrap_or(0).into(),
        int_at(controller, &["status", "readyReplicas"]).unwrap_or(0).into(),
        printers::age(controller, now),
        printers::of_containers(controller, "name"),
        printers::of_containers(controller, "image"),
        printers::labels(at(controller, &["spec", "selector"])).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn template(fields: Value) -> Value {
        let mut template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        json_patch::merge(&mut template, &fields);
        json!({"spec": {"template": template}})
    }

    #[test]
    fn selector_and_labels_come_from_the_template() {
        let object = created(&kind(), template(json!({})));
        assert_eq!(object["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!((&object["spec"]["replicas"], &object["status"]), (&json!(1), &json!({"replicas": 0})));
        let cells = row(&object, 1_767_225_600);
        assert_eq!(cells[1..], [json!(1), json!(0), json!(0), json!("60s"), json!("c"), json!("i"), json!("app=web")]);
    }

    #[test]
    fn validation() {
        let mut other = template(json!({}));
        other["spec"]["selector"] = json!({"app": "x"});
        let table = [
            (template(json!({})), vec![]),
            (json!({}), vec!["spec.selector: Required value", "spec.template: Required value"]),
            (
                other,
                vec![
                    "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                template(json!({"spec": {"activeDeadlineSeconds": 5}})),
                vec![
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
                ],
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(complaints(&kind(), fields.clone(), None), expected, "{fields}");
        }
    }
}
