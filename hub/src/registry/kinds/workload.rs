//! What the kinds with a selector and a pod template share.

use serde_json::Value;
use skiff_shared::selector::{LabelSelector, Operator, Requirement};

use crate::registry::fields::{Errors, IMMUTABLE, Path, quoted, shown, shown_int_or_string, shown_map};
use crate::registry::json::{entries, get, list, set_default, text, texts};
use crate::registry::printers::{text as text_column, wide};
use crate::registry::{Column, json, names, objectmeta, podspec};

/// The containers of the template, for `-o wide`.
pub(super) const CONTAINERS: Column = wide(text_column("Containers", "Names of each container in the template."));
/// Their images, for `-o wide`.
pub(super) const IMAGES: Column = wide(text_column("Images", "Images referenced by each container in the template."));

/// Sets the defaults of the pod template.
pub(super) fn default_template(spec: &mut Value) {
    if let Some(spec) = json::ensure(spec, "template").and_then(|t| json::ensure(t, "spec")) {
        podspec::default_spec(spec);
    }
}

/// Validates selector and template of a Deployment or ReplicaSet (which Kubernetes words alike).
pub(super) fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    if selector(spec, path, "deployment", "invalid label selector", errors) {
        let (template, path) = (spec.get("template").unwrap_or(&Value::Null), path.child("template"));
        selects_template(spec, template, &path, errors);
        podspec::template(template, &path, errors);
        always_restarting("ReplicaSet", template, &path, errors);
    }
}

/// Validates the selector of `owner`; `false` when it cannot be evaluated, which `unusable` says.
pub(super) fn selector(spec: &Value, path: &Path, owner: &str, unusable: &str, errors: &mut Errors) -> bool {
    let path = path.child("selector");
    let Some(selector) = get(spec, "selector") else {
        errors.required(&path, "");
        return true;
    };
    let usable = objectmeta::label_selector(selector, &path, errors);
    not_empty(selector, &path, owner, errors);
    if !usable {
        errors.invalid(&path, shown_selector(selector), unusable);
    }
    usable
}

/// Reports a selector that selects everything.
pub(super) fn not_empty(selector: &Value, path: &Path, owner: &str, errors: &mut Errors) {
    if is_empty(selector) {
        errors.invalid(path, shown_selector(selector), format!("empty selector is invalid for {owner}"));
    }
}

/// Validates that a usable selector selects the labels of the template. No selector at all selects nothing, while an
/// empty one selects everything.
pub(super) fn selects_template(spec: &Value, template: &Value, path: &Path, errors: &mut Errors) {
    let labels = json::at(template, &["metadata", "labels"]);
    let matching = get(spec, "selector").is_some_and(|s| is_empty(s) || matches(s, labels));
    labels_match(matching, labels, path, errors);
}

/// Reports template labels that the owner would not select.
pub(super) fn labels_match(matching: bool, labels: Option<&Value>, path: &Path, errors: &mut Errors) {
    if !matching {
        errors.invalid(
            &path.child("metadata").child("labels"),
            shown_map(labels),
            "`selector` does not match template `labels`",
        );
    }
}

/// Validates that pods of a template always restart; `kind` is how an error calls the owner.
pub(super) fn always_restarting(kind: &str, template: &Value, path: &Path, errors: &mut Errors) {
    let policy = json::text_at(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.not_supported(&path.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if json::at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        errors.forbidden(
            &path.child("spec").child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// Validates that an update keeps the selector.
pub(super) fn immutable_selector(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let Some(old) = old else { return };
    let (new, old) = (json::at(new, &["spec", "selector"]), json::at(old, &["spec", "selector"]));
    if !json::same(new, old) {
        errors.invalid(&Path::new("spec").child("selector"), shown_selector(new.unwrap_or(&Value::Null)), IMMUTABLE);
    }
}

fn is_empty(selector: &Value) -> bool {
    entries(selector.get("matchLabels")).next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// Whether a usable selector selects these labels.
pub(super) fn matches(selector: &Value, labels: Option<&Value>) -> bool {
    parse(selector).matches(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
}

fn parse(selector: &Value) -> LabelSelector {
    let mut parsed =
        LabelSelector::equal(entries(selector.get("matchLabels")).map(|(k, v)| (k, v.as_str().unwrap_or_default())));
    parsed.requirements.extend(list(selector, "matchExpressions").iter().map(|r| Requirement {
        key: text(r, "key").to_owned(),
        operator: match text(r, "operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            _ => Operator::DoesNotExist,
        },
        values: texts(r, "values").into_iter().map(str::to_owned).collect(),
    }));
    parsed
}

/// A `meta/v1.LabelSelector` as Go prints it in a field error.
pub(super) fn shown_selector(selector: &Value) -> String {
    if selector.is_null() {
        return quoted("null");
    }
    let expressions = match list(selector, "matchExpressions") {
        [] if get(selector, "matchExpressions").is_none() => "[]v1.LabelSelectorRequirement(nil)".to_owned(),
        requirements => {
            let items: Vec<String> = requirements.iter().map(shown_requirement).collect();
            format!("[]v1.LabelSelectorRequirement{{{}}}", items.join(", "))
        }
    };
    format!(
        "v1.LabelSelector{{MatchLabels:{}, MatchExpressions:{expressions}}}",
        shown_map(get(selector, "matchLabels"))
    )
}

fn shown_requirement(requirement: &Value) -> String {
    let values = get(requirement, "values").map_or_else(|| "[]string(nil)".to_owned(), shown);
    format!(
        "v1.LabelSelectorRequirement{{Key:{}, Operator:{}, Values:{values}}}",
        quoted(text(requirement, "key")),
        quoted(text(requirement, "operator"))
    )
}

/// Sets `replicas` to 1 where it is not given.
pub(super) fn default_replicas(spec: &mut Value) {
    set_default(spec, "replicas", 1);
}

/// Validates a count or a percentage.
pub(super) fn count_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value.as_str() {
        Some(percent) => {
            for complaint in names::percent(percent) {
                errors.invalid(path, shown_int_or_string(value), complaint);
            }
        }
        None => errors.non_negative(path, value.as_i64()),
    }
}

/// Validates that a percentage is at most 100%.
pub(super) fn not_over_all(value: &Value, path: &Path, errors: &mut Errors) {
    if value.as_str().is_some_and(|v| names::percent(v).is_empty()) && amount(value) > 100 {
        errors.invalid(path, shown_int_or_string(value), "must not be greater than 100%");
    }
}

/// The number before the percent sign, or the number itself; 0 for nonsense.
pub(super) fn amount(value: &Value) -> i64 {
    match value.as_str() {
        Some(text) => text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(0),
        None => value.as_i64().unwrap_or(0),
    }
}
