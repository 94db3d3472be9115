//! Validation of the status of a Job: of its numbers, and of the way it may take to its end.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{job_indexes as indexes, job_spec};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::{shown_list, shown_struct};
use crate::registry::json::{at, get, int, is_true, list_at, same, text, texts};
use crate::registry::printers::seconds;
use crate::registry::{FieldError, names, objectmeta};

/// A job before or after a write of its status.
struct Job<'a> {
    spec: &'a Value,
    status: &'a Value,
    complete: bool,
    failed: bool,
    failure_target: bool,
    success_met: bool,
}

impl<'a> Job<'a> {
    fn new(job: &'a Value) -> Self {
        let conditions = list_at(job, &["status", "conditions"]);
        let is = |kind: &str| conditions.iter().any(|c| text(c, "type") == kind && text(c, "status") == "True");
        Self {
            spec: job.get("spec").unwrap_or(&Value::Null),
            status: job.get("status").unwrap_or(&Value::Null),
            complete: is("Complete"),
            failed: is("Failed"),
            failure_target: is("FailureTarget"),
            success_met: is("SuccessCriteriaMet"),
        }
    }

    fn finished(&self) -> bool {
        self.complete || self.failed
    }

    fn count(&self, field: &str) -> i64 {
        int(self.status, field).unwrap_or(0)
    }

    fn has(&self, field: &str) -> bool {
        get(self.status, field).is_some()
    }

    fn uncounted(&self, field: &str) -> Vec<&'a str> {
        at(self.status, &["uncountedTerminatedPods"]).map(|pods| texts(pods, field)).unwrap_or_default()
    }
}

/// Validates a write of the status: (new, old).
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(new, Some(old), true, names::dns_subdomain, &mut errors);
    let (new, old) = (Job::new(new), Job::new(old));
    numbers(&new, &mut errors);
    conditions(&new, &old, &mut errors);
    times(&new, &old, &mut errors);
    finished(&new, &old, &mut errors);
    index_sets(&new, &old, &mut errors);
    transitions(&new, &old, &mut errors);
    errors.into_vec()
}

fn field(name: &str) -> Path {
    Path::new("status").child(name)
}

fn changed(new: &Job<'_>, old: &Job<'_>, name: &str) -> bool {
    !same(get(new.status, name), get(old.status, name))
}

fn numbers(job: &Job<'_>, errors: &mut Errors) {
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        errors.non_negative(&field(name), int(job.status, name));
    }
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in job.uncounted(list).into_iter().enumerate() {
            let path = field("uncountedTerminatedPods").child(list).index(i);
            if uid.is_empty() {
                errors.invalid(&path, quoted(uid), "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path, quoted(uid));
            }
        }
    }
}

