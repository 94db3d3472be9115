//! Validation of `metadata` and of label selectors, the same for every kind.

use serde_json::Value;

use super::fields::{Errors, IMMUTABLE, Path, quoted, shown};
use super::go_values::{shown_pointer, shown_struct};
use super::json;
use super::names::{self, Rule};

/// Annotations may take this many bytes in all.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// Finalizers without a slash that Kubernetes knows.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Validates `metadata`: of a new object when `old` is `None`, else what an update may change.
pub(crate) fn validate(object: &Value, old: Option<&Value>, namespaced: bool, name_rule: Rule, errors: &mut Errors) {
    let path = Path::new("metadata");
    let empty = Value::Null;
    let meta = object.get("metadata").unwrap_or(&empty);
    match old.map(|o| o.get("metadata").unwrap_or(&empty)) {
        None => names_of(meta, namespaced, name_rule, &path, errors),
        Some(old) => update(meta, old, &path, errors),
    }
    errors.non_negative(&path.child("generation"), json::int(meta, "generation"));
    labels(meta.get("labels"), &path.child("labels"), errors);
    annotations(meta.get("annotations"), &path.child("annotations"), errors);
    owner_references(meta, &path.child("ownerReferences"), errors);
    finalizers(&json::texts(meta, "finalizers"), &path.child("finalizers"), errors);
}

fn finalizers(finalizers: &[&str], path: &Path, errors: &mut Errors) {
    for finalizer in finalizers {
        errors.invalid_text(path, finalizer, names::qualified_name(finalizer));
    }
    if ["orphan", "foregroundDeletion"].iter().all(|f| finalizers.contains(f)) {
        let list: Vec<Value> = finalizers.iter().map(|f| Value::from(*f)).collect();
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, shown(&list.into()), detail);
    }
    for (i, finalizer) in finalizers.iter().enumerate() {
        known_finalizer(finalizer, &path.index(i), errors);
    }
}

fn names_of(meta: &Value, namespaced: bool, rule: Rule, path: &Path, errors: &mut Errors) {
    let generate = json::text(meta, "generateName");
    if !generate.is_empty() {
        // A trailing dash is fine: a random suffix follows.
        let stem = generate.strip_suffix('-').map_or_else(|| generate.to_owned(), |s| format!("{s}a"));
        errors.invalid_text(&path.child("generateName"), generate, rule(&stem));
    }
    match json::text(meta, "name") {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        name => errors.invalid_text(&path.child("name"), name, rule(name)),
    }
    match (namespaced, json::text(meta, "namespace")) {
        (true, "") => errors.required(&path.child("namespace"), ""),
        (true, namespace) => errors.invalid_text(&path.child("namespace"), namespace, names::dns_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
}

fn update(meta: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if json::get(meta, field).is_some() {
            errors.immutable(&path.child(field), meta.get(field), old.get(field));
        }
    }
    if let Some(time) =
        json::get(meta, "deletionTimestamp").filter(|time| json::get(old, "deletionTimestamp") != Some(time))
    {
        let shown = time.as_str().unwrap_or_default().replace('T', " ").replace('Z', " +0000 UTC");
        errors.invalid(&path.child("deletionTimestamp"), shown, IMMUTABLE);
    }
    let grace = "deletionGracePeriodSeconds";
    if json::get(meta, grace).is_some() {
        errors.immutable(&path.child(grace), meta.get(grace), old.get(grace));
    }
    if json::get(old, "deletionTimestamp").is_some() {
        let before = json::texts(old, "finalizers");
        let added: Vec<String> =
            json::texts(meta, "finalizers").into_iter().filter(|f| !before.contains(f)).map(quoted).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.forbidden(&path.child("finalizers"), detail);
        }
    }
}

/// Kubernetes names the list here, not the reference.
fn owner_references(meta: &Value, path: &Path, errors: &mut Errors) {
    let mut controller: Option<&str> = None;
    for owner in json::list(meta, "ownerReferences") {
        let version = json::text(owner, "apiVersion");
        if version.is_empty() || version.matches('/').count() > 1 {
            errors.invalid(&path.child("apiVersion"), quoted(version), "version must not be empty");
        }
        for (field, detail) in
            [("kind", "kind must not be empty"), ("name", "name must not be empty"), ("uid", "uid must not be empty")]
        {
            if json::text(owner, field).is_empty() {
                errors.invalid(&path.child(field), quoted(""), detail);
            }
        }
        let kind = json::text(owner, "kind");
        if version == "v1" && kind == "Event" {
            errors.invalid(path, shown_owner(owner), "/v1, Kind=Event is disallowed from being an owner");
        }
        if json::is_true(owner, "controller") {
            let name = json::text(owner, "name");
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let owners: Vec<String> = json::list(meta, "ownerReferences").iter().map(shown_owner).collect();
                errors.invalid(path, format!("[]v1.OwnerReference{{{}}}", owners.join(", ")), detail);
            }
            controller = controller.or(Some(name));
        }
    }
}

/// An owner as Go prints it.
fn shown_owner(owner: &Value) -> String {
    let text = |go, field| (go, quoted(json::text(owner, field)));
    let flag = |go, field| (go, shown_pointer("bool", owner, field));
    shown_struct(
        "v1.OwnerReference",
        &[
            text("APIVersion", "apiVersion"),
            text("Kind", "kind"),
            text("Name", "name"),
            text("UID", "uid"),
            flag("Controller", "controller"),
            flag("BlockOwnerDeletion", "blockOwnerDeletion"),
        ],
    )
}

