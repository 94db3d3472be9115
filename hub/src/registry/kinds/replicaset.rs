//! `apps/v1` ReplicaSet.

use serde_json::{Value, json};

use super::status_rules::StatusRules;
use super::workload::{self, CONTAINERS, IMAGES};
use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, int, int_at, set};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, warnings};

/// What a status must fulfil.
const STATUS: StatusRules = StatusRules {
    counts: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ],
    within: &[
        ("fullyLabeledReplicas", "replicas", "status.replicas"),
        ("readyReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "readyReplicas", "readyReplicas"),
    ],
};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        list_kind: "ReplicaSetList",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        namespaced: true,
        subresources: &["scale", "status"],
        schema: "io.k8s.api.apps.v1.ReplicaSet",
        storage: "replicasets.apps".into(),
        hooks: Hooks {
            default,
            prepare_create: |object| set(object, "status", json!({"replicas": 0})),
            prepare_update: keep_status,
            validate,
            warn: warnings::named_template,
            validate_status: Some(|new, old| STATUS.validate(new, old)),
            field,
            has_generation: true,
            columns: COLUMNS,
            row,
            row_fields: printers::WORKLOAD,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    integer(
        "Desired",
        "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1.",
    ),
    integer("Current", "Replicas is the most recently observed number of non-terminating pods."),
    integer("Ready", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column(
        "Selector",
        "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels.",
    )),
];

fn default(replica_set: &mut Value) {
    if let Some(spec) = ensure(replica_set, "spec") {
        workload::default_replicas(spec);
        workload::default_template(spec);
    }
}

fn validate(replica_set: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(replica_set, old, true, names::dns_subdomain, &mut errors);
    let (spec, path) = (replica_set.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    for field in ["replicas", "minReadySeconds"] {
        errors.non_negative(&path.child(field), int(spec, field));
    }
    workload::selected_template(spec, &path, &mut errors);
    workload::immutable_selector(replica_set, old, &mut errors);
    errors.into_vec()
}

fn field(replica_set: &Value, path: &str) -> Option<String> {
    (path == "status.replicas").then(|| int_at(replica_set, &["status", "replicas"]).unwrap_or(0).to_string())
}

fn row(replica_set: &Value, now: i64) -> Vec<Value> {
    vec![
        printers::name(replica_set),
        int_at(replica_set, &["spec", "replicas"]).unwrap_or(0).into(),
        int_at(replica_set, &["status", "replicas"]).unwrap_or(0).into(),
        int_at(replica_set, &["status", "readyReplicas"]).unwrap_or(0).into(),
        printers::age(replica_set, now),
        printers::of_containers(replica_set, "name"),
        printers::of_containers(replica_set, "image"),
        printers::selector(at(replica_set, &["spec", "selector"])).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::cells;

    #[test]
    fn printed_and_selected() {
        let mut object = json!({
            "metadata": {"name": "web-1", "creationTimestamp": "2025-12-31T23:59:00Z"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
                {"name": "x", "image": "i"}, {"name": "y", "image": "j"},
            ]}}},
            "status": {"replicas": 2, "readyReplicas": 1},
        });
        default(&mut object);
        assert_eq!(
            cells(&kind(), &object, 1_767_225_600),
            [json!("web-1"), json!(1), json!(2), json!(1), json!("60s"), json!("x,y"), json!("i,j"), json!("a=b"),]
        );
        assert_eq!(field(&object, "status.replicas").as_deref(), Some("2"));
        assert_eq!(field(&object, "spec.replicas"), None);
    }
}
