//! Validation of the spec of a Job, also in the template of a CronJob.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ingressclass::domain_path;
use super::job_indexes as indexes;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::json::{get, int, list, list_at, text, text_at};
use crate::registry::{names, podspec};

const INDEXED_MAX: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
/// Of pods at a time and of failed indexes, with so many completions and a limit for each index.
const LIMIT_FOR_MANY: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const MANAGED_BY_MAX: usize = 63;
const INDEXES_MAX: usize = 64 << 10;

const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const ONE_POLICIES: [&str; 2] = ["OnFailure", "Never"];
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Whether each completion of the job has an index.
pub(super) fn is_indexed(spec: &Value) -> bool {
    text(spec, "completionMode") == "Indexed"
}

/// Validates the spec of a job or of a template of jobs, but for its selector.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.non_negative(&path.child(field), int(spec, field));
    }
    if get(spec, "maxFailedIndexes").is_some() && get(spec, "backoffLimitPerIndex").is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = get(spec, "managedBy").and_then(Value::as_str) {
        domain_path(manager, &path.child("managedBy"), errors);
        if manager.len() > MANAGED_BY_MAX {
            errors.too_long(&path.child("managedBy"), MANAGED_BY_MAX);
        }
    }
    mode(spec, path, errors);
    if let Some(policy) = get(spec, "podFailurePolicy") {
        failure_policy(policy, spec, &path.child("podFailurePolicy").child("rules"), errors);
    }
    if let Some(policy) = get(spec, "successPolicy") {
        success_policy(policy, spec, &path.child("successPolicy"), errors);
    }
    replacement(spec, &path.child("podReplacementPolicy"), errors);
    template(spec, &path.child("template"), errors);
}

fn mode(spec: &Value, path: &Path, errors: &mut Errors) {
    let mode = get(spec, "completionMode").and_then(Value::as_str);
    if let Some(mode) = mode.filter(|mode| !MODES.contains(mode)) {
        errors.not_supported(&path.child("completionMode"), mode, &MODES);
    }
    if is_indexed(spec) {
        indexed(spec, path, errors);
    } else if mode.is_none_or(|mode| mode == "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = int(spec, field) {
                errors.invalid(&path.child(field), number.to_string(), "requires indexed completion mode");
            }
        }
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    let [completions, parallelism, failed] =
        ["completions", "parallelism", "maxFailedIndexes"].map(|field| int(spec, field));
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    let many = completions.is_some_and(|n| n > MANY_COMPLETIONS) && get(spec, "backoffLimitPerIndex").is_some();
    let or_fewer = |limit: i64| format!("must be less than or equal to {limit}");
    let for_many = format!(
        "{} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index",
        or_fewer(LIMIT_FOR_MANY)
    );
    let mut at_most = |field: &str, number: Option<i64>, limit: Option<i64>, detail: &str| {
        if let (Some(number), Some(limit)) = (number, limit)
            && number > limit
        {
            errors.invalid(&path.child(field), number.to_string(), detail);
        }
    };
    let detail = format!("{} when completion mode is Indexed", or_fewer(INDEXED_MAX));
    at_most("parallelism", parallelism, Some(INDEXED_MAX), &detail);
    at_most("maxFailedIndexes", failed, completions, "must be less than or equal to completions");
    at_most("maxFailedIndexes", failed, Some(INDEXED_MAX), &or_fewer(INDEXED_MAX));
    if many {
        at_most("parallelism", parallelism, Some(LIMIT_FOR_MANY), &for_many);
        at_most("maxFailedIndexes", failed, Some(LIMIT_FOR_MANY), &for_many);
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(&path.child("maxFailedIndexes"), &detail);
        }
    }
}

/// `["Count" "FailJob"]`, as Go prints a list in a sentence.
fn valid_values(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
    format!("valid values: [{}]", values.join(" "))
}

/// Validates a text that must be given, and one of a few.
fn one_of(object: &Value, field: &str, values: &[&str], path: &Path, errors: &mut Errors) {
    match text(object, field) {
        "" => errors.required(&path.child(field), &valid_values(values)),
        value if values.contains(&value) => {}
        value => errors.not_supported(&path.child(field), value, values),
    }
}

fn failure_policy(policy: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(policy, "rules");
    if rules.len() > RULES_MAX {
        errors.too_many(path, rules.len(), RULES_MAX);
    }
    let containers = ["containers", "initContainers"].into_iter();
    let containers: BTreeSet<&str> =
        containers.flat_map(|f| list_at(spec, &["template", "spec", f])).map(|c| text(c, "name")).collect();
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(rule, spec, &containers, &path.index(i), errors);
    }
}

