//! `apps/v1` StatefulSet.

use serde_json::{Value, json};

use super::persistentvolumeclaim;
use super::status_rules::StatusRules;
use super::workload::{self, CONTAINERS, IMAGES, amount, count_or_percent, not_over_all};
use crate::registry::fields::{Errors, Path, quoted, shown_int_or_string};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{
    copy, ensure, get, get_mut, int, int_at, items_mut, same, set, set_default, set_missing, text,
};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

/// What an update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const ONLY_CHANGEABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// What a status must fulfil.
const STATUS: StatusRules = StatusRules {
    counts: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    within: &[
        ("readyReplicas", "replicas", "status.replicas"),
        ("currentReplicas", "replicas", "status.replicas"),
        ("updatedReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "readyReplicas", "status.readyReplicas"),
    ],
};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "apps",
        version: "v1",
        kind: "StatefulSet",
        list_kind: "StatefulSetList",
        plural: "statefulsets",
        singular: "statefulset",
        short_names: &["sts"],
        categories: &["all"],
        namespaced: true,
        subresources: &["scale", "status"],
        schema: "io.k8s.api.apps.v1.StatefulSet",
        storage: "statefulsets.apps".into(),
        hooks: Hooks {
            default,
            prepare_create: |object| set(object, "status", json!({"replicas": 0, "availableReplicas": 0})),
            prepare_update: keep_status,
            validate,
            warn: warnings::stateful_set,
            validate_status: Some(|new, old| STATUS.validate(new, old)),
            has_generation: true,
            columns: COLUMNS,
            row,
            row_fields: printers::WORKLOAD,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[NAME, text_column("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

fn default(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    set_default(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            set(strategy, "type", "RollingUpdate");
            ensure(strategy, "rollingUpdate");
        }
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = get_mut(strategy, "rollingUpdate")
        {
            set_missing(rolling, "partition", 0);
        }
    }
    if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        set_default(retention, "whenDeleted", "Retain");
        set_default(retention, "whenScaled", "Retain");
    }
    workload::default_replicas(spec);
    set_default(spec, "revisionHistoryLimit", 10);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        set_default(claim, "apiVersion", "v1");
        set_default(claim, "kind", "PersistentVolumeClaim");
        if let Some(spec) = ensure(claim, "spec") {
            ensure(spec, "resources");
        }
        persistentvolumeclaim::default(claim);
        if let Some(status) = ensure(claim, "status") {
            set_default(status, "phase", "Pending");
        }
    }
    workload::default_template(spec);
}

fn validate(set: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(set, old, true, names::dns_label, &mut errors);
    let path = Path::new("spec");
    let spec = set.get("spec").unwrap_or(&Value::Null);
    policies(spec, &path, &mut errors);
    for field in ["replicas", "minReadySeconds"] {
        errors.non_negative(&path.child(field), int(spec, field));
    }
    errors.non_negative(&path.child("ordinals").child("start"), int_at(spec, &["ordinals", "start"]));
    errors.non_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
    selected_template(spec, &path, &mut errors);
    if let Some(old) = old {
        let old = old.get("spec").unwrap_or(&Value::Null);
        let mut munged = spec.clone();
        for field in CHANGEABLE {
            copy(&mut munged, old, field);
        }
        if !same(Some(&munged), Some(old)) {
            errors.forbidden(&path, ONLY_CHANGEABLE);
        }
    }
    errors.into_vec()
}

fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let usable = workload::selector(spec, path, "statefulset", "", errors);
    let (template, path) = (spec.get("template").unwrap_or(&Value::Null), path.child("template"));
    if usable {
        workload::selects_template(spec, template, &path, errors);
        // Mounts may name volumes that come of the claims: Kubernetes leaves the pods' spec to the pods.
        podspec::template_metadata(template, &path, errors);
    }
    workload::always_restarting("StatefulSet", template, &path, errors);
}

