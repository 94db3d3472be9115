//! `batch/v1` Job.

use serde_json::{Value, json};

use super::workload::{self, CONTAINERS, IMAGES, matches, shown_selector};
use super::{job_spec, job_status};
use crate::registry::fields::{Errors, IMMUTABLE, Path, quoted, shown_map};
use crate::registry::hooks::{PLAIN, empty_status, keep_status};
use crate::registry::json::{
    at, copy, ensure, entries, get, get_mut, int, int_at, is_true, list_at, remove, same, set, set_default,
    set_missing, text, text_at,
};
use crate::registry::printers::{self, AGE, NAME, human_duration, seconds, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, warnings};

/// The label by which a job selects its pods.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// Conditions in the order in which they tell the status of a job.
const STATUSES: [(&str, &str); 2] = [("Complete", "Complete"), ("Failed", "Failed")];
const LATER_STATUSES: [&str; 3] = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "batch",
        version: "v1",
        kind: "Job",
        list_kind: "JobList",
        plural: "jobs",
        singular: "job",
        short_names: &[],
        categories: &["all"],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.batch.v1.Job",
        storage: "jobs.batch".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update: keep_status,
            validate,
            warn: warnings::named_template,
            validate_status: Some(job_status::validate),
            field: |job, path| {
                (path == "status.successful").then(|| int_at(job, &["status", "succeeded"]).unwrap_or(0).to_string())
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
    text_column("Status", "Status of the job."),
    text_column("Completions", "The number of pods which reached phase Succeeded."),
    text_column("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column("Selector", "A label query over pods that should match the pod count.")),
];

fn default(job: &mut Value) {
    labels_of_template(job);
    let Some(spec) = ensure(job, "spec") else { return };
    if get(spec, "completions").is_none() && get(spec, "parallelism").is_none() {
        set(spec, "completions", 1);
    }
    set_default(spec, "parallelism", 1);
    let per_index = get(spec, "backoffLimitPerIndex").is_some();
    set_default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    set_missing(spec, "completionMode", "NonIndexed");
    set_default(spec, "suspend", false);
    set_default(spec, "manualSelector", false);
    let replacement = if get(spec, "podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    set_missing(spec, "podReplacementPolicy", replacement);
    workload::default_template(spec);
}

/// A job without labels has those of its pods.
fn labels_of_template(job: &mut Value) {
    let labels = at(job, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels.filter(|l| entries(Some(l)).next().is_some())
        && entries(at(job, &["metadata", "labels"])).next().is_none()
        && let Some(meta) = ensure(job, "metadata")
    {
        set(meta, "labels", labels);
    }
}

/// The labels that tell the pods of a job from all others, with their values.
fn own_labels(job: &Value) -> [(&'static str, String); 4] {
    let [name, uid] = ["name", "uid"].map(|field| text_at(job, &["metadata", field]).to_owned());
    [
        ("controller-uid", uid.clone()),
        ("job-name", name.clone()),
        (UID_LABEL, uid),
        ("batch.kubernetes.io/job-name", name),
    ]
}

/// Gives the pods labels that no other job's pods have, and selects them by these, unless the client does it.
fn prepare_create(job: &mut Value) {
    empty_status(job);
    let own = own_labels(job);
    // A job that has its labels from its pods has those that the pods get here, too.
    let shared = same(at(job, &["metadata", "labels"]), at(job, &["spec", "template", "metadata", "labels"]));
    let Some(spec) = ensure(job, "spec").filter(|spec| !is_true(spec, "manualSelector")) else { return };
    let labels = ensure(spec, "template").and_then(|t| ensure(t, "metadata")).and_then(|m| ensure(m, "labels"));
    if let Some(labels) = labels {
        for (label, value) in &own {
            set_missing(labels, label, value.as_str());
        }
    }
    if let Some(labels) = ensure(spec, "selector").and_then(|s| ensure(s, "matchLabels")) {
        set_missing(labels, UID_LABEL, text_of(&own, UID_LABEL));
    }
    if shared && let Some(meta) = ensure(job, "metadata") {
        remove(meta, "labels");
    }
    labels_of_template(job);
}

fn text_of<'a>(labels: &'a [(&str, String)], label: &str) -> &'a str {
    labels.iter().find(|(name, _)| *name == label).map_or("", |(_, value)| value)
}

fn validate(job: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(job, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = job.get("spec").unwrap_or(&Value::Null);
    if old.is_none() {
        generated_selector(job, spec, &path, &mut errors);
    }
    job_spec::validate(spec, &path, &mut errors);
    selector(spec, &path, &mut errors);
    match old {
        Some(old) => update(spec, old, &path, &mut errors),
        None => hostnames(job, spec, &mut errors),
    }
    errors.into_vec()
}

/// A selector may only be given with `manualSelector`.
fn generated_selector(job: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(selector) = get(spec, "selector") else { return };
    if is_true(spec, "manualSelector") {
        return;
    }
    let own = own_labels(job);
    let labels = at(spec, &["template", "metadata", "labels"]);
    for (label, value) in &own {
        let path = path.child("template").child("metadata").child("labels").key(label);
        match labels.and_then(|l| get(l, label)).and_then(Value::as_str) {
            None => errors.required(&path, &format!("must be '{value}'")),
            Some(given) if given != value => errors.invalid(&path, shown_map(labels), format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    let expected: serde_json::Map<String, Value> = own.iter().map(|(l, v)| ((*l).to_owned(), json!(v))).collect();
    if !matches(selector, Some(&expected.into())) {
        errors.invalid(&path.child("selector"), shown_selector(selector), "`selector` not auto-generated");
    }
}

/// The pods of an indexed job have host names that end in their index.
fn hostnames(job: &Value, spec: &Value, errors: &mut Errors) {
    let name = text_at(job, &["metadata", "name"]);
    if let Some(completions) = int(spec, "completions").filter(|n| *n > 0 && job_spec::is_indexed(spec)) {
        let last = format!("{name}-{}", completions - 1);
        if !names::dns_label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.invalid(&Path::new("metadata").child("name"), quoted(name), detail);
        }
    }
}

fn selector(spec: &Value, path: &Path, errors: &mut Errors) {
    let labels = at(spec, &["template", "metadata", "labels"]);
    let selector_path = path.child("selector");
    let matching = match get(spec, "selector") {
        None => {
            errors.required(&selector_path, "");
            false
        }
        Some(selector) => {
            objectmeta::label_selector(selector, &selector_path, errors);
            matches(selector, labels)
        }
    };
    if !matching {
        let path = path.child("template").child("metadata").child("labels");
        errors.invalid(&path, shown_map(labels), "`selector` does not match template `labels`");
    }
}

fn update(spec: &Value, old_job: &Value, path: &Path, errors: &mut Errors) {
    let old = old_job.get("spec").unwrap_or(&Value::Null);
    completions_change(spec, old, &path.child("completions"), errors);
    let selector_path = path.child("selector");
    if !same(spec.get("selector"), old.get("selector")) {
        errors.invalid(&selector_path, shown_selector(spec.get("selector").unwrap_or(&Value::Null)), IMMUTABLE);
    }
    let movable = is_true(old, "suspend") && at(old_job, &["status", "startTime"]).is_none();
    template_change(spec, old, movable, &path.child("template"), errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.immutable(&path.child(field), spec.get(field), old.get(field));
    }
}

/// An indexed job may grow and shrink, with its parallelism.
fn completions_change(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let completions = int(spec, "completions");
    if !job_spec::is_indexed(spec) {
        errors.immutable(path, spec.get("completions"), old.get("completions"));
    } else if let Some(completions) = completions
        && int(old, "completions") != Some(completions)
        && int(spec, "parallelism") != Some(completions)
    {
        errors.invalid(path, completions.to_string(), "can only be modified in tandem with spec.parallelism");
    }
}

/// The template stays, but that a suspended job which has not started may still be sent elsewhere.
fn template_change(spec: &Value, old: &Value, movable: bool, path: &Path, errors: &mut Errors) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    let mut allowed = old.get("template").cloned().unwrap_or_default();
    if movable {
        for (part, fields) in [
            ("metadata", &["annotations", "labels"][..]),
            ("spec", &["nodeSelector", "tolerations", "schedulingGates"]),
        ] {
            let from = template.get(part).unwrap_or(&Value::Null);
            if let Some(part) = ensure(&mut allowed, part) {
                fields.iter().for_each(|field| copy(part, from, field));
            }
        }
        let affinity = at(template, &["spec", "affinity", "nodeAffinity"]).cloned();
        if let Some(pods) = get_mut(&mut allowed, "spec") {
            match affinity {
                Some(affinity) => ensure(pods, "affinity").map(|a| set(a, "nodeAffinity", affinity)),
                None => get_mut(pods, "affinity").map(|a| drop(remove(a, "nodeAffinity"))),
            };
        }
    }
    if !same(Some(template), Some(&allowed)) {
        errors.invalid(path, template.to_string(), IMMUTABLE);
    }
}

fn row(job: &Value, now: i64) -> Vec<Value> {
    vec![
        printers::name(job),
        status(job).into(),
        completions(job).into(),
        duration(job, now).into(),
        printers::age(job, now),
        printers::of_containers(job, "name"),
        printers::of_containers(job, "image"),
        printers::selector(at(job, &["spec", "selector"])).into(),
    ]
}

fn status(job: &Value) -> &'static str {
    let conditions = list_at(job, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|c| text(c, "type") == kind && text(c, "status") == "True");
    if let Some((_, words)) = STATUSES.iter().find(|(kind, _)| has(kind)) {
        return words;
    }
    if at(job, &["metadata", "deletionTimestamp"]).is_some() {
        return "Terminating";
    }
    LATER_STATUSES.into_iter().find(|kind| has(kind)).unwrap_or("Running")
}

fn completions(job: &Value) -> String {
    let succeeded = int_at(job, &["status", "succeeded"]).unwrap_or(0);
    let parallelism = int_at(job, &["spec", "parallelism"]).unwrap_or(0);
    match int_at(job, &["spec", "completions"]) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: i64) -> String {
    let at = |field| seconds(text_at(job, &["status", field]));
    let end = at("completionTime").unwrap_or(now);
    at("startTime").map(|start| human_duration(end.saturating_sub(start))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn spec(fields: Value) -> Value {
        let mut spec =
            json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn a_new_job_selects_its_own_pods() {
        let object = created(&kind(), spec(json!({})));
        let labels = json!({
            "job-name": "a", "batch.kubernetes.io/job-name": "a", "controller-uid": "u-1", UID_LABEL: "u-1",
        });
        assert_eq!(object["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {UID_LABEL: "u-1"}}));
        let mut rest = object["spec"].clone();
        for field in ["template", "selector"] {
            crate::registry::json::remove(&mut rest, field);
        }
        assert_eq!(
            rest,
            json!({
                "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
                "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
            })
        );
    }

    #[test]
    fn cells() {
        let condition = |kind| json!([{"type": kind, "status": "True"}]);
        for (fields, expected) in [
            (json!({}), ["Running", "0/1", ""]),
            (
                json!({"startTime": "2025-12-31T23:58:00Z", "succeeded": 1, "completionTime": "2025-12-31T23:58:07Z", "conditions": condition("Complete")}),
                ["Complete", "1/1", "7s"],
            ),
            (
                json!({"startTime": "2025-12-31T23:59:50Z", "conditions": condition("Suspended")}),
                ["Suspended", "0/1", "10s"],
            ),
        ] {
            let mut object = created(&kind(), spec(json!({})));
            object["status"] = fields;
            assert_eq!(row(&object, 1_767_225_600)[1..4], expected, "{object}");
        }
    }

    #[test]
    fn validation() {
        let policy = |policy: &str| json!({"template": {"spec": {"restartPolicy": policy}}});
        for (fields, old, expected) in [
            (json!({}), None, vec![]),
            (
                policy("Always"),
                None,
                vec!["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
            ),
            (
                json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}}),
                None,
                vec![
                    "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"a\":\"b\", \"batch.kubernetes.io/controller-uid\":\"u-1\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: `selector` not auto-generated",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "parallelism": 1}),
                None,
                vec!["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (json!({"parallelism": 3, "completions": 1, "backoffLimit": 2}), Some(json!({})), vec![]),
            (
                json!({"template": {"metadata": {"labels": {"job-name": "b"}}}}),
                None,
                vec![
                    "spec.template.metadata.labels[job-name]: Invalid value: map[string]string{\"batch.kubernetes.io/controller-uid\":\"u-1\", \"batch.kubernetes.io/job-name\":\"a\", \"controller-uid\":\"u-1\", \"job-name\":\"b\"}: must be 'a'",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 2, "parallelism": 1}),
                Some(json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1})),
                vec!["spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}),
                Some(json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1})),
                vec![],
            ),
            (
                json!({"suspend": true, "completions": 1, "template": {"metadata": {"labels": {"x": "y"}}, "spec": {"nodeSelector": {"a": "b"}}}}),
                Some(json!({"suspend": true, "completions": 1})),
                vec![],
            ),
            (
                json!({"completionMode": "Odd"}),
                None,
                vec!["spec.completionMode: Unsupported value: \"Odd\": supported values: \"NonIndexed\", \"Indexed\""],
            ),
            (
                json!({"completions": 2}),
                Some(json!({"completions": 1})),
                vec!["spec.completions: Invalid value: 2: field is immutable"],
            ),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), old.map(spec)), expected, "{fields}");
        }
    }
}