/// Validates the form of a finalizer's name.
pub(crate) fn finalizer_name(name: &str, path: &Path, errors: &mut Errors) {
    errors.invalid_text(path, name, names::qualified_name(name));
    known_finalizer(name, path, errors);
}

fn known_finalizer(name: &str, path: &Path, errors: &mut Errors) {
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        errors.invalid(path, quoted(name), "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// Validates labels.
pub(crate) fn labels(labels: Option<&Value>, path: &Path, errors: &mut Errors) {
    for (key, value) in json::entries(labels) {
        errors.invalid_text(path, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or("");
        errors.invalid_text(path, value, names::label_value(value));
    }
}

/// Validates annotations.
pub(crate) fn annotations(annotations: Option<&Value>, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in json::entries(annotations) {
        errors.invalid_text(path, key, names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

/// Validates a `meta/v1.LabelSelector`; `false` when it cannot be evaluated.
pub(crate) fn label_selector(selector: &Value, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.len();
    labels(selector.get("matchLabels"), &path.child("matchLabels"), errors);
    for (i, requirement) in json::list(selector, "matchExpressions").iter().enumerate() {
        selector_requirement(requirement, &path.child("matchExpressions").index(i), errors);
    }
    errors.len() == before
}

fn selector_requirement(requirement: &Value, path: &Path, errors: &mut Errors) {
    let values = json::texts(requirement, "values");
    let operator = json::text(requirement, "operator");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors
                .forbidden(&path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(&path.child("operator"), quoted(operator), "not a valid selector operator"),
    }
    let key = json::text(requirement, "key");
    errors.invalid_text(&path.child("key"), key, names::qualified_name(key));
    for (i, value) in values.iter().enumerate() {
        errors.invalid_text(&path.child("values").index(i), value, names::label_value(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: &Value, old: Option<&Value>, namespaced: bool) -> Vec<String> {
        let mut errors = Errors::default();
        validate(object, old, namespaced, names::dns_subdomain, &mut errors);
        errors.into_vec().iter().map(|e| e.to_string().chars().take(100).collect()).collect()
    }

    #[test]
    fn new_metadata() {
        let table = [
            (json!({"name": "a", "namespace": "b"}), true, vec![]),
            (json!({"name": "a"}), false, vec![]),
            (json!({"name": "a", "generateName": "a-", "namespace": "b"}), true, vec![]),
            (
                json!({}),
                true,
                vec![
                    "metadata.name: Required value: name or generateName is required",
                    "metadata.namespace: Required value",
                ],
            ),
            (
                json!({"name": "a", "namespace": "b"}),
                false,
                vec!["metadata.namespace: Forbidden: not allowed on this type"],
            ),
            (
                json!({"name": "A"}),
                false,
                vec![
                    "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanu",
                ],
            ),
            (
                json!({"name": "a", "finalizers": ["x"]}),
                false,
                vec![
                    "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it full",
                ],
            ),
            (
                json!({"name": "a", "labels": {"a b": "c", "d": "e f"}}),
                false,
                vec![
                    "metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' o",
                    "metadata.labels: Invalid value: \"e f\": a valid label must be an empty string or consist of alphanume",
                ],
            ),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}]}),
                false,
                vec!["metadata.ownerReferences.uid: Invalid value: \"\": uid must not be empty"],
            ),
            (
                json!({"name": "a", "annotations": {"k": "v".repeat(ANNOTATIONS_MAX)}}),
                false,
                vec!["metadata.annotations: Too long: may not be more than 262144 bytes"],
            ),
        ];
        for (meta, namespaced, expected) in table {
            assert_eq!(check(&json!({"metadata": meta}), None, namespaced), expected, "{meta}");
        }
    }

    #[test]
    fn updates_keep_identity() {
        let old = json!({"metadata": {"name": "a", "namespace": "b", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let new = json!({"metadata": {"name": "a", "namespace": "b", "uid": "2", "finalizers": ["x/y"]}});
        assert_eq!(
            check(&new, Some(&old), true),
            [
                "metadata.uid: Invalid value: \"2\": field is immutable",
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found",
            ]
        );
    }

    #[test]
    fn owners_are_shown_as_go_prints_them() {
        let event = json!({"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "1", "controller": true});
        assert_eq!(
            shown_owner(&event),
            r#"v1.OwnerReference{APIVersion:"v1", Kind:"Event", Name:"a", UID:"1", Controller:(*bool)(0xc000000000), BlockOwnerDeletion:(*bool)(nil)}"#
        );
    }

    #[test]
    fn only_a_deletion_marks_objects() {
        let old = json!({"metadata": {"name": "a", "namespace": "b"}});
        let marks = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5, "name": "a", "namespace": "b"});
        assert_eq!(
            check(&json!({"metadata": marks}), Some(&old), true),
            [
                "metadata.deletionTimestamp: Invalid value: 2026-01-01 00:00:00 +0000 UTC: field is immutable",
                "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
            ]
        );
    }

    #[test]
    fn selectors() {
        let table = [
            (json!({"matchLabels": {"a": "b"}}), true, 0),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}), true, 0),
            (json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), false, 1),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}), false, 1),
            (json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}), false, 1),
        ];
        for (selector, usable, count) in table {
            let mut errors = Errors::default();
            assert_eq!(label_selector(&selector, &Path::new("spec"), &mut errors), usable, "{selector}");
            assert_eq!(errors.into_vec().len(), count, "{selector}");
        }
    }
}