fn policies(spec: &Value, path: &Path, errors: &mut Errors) {
    match text(spec, "podManagementPolicy") {
        "" => errors.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            let path = path.child("podManagementPolicy");
            errors.invalid(&path, quoted(other), "must be 'OrderedReady' or 'Parallel'");
        }
    }
    let path_of = |field: &str| path.child("updateStrategy").child(field);
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    let rolling = get(strategy, "rollingUpdate");
    match (text(strategy, "type"), rolling) {
        ("", _) => errors.required(&path.child("updateStrategy"), ""),
        ("OnDelete", None) => {}
        ("OnDelete", Some(rolling)) => {
            let fields = [
                ("Partition", int(rolling, "partition").unwrap_or(0).to_string()),
                ("MaxUnavailable", shown_pointer("intstr.IntOrString", rolling, "maxUnavailable")),
            ];
            let shown = shown_struct("apps.RollingUpdateStatefulSetStrategy", &fields);
            errors.invalid(&path_of("rollingUpdate"), shown, "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("RollingUpdate", rolling) => {
            rolling_update(rolling.unwrap_or(&Value::Null), &path_of("rollingUpdate"), errors);
        }
        (other, _) => {
            let rolling = shown_pointer("apps.RollingUpdateStatefulSetStrategy", strategy, "rollingUpdate");
            let fields = [("Type", quoted(other)), ("RollingUpdate", rolling)];
            let shown = shown_struct("apps.StatefulSetUpdateStrategy", &fields);
            errors.invalid(&path.child("updateStrategy"), shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
    retention(spec, &path.child("persistentVolumeClaimRetentionPolicy"), errors);
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut Errors) {
    errors.non_negative(&path.child("partition"), int(rolling, "partition"));
    if let Some(unavailable) = get(rolling, "maxUnavailable") {
        let path = path.child("maxUnavailable");
        count_or_percent(unavailable, &path, errors);
        if amount(unavailable) == 0 {
            errors.invalid(&path, shown_int_or_string(unavailable), "cannot be 0");
        }
        not_over_all(unavailable, &path, errors);
    }
}

fn retention(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(policy) = get(spec, "persistentVolumeClaimRetentionPolicy") else { return };
    for field in ["whenDeleted", "whenScaled"] {
        let given = text(policy, field);
        if !["Retain", "Delete"].contains(&given) {
            errors.not_supported(&path.child(field), given, &["Retain", "Delete"]);
        }
    }
}

fn row(set: &Value, now: i64) -> Vec<Value> {
    let ready = int_at(set, &["status", "readyReplicas"]).unwrap_or(0);
    let desired = int_at(set, &["spec", "replicas"]).unwrap_or(0);
    vec![
        printers::name(set),
        format!("{ready}/{desired}").into(),
        printers::age(set, now),
        printers::of_containers(set, "name"),
        printers::of_containers(set, "image"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{cells, complaints, created};

    fn spec(fields: Value) -> Value {
        let mut spec = json!({
            "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]},
            ]}},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        });
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn defaults_and_cells() {
        let object = created(&kind(), spec(json!({"replicas": 3})));
        assert_eq!(
            object["spec"]["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(
            object["spec"]["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        let claim = &object["spec"]["volumeClaimTemplates"][0];
        assert_eq!((&claim["kind"], &claim["status"]), (&json!("PersistentVolumeClaim"), &json!({"phase": "Pending"})));
        assert_eq!(claim["spec"]["volumeMode"], "Filesystem");
        assert_eq!(cells(&kind(), &object, 1_767_225_600)[1..], [json!("0/3"), json!("60s"), json!("c"), json!("i")]);
    }

    #[test]
    fn validation() {
        let table = [
            (spec(json!({})), vec![]),
            (
                spec(json!({"podManagementPolicy": "Wild"})),
                vec!["spec.podManagementPolicy: Invalid value: \"Wild\": must be 'OrderedReady' or 'Parallel'"],
            ),
            (
                spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})),
                vec![
                    "spec.updateStrategy.rollingUpdate: Invalid value: apps.RollingUpdateStatefulSetStrategy{Partition:1, MaxUnavailable:(*intstr.IntOrString)(nil)}: only allowed for updateStrategy 'RollingUpdate'",
                ],
            ),
            (
                spec(json!({"updateStrategy": {"type": "Odd"}})),
                vec![
                    "spec.updateStrategy: Invalid value: apps.StatefulSetUpdateStrategy{Type:\"Odd\", RollingUpdate:(*apps.RollingUpdateStatefulSetStrategy)(nil)}: must be 'RollingUpdate' or 'OnDelete'",
                ],
            ),
            (
                spec(json!({"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": 0}}})),
                vec![
                    "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}: cannot be 0",
                ],
            ),
            (
                spec(json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Odd"}})),
                vec![
                    "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Odd\": supported values: \"Retain\", \"Delete\"",
                ],
            ),
            (
                spec(json!({"selector": {"matchLabels": {"app": "-"}}, "ordinals": {"start": -1}})),
                vec![
                    "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
                    "spec.selector.matchLabels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                    "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"-\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}",
                ],
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(complaints(&kind(), fields.clone(), None), expected, "{fields}");
        }
    }

    #[test]
    fn only_some_fields_change() {
        let forbidden = format!("spec: Forbidden: {ONLY_CHANGEABLE}");
        for (change, expected) in [
            (json!({"replicas": 5, "minReadySeconds": 3, "revisionHistoryLimit": 1}), None),
            (json!({"serviceName": "other"}), Some(&forbidden)),
            (json!({"volumeClaimTemplates": []}), Some(&forbidden)),
        ] {
            let found = complaints(&kind(), spec(change.clone()), Some(spec(json!({}))));
            assert_eq!(found.iter().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>(), "{change}");
        }
    }
}
