//! Validation of updates of pods: only a few fields of a spec may change.

use serde_json::Value;

use super::validate::{pod_spec, spec_of};
use super::{affinity, annotations, scheduling};
use crate::registry::fields::{Errors, Path, quoted, shown_map};
use crate::registry::json::{at, copy, ensure, entries, get, int, items_mut, list, remove, same, set, text_at};

pub(super) const ONLY_CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates an update of a pod, whose `old` form has today's defaults.
pub(crate) fn pod_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata").child("annotations");
    let marks = |pod| at(pod, &["metadata", "annotations"]);
    annotations::specific(marks(new), spec_of(new), &path, errors);
    annotations::update(marks(new), marks(old), &path, errors);
    // Most writes are of the status.
    if spec_of(new) != spec_of(old) {
        pod_spec(new, errors);
        spec_update(spec_of(new), spec_of(old), &Path::new("spec"), errors);
    }
}

fn spec_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            return errors.forbidden(&path.child(field), "pod updates may not add or remove containers");
        }
    }
    if !deadline_update(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    scheduling::only_added_tolerations(new, old, &path.child("tolerations"), errors);
    scheduling::only_deleted_gates(new, old, &path.child("schedulingGates"), errors);
    let mut munged = with_changeable_of(new, old);
    if !list(old, "schedulingGates").is_empty() {
        gated(&mut munged, old, path, errors);
    }
    if !same(Some(&munged), Some(old)) {
        errors.forbidden(path, format!("{ONLY_CHANGEABLE}\n{}", differences(&munged, old).join("\n")));
    }
}

/// Whether the rest is worth a look.
fn deadline_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(path, new.to_string(), "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(new), Some(old)) if new > old => {
            errors.invalid(path, new.to_string(), "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(path, quoted("null"), "must not update from a positive integer to nil value");
            true
        }
        (Some(_) | None, Some(_) | None) => true,
    }
}

/// Until its gates are gone, a pod may be told more about the nodes it runs on. Takes back what was told.
fn gated(munged: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new, before) = (get(munged, "nodeSelector"), get(old, "nodeSelector"));
    if entries(before).any(|(key, value)| new.and_then(|n| n.get(key)) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), shown_map(new), detail);
    }
    copy(munged, old, "nodeSelector");
    let affinity = ["affinity", "nodeAffinity"];
    let (new, before) = (at(munged, &affinity), at(old, &affinity));
    if !same(new, before) {
        affinity::only_narrowed(new, before, &path.child("affinity").child("nodeAffinity"), errors);
        if let (Some(affinity), Some(before)) = (ensure(munged, "affinity"), before) {
            set(affinity, "nodeAffinity", before.clone());
        } else if let Some(affinity) = ensure(munged, "affinity") {
            remove(affinity, "nodeAffinity");
        }
    }
}

/// `new`, but with the fields that may change as they are in `old`.
fn with_changeable_of(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy(&mut munged, old, field);
    }
    if int(old, "terminationGracePeriodSeconds").is_some_and(|s| s < 0)
        && int(new, "terminationGracePeriodSeconds") == Some(1)
    {
        copy(&mut munged, old, "terminationGracePeriodSeconds");
    }
    for field in ["containers", "initContainers"] {
        for (container, old) in items_mut(&mut munged, field).zip(list(old, field)) {
            set(container, "image", text_at(old, &["image"]));
        }
    }
    munged
}

/// Lines that name each differing field with its old (`-`) and new (`+`) value.
pub(crate) fn differences(new: &Value, old: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    differing(Some(new), Some(old), &mut String::new(), &mut lines);
    lines
}

fn differing(new: Option<&Value>, old: Option<&Value>, at: &mut String, lines: &mut Vec<String>) {
    if same(new, old) {
        return;
    }
    match (new, old) {
        (Some(Value::Object(n)), Some(Value::Object(o))) => {
            let keys: std::collections::BTreeSet<&String> = n.keys().chain(o.keys()).collect();
            for key in keys {
                let length = at.len();
                if length > 0 {
                    at.push('.');
                }
                at.push_str(key);
                differing(n.get(key), o.get(key), at, lines);
                at.truncate(length);
            }
        }
        (Some(Value::Array(n)), Some(Value::Array(o))) if n.len() == o.len() => {
            for (i, (n, o)) in n.iter().zip(o).enumerate() {
                let length = at.len();
                at.push_str(&format!("[{i}]"));
                differing(Some(n), Some(o), at, lines);
                at.truncate(length);
            }
        }
        (new, old) => {
            for (sign, value) in [("-", old), ("+", new)] {
                if let Some(value) = value.filter(|v| !v.is_null()) {
                    lines.push(format!("{sign} {at}: {value}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gated_pods_learn_of_nodes() {
        let pod = |spec: Value| {
            let mut pod = json!({"spec": {
                "containers": [{"name": "a", "image": "x"}], "schedulingGates": [{"name": "g"}],
                "nodeSelector": {"a": "b"}, "serviceAccountName": "default",
            }});
            json_patch::merge(&mut pod["spec"], &spec);
            crate::registry::podspec::default_spec(&mut pod["spec"]);
            pod
        };
        let table = [
            (json!({"nodeSelector": {"a": "b", "c": "d"}}), vec![]),
            (
                json!({"nodeSelector": {"a": "c"}}),
                vec![
                    "spec.nodeSelector: Invalid value: map[string]string{\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                ],
            ),
            (json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}), vec![]),
            (json!({"schedulingGates": []}), vec![]),
            (
                json!({"schedulingGates": [{"name": "h"}]}),
                vec![
                    "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'",
                ],
            ),
        ];
        for (spec, expected) in table {
            let mut errors = Errors::default();
            pod_update(&pod(spec.clone()), &pod(json!({})), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{spec}");
        }
    }
}
