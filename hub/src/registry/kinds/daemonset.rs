//! `apps/v1` DaemonSet.

use serde_json::{Value, json};

use super::status_rules::StatusRules;
use super::workload::{self, CONTAINERS, IMAGES, amount, count_or_percent, not_over_all};
use crate::registry::fields::{Errors, Path, quoted, shown_int_or_string};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, get, int, int_at, same, set, set_default, set_missing, text, text_at};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

/// Counts the templates that there were: a field of the first versions of this API.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// What a status must fulfil.
const STATUS: StatusRules = StatusRules {
    counts: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    within: &[],
};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        list_kind: "DaemonSetList",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        categories: &["all"],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.apps.v1.DaemonSet",
        storage: "daemonsets.apps".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update,
            validate,
            warn: warnings::template,
            validate_status: Some(|new, old| STATUS.validate(new, old)),
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "The total number of nodes that should be running the daemon pod."),
    integer(
        "Current",
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod.",
    ),
    integer("Ready", "The number of nodes that should be running the daemon pod and have it ready."),
    integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
    integer("Available", "The number of nodes that should be running the daemon pod and have it available."),
    text_column(
        "Node Selector",
        "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column("Selector", "A label query over pods that are managed by the daemon set.")),
];

fn default(set: &mut Value) {
    let Some(spec) = ensure(set, "spec") else { return };
    set_default(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        set_default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set_missing(rolling, "maxUnavailable", 1);
            set_missing(rolling, "maxSurge", 0);
        }
    }
    workload::default_template(spec);
}

fn prepare_create(object: &mut Value) {
    let counts =
        json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0});
    set(object, "status", counts);
    let given = template_generation(object).max(1);
    set_template_generation(object, given);
}

fn prepare_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    let template = |set: &Value| at(set, &["spec", "template"]).cloned();
    let changed = !same(template(new).as_ref(), template(old).as_ref());
    set_template_generation(new, template_generation(old).saturating_add(i64::from(changed)));
}

fn template_generation(set: &Value) -> i64 {
    text_at(set, &["metadata", "annotations", GENERATION]).parse().unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(annotations) = ensure(object, "metadata").and_then(|m| ensure(m, "annotations")) {
        set(annotations, GENERATION, generation.to_string());
    }
}

fn validate(set: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(set, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = set.get("spec").unwrap_or(&Value::Null);
    selected_template(spec, &path, &mut errors);
    errors.non_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    update_strategy(spec.get("updateStrategy").unwrap_or(&Value::Null), &path.child("updateStrategy"), &mut errors);
    errors.non_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
    workload::immutable_selector(set, old, &mut errors);
    errors.into_vec()
}

/// Kubernetes asks less of a daemon set's selector than of others'.
fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let selector_path = path.child("selector");
    let selector = get(spec, "selector");
    let (template, path) = (spec.get("template").unwrap_or(&Value::Null), path.child("template"));
    if selector.is_none_or(|s| objectmeta::label_selector(s, &selector_path, errors)) {
        workload::selects_template(spec, template, &path, errors);
    }
    if let Some(selector) = selector {
        workload::not_empty(selector, &selector_path, "daemonset", errors);
    }
    podspec::template(template, &path, errors);
    workload::always_restarting("DaemonSet", template, &path, errors);
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    match (text(strategy, "type"), get(strategy, "rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&path.child("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &path.child("rollingUpdate"), errors),
        (other, _) => {
            let rolling = shown_pointer("apps.RollingUpdateDaemonSet", strategy, "rollingUpdate");
            let fields = [("Type", quoted(other)), ("RollingUpdate", rolling)];
            let shown = shown_struct("apps.DaemonSetUpdateStrategy", &fields);
            errors.shown_not_supported(path, shown, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut Errors) {
    let zero = json!(0);
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|field| get(rolling, field).unwrap_or(&zero));
    for (value, field) in [(unavailable, "maxUnavailable"), (surge, "maxSurge")] {
        count_or_percent(value, &path.child(field), errors);
        not_over_all(value, &path.child(field), errors);
    }
    match [unavailable, surge].map(|v| amount(v) != 0) {
        [true, true] => errors.invalid(
            &path.child("maxSurge"),
            shown_int_or_string(surge),
            "may not be set when maxUnavailable is non-zero",
        ),
        [false, false] => errors.required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        [true, false] | [false, true] => {}
    }
}

fn row(set: &Value, now: i64) -> Vec<Value> {
    let status = |field| Value::from(int_at(set, &["status", field]).unwrap_or(0));
    vec![
        printers::name(set),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        printers::labels(at(set, &["spec", "template", "spec", "nodeSelector"])).into(),
        printers::age(set, now),
        printers::of_containers(set, "name"),
        printers::of_containers(set, "image"),
        printers::selector(at(set, &["spec", "selector"])).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn spec(fields: Value) -> Value {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": "log"}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        });
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn defaults_and_cells() {
        let object = created(&kind(), spec(json!({})));
        assert_eq!(
            object["spec"]["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
        );
        assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(
            row(&object, 1_767_225_600)[5..],
            [json!(0), json!("<none>"), json!("60s"), json!("c"), json!("i"), json!("app=log")]
        );
    }

    #[test]
    fn validation() {
        let rolling = |fields: Value| spec(json!({"updateStrategy": {"rollingUpdate": fields}}));
        let table = [
            (spec(json!({})), vec![]),
            (rolling(json!({"maxUnavailable": 0, "maxSurge": "30%"})), vec![]),
            (
                rolling(json!({"maxUnavailable": 0})),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
            (
                rolling(json!({"maxSurge": 1})),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: intstr.IntOrString{Type:0, IntVal:1, StrVal:\"\"}: may not be set when maxUnavailable is non-zero",
                ],
            ),
            (
                spec(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
                vec!["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            ),
            (
                spec(json!({"selector": {"matchLabels": null}})),
                vec![
                    "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for daemonset",
                ],
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(complaints(&kind(), fields.clone(), None), expected, "{fields}");
        }
    }
}