/// Conditions that do not go together. Each is looked at when one of them came or went.
fn conditions(new: &Job<'_>, old: &Job<'_>, errors: &mut Errors) {
    let complete = new.complete != old.complete;
    let failed = new.failed != old.failed;
    let target = new.failure_target != old.failure_target;
    let success = new.success_met != old.success_met;
    let has_policy = get(new.spec, "successPolicy").is_some();
    for (looked_at, wrong, detail) in [
        (complete || failed, new.complete && new.failed, "cannot set Complete=True and Failed=true conditions"),
        (
            complete || target,
            new.complete && new.failure_target,
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            failed || target,
            new.failed && !new.failure_target,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete || success,
            new.complete && !new.success_met,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (true, new.success_met && new.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            true,
            new.success_met && new.failure_target,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            has_policy,
            new.complete && !new.success_met,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ] {
        if looked_at && wrong {
            errors.inconsistent(&field("conditions"), detail);
        }
    }
}

fn times(new: &Job<'_>, old: &Job<'_>, errors: &mut Errors) {
    let path = field("completionTime");
    let completed = text(new.status, "completionTime");
    let completing = new.complete != old.complete || changed(new, old, "completionTime");
    if completing && !completed.is_empty() && !new.complete {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid(&path, go_time(completed), detail);
    }
    if completing && completed.is_empty() && new.complete {
        errors.required(&path, "completionTime is required for Complete jobs");
    }
    let early = seconds(completed).zip(seconds(text(new.status, "startTime"))).is_some_and(|(end, start)| end < start);
    if early && (changed(new, old, "startTime") || changed(new, old, "completionTime")) {
        errors.invalid(&path, go_time(completed), "completionTime cannot be set before startTime");
    }
}

/// A time as Go prints it: `2026-01-01 00:00:00 +0000 UTC`.
fn go_time(time: &str) -> String {
    time.parse::<jiff::Timestamp>()
        .map_or_else(|_| quoted(time), |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string())
}

/// What a finished job must not have any more.
fn finished(new: &Job<'_>, old: &Job<'_>, errors: &mut Errors) {
    let ended = new.finished() != old.finished();
    let looked_at = |name: &str| new.finished() && (ended || changed(new, old, name));
    if looked_at("active") && new.count("active") > 0 {
        errors.invalid(&field("active"), new.count("active").to_string(), "active>0 is invalid for finished job");
    }
    if looked_at("startTime") && !new.has("startTime") {
        errors.required(&field("startTime"), "startTime is required for finished job");
    }
    let [succeeded, failed] = ["succeeded", "failed"].map(|list| new.uncounted(list));
    if looked_at("uncountedTerminatedPods") && !(succeeded.is_empty() && failed.is_empty()) {
        let fields = [("Succeeded", shown_list("types.UID", &succeeded)), ("Failed", shown_list("types.UID", &failed))];
        let shown = shown_struct("batch.UncountedTerminatedPods", &fields);
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&field("uncountedTerminatedPods"), shown, detail);
    }
    if looked_at("terminating") && new.count("terminating") > 0 {
        let count = new.count("terminating").to_string();
        errors.invalid(&field("terminating"), count, "terminating>0 is invalid for finished job");
    }
    if (changed(new, old, "ready") || changed(new, old, "active")) && new.count("ready") > new.count("active") {
        errors.invalid(&field("ready"), new.count("ready").to_string(), "cannot set more ready pods than active");
    }
}

fn index_sets(new: &Job<'_>, old: &Job<'_>, errors: &mut Errors) {
    let [completed, failed] = ["completedIndexes", "failedIndexes"].map(|name| text(new.status, name));
    let [new_completed, new_failed] = ["completedIndexes", "failedIndexes"].map(|name| changed(new, old, name));
    let limited = get(new.spec, "backoffLimitPerIndex").is_some();
    let completions = int(new.spec, "completions");
    for (name, set, looked_at) in
        [("completedIndexes", completed, new_completed), ("failedIndexes", failed, new_failed && limited)]
    {
        if let Some(Err(complaint)) = completions.filter(|_| looked_at).map(|n| indexes::count(set, n)) {
            errors.invalid(&field(name), quoted(set), format!("error parsing {name}: {complaint}"));
        }
    }
    if new_completed && !completed.is_empty() && !job_spec::is_indexed(new.spec) {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&field("completedIndexes"), quoted(completed), detail);
    }
    if new_failed && !limited && new.has("failedIndexes") {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&field("failedIndexes"), quoted(failed), detail);
    }
    let shared =
        completions.filter(|_| new_failed || new_completed).and_then(|n| indexes::overlap(completed, failed, n));
    if let Some(index) = shared {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&field("failedIndexes"), quoted(failed), detail);
    }
}