fn failure_rule(rule: &Value, spec: &Value, containers: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    one_of(rule, "action", &ACTIONS, path, errors);
    if text(rule, "action") == "FailIndex" && get(spec, "backoffLimitPerIndex").is_none() {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.invalid(&path.child("action"), quoted("FailIndex"), detail);
    }
    let codes = get(rule, "onExitCodes");
    if let Some(codes) = codes {
        exit_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    let conditions = list(rule, "onPodConditions");
    pod_conditions(conditions, &path.child("onPodConditions"), errors);
    match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => errors.inconsistent(path, "specifying both OnExitCodes and OnPodConditions is not supported"),
        (false, false) => errors.inconsistent(path, "specifying one of OnExitCodes and OnPodConditions is required"),
        (true, false) | (false, true) => {}
    }
}

fn pod_conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    if conditions.len() > PATTERNS_MAX {
        errors.too_many(path, conditions.len(), PATTERNS_MAX);
    }
    for (i, pattern) in conditions.iter().enumerate() {
        let path = path.index(i);
        let kind = text(pattern, "type");
        errors.invalid_text(&path.child("type"), kind, names::qualified_name(kind));
        one_of(pattern, "status", &STATUSES, &path, errors);
    }
}

fn exit_codes(codes: &Value, containers: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    one_of(codes, "operator", &OPERATORS, path, errors);
    if let Some(name) = get(codes, "containerName").and_then(Value::as_str).filter(|name| !containers.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), quoted(name), detail);
    }
    let path = path.child("values");
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.invalid(&path, shown_numbers(&values), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&path, values.len(), EXIT_CODES_MAX);
    }
    for (i, value) in values.iter().enumerate() {
        if *value == 0 && text(codes, "operator") == "In" {
            errors.invalid(&path.index(i), "0", "must not be 0 for the In operator");
        }
        if values[..i].contains(value) {
            errors.duplicate(&path.index(i), value.to_string());
        }
    }
    if !values.is_sorted() {
        errors.invalid(&path, shown_numbers(&values), "must be ordered");
    }
}

fn shown_numbers(numbers: &[i64]) -> String {
    let items: Vec<String> = numbers.iter().map(i64::to_string).collect();
    if items.is_empty() { "[]int32(nil)".into() } else { format!("[]int32{{{}}}", items.join(", ")) }
}

fn success_policy(policy: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(policy, "rules");
    if !is_indexed(spec) {
        return errors.invalid(path, shown_success(rules), "requires indexed completion mode");
    }
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&path, rules.len(), RULES_MAX);
    }
    let completions = int(spec, "completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(i), errors);
    }
}

fn shown_success(rules: &[Value]) -> String {
    let one = |rule: &Value| {
        let [indexes, count] = [("string", "succeededIndexes"), ("int32", "succeededCount")]
            .map(|(kind, field)| shown_pointer(kind, rule, field));
        shown_struct("", &[("SucceededIndexes", indexes), ("SucceededCount", count)])
    };
    let rules: Vec<String> = rules.iter().map(|r| format!("batch.SuccessPolicyRule{}", one(r))).collect();
    let rules = if rules.is_empty() { "(nil)".into() } else { format!("{{{}}}", rules.join(", ")) };
    shown_struct("batch.SuccessPolicy", &[("Rules", format!("[]batch.SuccessPolicyRule{rules}"))])
}

fn success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut Errors) {
    let (given, count) = (get(rule, "succeededIndexes").and_then(Value::as_str), int(rule, "succeededCount"));
    if given.is_none() && count.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(given) = given {
        let path = path.child("succeededIndexes");
        if given.len() > INDEXES_MAX {
            errors.too_long(&path, INDEXES_MAX);
        }
        match indexes::count(given, completions) {
            Ok(count) => total = count,
            Err(complaint) => {
                errors.invalid(&path, quoted(given), format!("error parsing succeededIndexes: {complaint}"))
            }
        }
    }
    let Some(count) = count else { return };
    let path = path.child("succeededCount");
    errors.non_negative(&path, Some(count));
    for (limit, of) in [
        (Some(completions), "specified completions"),
        (given.map(|_| total), "indexes in the specified succeededIndexes field"),
    ] {
        if let Some(limit) = limit.filter(|limit| count > *limit) {
            let detail = format!("must be less than or equal to {limit} (the number of {of})");
            errors.invalid(&path, count.to_string(), detail);
        }
    }
}

fn replacement(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(policy) = get(spec, "podReplacementPolicy").and_then(Value::as_str) else { return };
    let allowed: &[&str] = if get(spec, "podFailurePolicy").is_some() { &["Failed"] } else { &REPLACEMENTS };
    if !allowed.contains(&policy) {
        errors.not_supported(path, policy, allowed);
    }
}

fn template(spec: &Value, path: &Path, errors: &mut Errors) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    podspec::template(template, path, errors);
    let path = path.child("spec").child("restartPolicy");
    match text_at(template, &["spec", "restartPolicy"]) {
        "Always" | "" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        policy if !ONE_POLICIES.contains(&policy) => errors.not_supported(&path, policy, &ONE_POLICIES),
        "OnFailure" if get(spec, "podFailurePolicy").is_some() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&path, quoted("OnFailure"), detail);
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "job_spec_tests.rs"]
mod tests;
