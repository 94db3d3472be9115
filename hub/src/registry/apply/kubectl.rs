//! Moving from `kubectl apply` to `kubectl apply --server-side` and back: what the last client-side apply set may be
//! taken over without a conflict, and its annotation is kept up to date.

use serde_json::Value;

use super::set::FieldSet;
use super::{Conflict, Subject};
use crate::registry::json;

/// The manager of `kubectl apply --server-side`; others do without these rules.
const KUBECTL: &str = "kubectl";
/// Where client-side apply keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Longest annotations of an object.
const MAX_ANNOTATIONS: usize = 256 * 1024;

fn last_applied(object: &Value) -> Option<&str> {
    json::at(object, &["metadata", "annotations", LAST_APPLIED]).and_then(Value::as_str)
}

/// Whether all conflicts are about fields that are as the last client-side apply set them.
pub(super) fn may_take(subject: &Subject<'_>, live: &Value, conflicts: &[Conflict]) -> bool {
    if subject.manager.name != KUBECTL {
        return false;
    }
    let Some(config) = last_applied(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return false;
    };
    if config["apiVersion"].as_str() != Some(&subject.manager.api_version) {
        return false;
    }
    let mut unchanged = unchanged(subject, &config, live);
    subject.strip(&mut unchanged);
    let allowed = unchanged.paths();
    conflicts.iter().all(|conflict| allowed.contains(&conflict.path))
}

/// What a configuration says that the object still has.
fn unchanged(subject: &Subject<'_>, config: &Value, live: &Value) -> FieldSet {
    let difference = subject.place().compare(config, live);
    let said = subject.place().claimed(config);
    said.difference(&difference.modified).difference(&difference.added).difference(&difference.removed)
}

/// Brings the annotation of client-side apply up to date, where the object has it, so that one can go back to it.
pub(super) fn sync_last_applied(subject: &Subject<'_>, config: &Value, object: &mut Value) {
    if subject.manager.name != KUBECTL || !subject.manager.subresource.is_empty() || last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        // As kubectl writes it, with a line end.
        let text = format!("{config}\n");
        if text.len() <= MAX_ANNOTATIONS {
            annotations.insert(LAST_APPLIED.into(), text.into());
        } else {
            annotations.remove(LAST_APPLIED);
        }
    }
}
