//! Validation of `meta/v1.Condition`s.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{Errors, Path, quoted};
use super::json::{int, text};
use super::names;

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 << 10;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Validates a list of conditions, which are unique by type.
pub(crate) fn conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), quoted(kind));
        }
        one(condition, &path, errors);
    }
}

fn one(condition: &Value, path: &Path, errors: &mut Errors) {
    let [kind, status, since, reason, message] =
        ["type", "status", "lastTransitionTime", "reason", "message"].map(|field| text(condition, field));
    errors.invalid_text(&path.child("type"), kind, names::qualified_name(kind));
    if !STATUSES.contains(&status) {
        errors.not_supported(&path.child("status"), status, &STATUSES);
    }
    if let Some(generation) = int(condition, "observedGeneration").filter(|g| *g < 0) {
        let detail = "must be greater than or equal to zero";
        errors.invalid(&path.child("observedGeneration"), generation.to_string(), detail);
    }
    if since.is_empty() {
        errors.required(&path.child("lastTransitionTime"), "must be set");
    }
    if reason.is_empty() {
        errors.required(&path.child("reason"), "must be set");
    } else {
        if !is_reason(reason) {
            errors.invalid(&path.child("reason"), quoted(reason), REASON);
        }
        if reason.len() > REASON_MAX {
            errors.too_long(&path.child("reason"), REASON_MAX);
        }
    }
    if message.len() > MESSAGE_MAX {
        errors.too_long(&path.child("message"), MESSAGE_MAX);
    }
}

fn is_reason(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_,:".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_conditions_must_have() {
        let good =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "A"});
        for (list, expected) in [
            (json!([good]), vec![]),
            (json!([good, good]), vec!["c[1].type: Duplicate value: \"Ready\""]),
            (
                json!([{"type": "x", "observedGeneration": -1}]),
                vec![
                    "c[0].status: Unsupported value: \"\": supported values: \"False\", \"True\", \"Unknown\"",
                    "c[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                    "c[0].lastTransitionTime: Required value: must be set",
                    "c[0].reason: Required value: must be set",
                ],
            ),
        ] {
            let mut errors = Errors::default();
            conditions(list.as_array().map_or(&[], Vec::as_slice), &Path::new("c"), &mut errors);
            let found: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{list}");
        }
        assert!(!is_reason("a b") && !is_reason("a:") && is_reason("a:b_"));
    }
}
