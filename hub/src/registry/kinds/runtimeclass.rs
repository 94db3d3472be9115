//! `node.k8s.io/v1` RuntimeClass.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::{shown_pointer, shown_struct};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, get, get_mut, list, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "node.k8s.io",
        version: "v1",
        kind: "RuntimeClass",
        list_kind: "RuntimeClassList",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        short_names: &[],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.node.v1.RuntimeClass",
        storage: "runtimeclasses.node.k8s.io".into(),
        hooks: Hooks { default, validate, warn: warnings::runtime_class, columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column(
        "Handler",
        "handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class.",
    ),
    AGE,
];

fn default(class: &mut Value) {
    if let Some(amounts) = get_mut(class, "overhead").and_then(|o| get_mut(o, "podFixed")) {
        podspec::canonical(amounts);
    }
}

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("handler");
    let handler = text(class, "handler");
    errors.invalid_text(&path, handler, names::dns_label(handler));
    if let Some(old) = old {
        errors.immutable(&path, Some(&handler.into()), old.get("handler"));
    }
    if let Some(amounts) = at(class, &["overhead", "podFixed"]) {
        podspec::requirements(&json!({"limits": amounts}), &Path::new("overhead"), &mut errors);
    }
    if let Some(scheduling) = get(class, "scheduling") {
        self::scheduling(scheduling, &Path::new("scheduling"), &mut errors);
    }
    errors.into_vec()
}

fn scheduling(scheduling: &Value, path: &Path, errors: &mut Errors) {
    objectmeta::labels(get(scheduling, "nodeSelector"), &path.child("nodeSelector"), errors);
    let path = path.child("tolerations");
    // Kubernetes names the list twice.
    podspec::tolerations(scheduling, &path.child("tolerations"), errors);
    let mut seen = BTreeSet::new();
    for (i, toleration) in list(scheduling, "tolerations").iter().enumerate() {
        if !seen.insert(["key", "operator", "value", "effect"].map(|field| text(toleration, field))) {
            errors.duplicate(&path.index(i), shown_toleration(toleration));
        }
    }
}

fn shown_toleration(toleration: &Value) -> String {
    let texts = [("Key", "key"), ("Operator", "operator"), ("Value", "value"), ("Effect", "effect")];
    let mut fields = texts.map(|(name, field)| (name, quoted(text(toleration, field)))).to_vec();
    fields.push(("TolerationSeconds", shown_pointer("int64", toleration, "tolerationSeconds")));
    shown_struct("core.Toleration", &fields)
}

fn row(class: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(class), text(class, "handler").into(), printers::age(class, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::complaints;
    #[test]
    fn where_pods_of_the_class_run() {
        let class = |scheduling: Value| json!({"handler": "runc", "scheduling": scheduling});
        let toleration = json!({"key": "a", "operator": "Exists"});
        for (new, expected) in [
            (class(json!({"nodeSelector": {"a": "b"}, "tolerations": [toleration]})), vec![]),
            (
                class(json!({"tolerations": [toleration, toleration]})),
                vec![
                    "scheduling.tolerations[1]: Duplicate value: core.Toleration{Key:\"a\", Operator:\"Exists\", Value:\"\", Effect:\"\", TolerationSeconds:(*int64)(nil)}",
                ],
            ),
            (
                class(json!({"tolerations": [{"key": "a", "operator": "Odd"}]})),
                vec![
                    "scheduling.tolerations.tolerations[0].operator: Unsupported value: \"Odd\": supported values: \"Equal\", \"Exists\"",
                ],
            ),
            (
                json!({"handler": "runc", "overhead": {"podFixed": {"pods": "1"}}}),
                vec!["overhead.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), None), expected, "{new}");
        }
    }

    #[test]
    fn the_handler_stays() {
        let handler = |name: &str| json!({"handler": name});
        assert_eq!(complaints(&kind(), handler("runsc"), None), Vec::<String>::new());
        assert_eq!(complaints(&kind(), handler("Run C"), None).len(), 1);
        assert_eq!(
            complaints(&kind(), handler("a"), Some(handler("b"))),
            ["handler: Invalid value: \"a\": field is immutable"]
        );
    }
}