/// Ways that there are not: back from an end, and counting down.
fn transitions(new: &Job<'_>, old: &Job<'_>, errors: &mut Errors) {
    for (gone, kind) in [
        (old.failed && !new.failed, "Failed"),
        (old.complete && !new.complete, "Complete"),
        (old.failure_target && !new.failure_target, "FailureTarget"),
    ] {
        if gone {
            errors.inconsistent(&field("conditions"), format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let elastic = job_spec::is_indexed(new.spec) && int(new.spec, "completions") == int(new.spec, "parallelism");
    for (name, may_shrink) in [("failed", false), ("succeeded", elastic)] {
        if !may_shrink && new.count(name) < old.count(name) {
            let detail = format!("cannot decrease the {name} counter");
            errors.invalid(&field(name), new.count(name).to_string(), detail);
        }
    }
    if new.has("completionTime") && old.has("completionTime") && changed(new, old, "completionTime") {
        let shown = go_time(text(new.status, "completionTime"));
        errors.invalid(&field("completionTime"), shown, "completionTime cannot be mutated");
    }
    if old.has("startTime") && changed(new, old, "startTime") && !is_true(new.spec, "suspend") {
        errors.required(&field("startTime"), "startTime cannot be removed for unsuspended job");
    }
    if old.success_met && !new.success_met {
        errors.inconsistent(&field("conditions"), "cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.complete && !old.success_met && new.success_met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.inconsistent(&field("conditions"), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints(spec: &Value, new: &Value, old: &Value) -> Vec<String> {
        let job = |status: &Value| json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec, "status": status});
        validate(&job(new), &job(old)).iter().map(ToString::to_string).collect()
    }

    fn of(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    #[test]
    fn the_way_to_the_end() {
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z");
        let done = json!({
            "startTime": start, "completionTime": end, "succeeded": 1, "conditions": of(&["SuccessCriteriaMet", "Complete"]),
        });
        let running = json!({"startTime": start, "active": 1, "ready": 1});
        for (new, old, expected) in [
            (running.clone(), json!({}), vec![]),
            (done.clone(), running.clone(), vec![]),
            (
                json!({"startTime": start, "conditions": of(&["FailureTarget", "Failed"]), "failed": 1}),
                running.clone(),
                vec![],
            ),
            (
                running,
                done.clone(),
                vec![
                    "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                    "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
                    "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
                ],
            ),
            (
                json!({"conditions": of(&["Complete"]), "active": 1}),
                json!({}),
                vec![
                    "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                    "status.active: Invalid value: 1: active>0 is invalid for finished job",
                    "status.startTime: Required value: startTime is required for finished job",
                ],
            ),
            (
                json!({"startTime": end, "completionTime": start}),
                json!({}),
                vec![
                    "status.completionTime: Invalid value: 2026-01-01 00:00:00 +0000 UTC: cannot set completionTime when there is no Complete=True condition",
                    "status.completionTime: Invalid value: 2026-01-01 00:00:00 +0000 UTC: completionTime cannot be set before startTime",
                ],
            ),
            (
                json!({"startTime": start, "conditions": of(&["Failed"])}),
                json!({"startTime": start}),
                vec![
                    "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                ],
            ),
            (
                json!({"ready": 2, "active": 1, "failed": -1, "uncountedTerminatedPods": {"succeeded": ["u", "u"]}}),
                json!({}),
                vec![
                    "status.failed: Invalid value: -1: must be greater than or equal to 0",
                    "status.uncountedTerminatedPods.succeeded[1]: Duplicate value: \"u\"",
                    "status.ready: Invalid value: 2: cannot set more ready pods than active",
                    "status.failed: Invalid value: -1: cannot decrease the failed counter",
                ],
            ),
            (
                json!({}),
                json!({"startTime": start}),
                vec!["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
            ),
        ] {
            assert_eq!(complaints(&json!({"completions": 1}), &new, &old), expected, "{new}");
        }
    }

    #[test]
    fn sets_of_indexes() {
        let indexed =
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 1, "backoffLimitPerIndex": 1});
        for (spec, new, expected) in [
            (&indexed, json!({"completedIndexes": "0", "failedIndexes": "1"}), vec![]),
            (
                &indexed,
                json!({"completedIndexes": "0-1", "failedIndexes": "1-9"}),
                vec![
                    "status.failedIndexes: Invalid value: \"1-9\": error parsing failedIndexes: too large index: \"9\"",
                ],
            ),
            (
                &indexed,
                json!({"completedIndexes": "0-1", "failedIndexes": "1"}),
                vec![
                    "status.failedIndexes: Invalid value: \"1\": failedIndexes and completedIndexes overlap at index: 1",
                ],
            ),
            (
                &json!({"completions": 3}),
                json!({"completedIndexes": "0", "failedIndexes": "1"}),
                vec![
                    "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
                    "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
                ],
            ),
        ] {
            assert_eq!(complaints(spec, &new, &json!({})), expected, "{new}");
        }
    }
}
