//! `batch/v1` CronJob.

use serde_json::Value;

use super::job_spec;
use super::status_rules::StatusRules;
use super::workload::{self, CONTAINERS, IMAGES, shown_selector};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, empty_status, keep_status};
use crate::registry::json::{at, ensure, get, int, is_true, list_at, set_default, text, text_at};
use crate::registry::printers::{self, AGE, NAME, integer, or_none, since, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, cron, names, objectmeta, warnings};

/// Its jobs' names are eleven characters longer.
const NAME_MAX: usize = 52;
const ZONE_PART_MAX: usize = 14;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        list_kind: "CronJobList",
        plural: "cronjobs",
        singular: "cronjob",
        short_names: &["cj"],
        categories: &["all"],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.batch.v1.CronJob",
        storage: "cronjobs.batch".into(),
        hooks: Hooks {
            default,
            prepare_create: empty_status,
            prepare_update: keep_status,
            validate,
            warn: warnings::cron_job,
            validate_status: Some(|new, old| StatusRules { counts: &[], within: &[] }.validate(new, old)),
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    text_column("Timezone", "The time zone name for the given schedule."),
    Column {
        kind: "boolean",
        ..text_column(
            "Suspend",
            "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions. Defaults to false.",
        )
    },
    integer("Active", "A list of pointers to currently running jobs."),
    text_column("Last Schedule", "Information when was the last time the job was successfully scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(text_column("Selector", "A label query over pods that should match the pod count.")),
];

fn default(cron_job: &mut Value) {
    let Some(spec) = ensure(cron_job, "spec") else { return };
    set_default(spec, "concurrencyPolicy", "Allow");
    set_default(spec, "suspend", false);
    set_default(spec, "successfulJobsHistoryLimit", 3);
    set_default(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = ensure(spec, "jobTemplate").and_then(|t| ensure(t, "spec")) {
        workload::default_template(job);
    }
}

fn validate(cron_job: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(cron_job, old, true, names::dns_subdomain, &mut errors);
    let name = text_at(cron_job, &["metadata", "name"]);
    if old.is_none() && name.len() > NAME_MAX {
        let detail = format!("must be no more than {NAME_MAX} characters");
        errors.invalid(&Path::new("metadata").child("name"), quoted(name), detail);
    }
    let path = Path::new("spec");
    let spec = cron_job.get("spec").unwrap_or(&Value::Null);
    let before = old.map(|old| old.get("spec").unwrap_or(&Value::Null));
    schedule(spec, before, &path.child("schedule"), &mut errors);
    if before.is_none_or(|old| get(old, "timeZone") != get(spec, "timeZone")) {
        time_zone(spec, &path.child("timeZone"), &mut errors);
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.non_negative(&path.child(field), int(spec, field));
    }
    match text(spec, "concurrencyPolicy") {
        "" => errors.required(&path.child("concurrencyPolicy"), ""),
        policy if POLICIES.contains(&policy) => {}
        policy => errors.not_supported(&path.child("concurrencyPolicy"), policy, &POLICIES),
    }
    let path = path.child("jobTemplate").child("spec");
    let job = at(spec, &["jobTemplate", "spec"]).unwrap_or(&Value::Null);
    job_spec::validate(job, &path, &mut errors);
    if let Some(selector) = get(job, "selector") {
        errors.invalid(&path.child("selector"), shown_selector(selector), "`selector` will be auto-generated");
    }
    if is_true(job, "manualSelector") {
        errors.shown_not_supported(&path.child("manualSelector"), "true", &["nil", "false"]);
    }
    errors.into_vec()
}

fn schedule(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        return errors.required(path, "");
    }
    if let Err(complaint) = cron::check(schedule) {
        errors.invalid(path, quoted(schedule), complaint);
    }
    let had_zone = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
    if schedule.contains("TZ") && !had_zone {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(path, quoted(schedule), detail);
    } else if schedule.contains("TZ") && get(spec, "timeZone").is_some() {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.invalid(path, quoted(schedule), detail);
    }
}

fn time_zone(spec: &Value, path: &Path, errors: &mut Errors) {
    match get(spec, "timeZone").and_then(Value::as_str) {
        None => {}
        Some("") => errors.invalid(path, quoted(""), "timeZone must be nil or non-empty string"),
        Some(zone) if !zone_name(zone) => errors.invalid(path, quoted(zone), format!("unknown time zone {zone}")),
        Some(zone) if zone.eq_ignore_ascii_case("local") => errors.invalid(
            path,
            quoted(zone),
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ),
        Some(_) => {}
    }
}

fn zone_name(zone: &str) -> bool {
    let valid = |part: &str| {
        ![".", ".."].contains(&part)
            && !part.starts_with('-')
            && (1..=ZONE_PART_MAX).contains(&part.len())
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"._+-".contains(&c))
    };
    zone.split('/').all(valid)
}

fn row(cron_job: &Value, now: i64) -> Vec<Value> {
    let spec = cron_job.get("spec").unwrap_or(&Value::Null);
    let last = text_at(cron_job, &["status", "lastScheduleTime"]);
    let last = if last.is_empty() { "<none>".to_owned() } else { since(last, now) };
    let suspend = match get(spec, "suspend").and_then(Value::as_bool) {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    let job = at(spec, &["jobTemplate"]).unwrap_or(&Value::Null);
    vec![
        printers::name(cron_job),
        text(spec, "schedule").into(),
        or_none(text(spec, "timeZone")).into(),
        suspend.into(),
        list_at(cron_job, &["status", "active"]).len().into(),
        last.into(),
        printers::age(cron_job, now),
        printers::of_containers(job, "name"),
        printers::of_containers(job, "image"),
        printers::selector(at(job, &["spec", "selector"])).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    fn spec(fields: Value) -> Value {
        let pod = json!({"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]}});
        let mut spec = json!({"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": pod}}});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn defaults_and_cells() {
        let mut object = created(&kind(), spec(json!({})));
        object["status"] = json!({"active": [{}], "lastScheduleTime": "2025-12-31T23:59:30Z"});
        let spec = &object["spec"];
        assert_eq!((&spec["successfulJobsHistoryLimit"], &spec["failedJobsHistoryLimit"]), (&json!(3), &json!(1)));
        assert_eq!(spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [
                json!("*/5 * * * *"),
                json!("<none>"),
                json!("False"),
                json!(1),
                json!("30s"),
                json!("60s"),
                json!("c"),
                json!("i"),
                json!("<none>"),
            ]
        );
    }

    #[test]
    fn validation() {
        for (fields, expected) in [
            (json!({"timeZone": "Europe/Berlin"}), vec![]),
            (json!({"schedule": ""}), vec!["spec.schedule: Required value"]),
            (
                json!({"schedule": "daily"}),
                vec!["spec.schedule: Invalid value: \"daily\": expected exactly 5 fields, found 1: [daily]"],
            ),
            (
                json!({"schedule": "TZ=UTC 0 0 * * *"}),
                vec![
                    "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
            (
                json!({"concurrencyPolicy": "Never"}),
                vec![
                    "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                ],
            ),
            (
                json!({"schedule": "TZ=UTC x"}),
                vec![
                    "spec.schedule: Invalid value: \"TZ=UTC x\": expected exactly 5 fields, found 1: [x]",
                    "spec.schedule: Invalid value: \"TZ=UTC x\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
            (
                json!({"jobTemplate": {"spec": {"manualSelector": true}}}),
                vec![
                    "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                ],
            ),
            (json!({"timeZone": "../etc"}), vec!["spec.timeZone: Invalid value: \"../etc\": unknown time zone ../etc"]),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), None), expected, "{fields}");
        }
    }
}
