//! `apps/v1` ControllerRevision.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{get, int, is_true, list_at, set_missing, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        list_kind: "ControllerRevisionList",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.apps.v1.ControllerRevision",
        storage: "controllerrevisions.apps".into(),
        hooks: Hooks {
            default: |revision| set_missing(revision, "revision", 0),
            validate,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Controller", "Controller of the object"),
    text_column("Revision", "Revision indicates the revision of the state represented by Data."),
    AGE,
];

fn validate(revision: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(revision, old, true, names::dns_subdomain, &mut errors);
    let data = Path::new("data");
    if get(revision, "data").is_none() {
        errors.required(&data, "data is mandatory");
    }
    errors.non_negative(&Path::new("revision"), int(revision, "revision"));
    if let Some(old) = old {
        errors.immutable(&data, revision.get("data"), old.get("data"));
    }
    errors.into_vec()
}

fn row(revision: &Value, now: i64) -> Vec<Value> {
    vec![
        printers::name(revision),
        controller(revision).into(),
        int(revision, "revision").unwrap_or(0).into(),
        printers::age(revision, now),
    ]
}

/// `daemonset.apps/web`, or `<none>`.
fn controller(revision: &Value) -> String {
    let owners = list_at(revision, &["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|o| is_true(o, "controller")) else { return "<none>".into() };
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
        None => format!("{kind}/{}", text(owner, "name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn the_data_stays() {
        for (new, old, expected) in [
            (json!({"data": {"a": 1}, "revision": 1}), None, vec![]),
            (json!({"revision": 1}), None, vec!["data: Required value: data is mandatory"]),
            (json!({"data": {"a": 1}, "revision": 2}), Some(json!({"data": {"a": 1}})), vec![]),
            (
                json!({"data": {"a": 2}}),
                Some(json!({"data": {"a": 1}})),
                vec!["data: Invalid value: {\"a\":2}: field is immutable"],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), old), expected, "{new}");
        }
    }

    #[test]
    fn the_controller_is_named_with_its_kind() {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": "u", "controller": true});
        let object = created(&kind(), json!({"metadata": {"ownerReferences": [owner]}, "revision": 3}));
        assert_eq!(row(&object, 1_767_225_600)[1..], [json!("daemonset.apps/log"), json!(3), json!("60s")]);
        assert_eq!(controller(&json!({})), "<none>");
    }
}
