//! `apps/v1` Deployment.

use serde_json::{Value, json};

use super::status_rules::StatusRules;
use super::workload::{self, CONTAINERS, IMAGES, amount, count_or_percent, not_over_all};
use crate::registry::fields::{Errors, Path, quoted, shown_int_or_string};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::hooks::{PLAIN, empty_status, keep_status};
use crate::registry::json::{at, ensure, get, int, int_at, same, set_default, set_missing, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, warnings};

/// What a status must fulfil.
const STATUS: StatusRules = StatusRules {
    counts: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    within: &[
        ("updatedReplicas", "replicas", "status.replicas"),
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
        kind: "Deployment",
        list_kind: "DeploymentList",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        namespaced: true,
        subresources: &["scale", "status"],
        schema: "io.k8s.api.apps.v1.Deployment",
        storage: "deployments.apps".into(),
        hooks: Hooks {
            default,
            prepare_create: empty_status,
            prepare_update: keep_status,
            validate,
            warn: warnings::named_template,
            validate_status: Some(|new, old| STATUS.validate(new, old)),
            has_generation: true,
            next_generation: |new, old| {
                !same(at(new, &["metadata", "annotations"]), at(old, &["metadata", "annotations"]))
            },
            columns: COLUMNS,
            row,
            row_fields: printers::WORKLOAD,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Ready", "Number of the pod with ready state"),
    text_column(
        "Up-to-date",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
    ),
    text_column(
        "Available",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column(
        "Selector",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
    )),
];

fn default(deployment: &mut Value) {
    let Some(spec) = ensure(deployment, "spec") else { return };
    workload::default_replicas(spec);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = ensure(spec, "strategy") {
        set_default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set_missing(rolling, "maxUnavailable", "25%");
            set_missing(rolling, "maxSurge", "25%");
        }
    }
    workload::default_template(spec);
}

fn validate(deployment: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(deployment, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = deployment.get("spec").unwrap_or(&Value::Null);
    errors.non_negative(&path.child("replicas"), int(spec, "replicas"));
    workload::selected_template(spec, &path, &mut errors);
    strategy(spec.get("strategy").unwrap_or(&Value::Null), &path.child("strategy"), &mut errors);
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        errors.non_negative(&path.child(field), int(spec, field));
    }
    if let Some(deadline) = int(spec, "progressDeadlineSeconds") {
        let path = path.child("progressDeadlineSeconds");
        errors.non_negative(&path, Some(deadline));
        if deadline <= int(spec, "minReadySeconds").unwrap_or(0) {
            errors.invalid(&path, deadline.to_string(), "must be greater than minReadySeconds");
        }
    }
    workload::immutable_selector(deployment, old, &mut errors);
    errors.into_vec()
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = get(strategy, "rollingUpdate");
    match (text(strategy, "type"), rolling) {
        ("Recreate", None) => {}
        ("Recreate", Some(_)) => {
            errors.forbidden(&path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &path.child("rollingUpdate"), errors),
        ("RollingUpdate", None) => {
            errors.required(&path.child("rollingUpdate"), "this should be defaulted and never be nil")
        }
        (other, _) => {
            let rolling = shown_pointer("apps.RollingUpdateDeployment", strategy, "rollingUpdate");
            let shown = shown_struct("apps.DeploymentStrategy", &[("Type", quoted(other)), ("RollingUpdate", rolling)]);
            errors.shown_not_supported(path, shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut Errors) {
    let zero = json!(0);
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|field| get(rolling, field).unwrap_or(&zero));
    count_or_percent(unavailable, &path.child("maxUnavailable"), errors);
    count_or_percent(surge, &path.child("maxSurge"), errors);
    if amount(unavailable) == 0 && amount(surge) == 0 {
        errors.invalid(
            &path.child("maxUnavailable"),
            shown_int_or_string(unavailable),
            "may not be 0 when `maxSurge` is 0",
        );
    }
    not_over_all(unavailable, &path.child("maxUnavailable"), errors);
}

fn row(deployment: &Value, now: i64) -> Vec<Value> {
    let status = |field| int_at(deployment, &["status", field]).unwrap_or(0);
    let desired = int_at(deployment, &["spec", "replicas"]).unwrap_or(0);
    vec![
        printers::name(deployment),
        format!("{}/{desired}", status("readyReplicas")).into(),
        status("updatedReplicas").into(),
        status("availableReplicas").into(),
        printers::age(deployment, now),
        printers::of_containers(deployment, "name"),
        printers::of_containers(deployment, "image"),
        printers::selector(at(deployment, &["spec", "selector"])).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::cells;

    fn deployment(patch: Value) -> Value {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "default", "creationTimestamp": "2025-12-31T23:59:00Z"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}},
            },
        });
        json_patch::merge(&mut object, &patch);
        default(&mut object);
        object
    }

    fn check(patch: Value, old: Option<&Value>) -> Vec<String> {
        validate(&deployment(patch), old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults() {
        let object = deployment(json!({}));
        let mut spec = object["spec"].clone();
        let template = crate::registry::json::remove(&mut spec, "template").unwrap_or_default();
        assert_eq!(
            spec,
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            })
        );
        assert_eq!(template["spec"]["restartPolicy"], "Always");
        assert_eq!(template["spec"].get("tolerations"), None);
        assert_eq!(template["spec"].get("serviceAccountName"), None);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn validation() {
        let rolling = |unavailable: Value, surge: Value| json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}}});
        let table = [
            (json!({}), vec![]),
            (
                json!({"spec": {"replicas": -1}}),
                vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"spec": {"selector": null}}),
                vec![
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"spec": {"selector": {"matchLabels": {"app": "x"}}}}),
                vec![
                    "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"spec": {"selector": {"matchLabels": null}}}),
                vec![
                    "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment",
                ],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                vec!["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Odd"}}}}),
                vec![
                    "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                    "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\"",
                ],
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": []}}}}),
                vec!["spec.template.spec.containers: Required value"],
            ),
            (
                rolling(json!(0), json!(0)),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}: may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                rolling(json!("150%"), json!(1)),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"150%\"}: must not be greater than 100%",
                ],
            ),
            (
                rolling(json!("x"), json!(1)),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"x\"}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ],
            ),
            (
                json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": {}}}}),
                vec!["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
            ),
            (
                json!({"spec": {"progressDeadlineSeconds": 5, "minReadySeconds": 5}}),
                vec!["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
            ),
        ];
        for (patch, expected) in table {
            assert_eq!(check(patch.clone(), None), expected, "{patch}");
        }
    }

    #[test]
    fn the_selector_stays() {
        let old = deployment(json!({}));
        let other = json!({"app": "b"});
        let patch = json!({"spec": {"selector": {"matchLabels": other}, "template": {"metadata": {"labels": other}}}});
        assert_eq!(check(json!({}), Some(&old)), Vec::<String>::new());
        assert_eq!(
            check(patch, Some(&old)),
            [
                "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"b\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable",
            ]
        );
    }

    #[test]
    fn printed() {
        let object = deployment(
            json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
        );
        assert_eq!(
            cells(&kind(), &object, 1_767_225_600),
            [
                json!("web"),
                json!("2/3"),
                json!(3),
                json!(1),
                json!("60s"),
                json!("web"),
                json!("nginx:1"),
                json!("app=web"),
            ]
        );
        assert_eq!(COLUMNS.len(), 8);
    }
}
