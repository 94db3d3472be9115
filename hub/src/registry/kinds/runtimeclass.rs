//! `node.k8s.io/v1` RuntimeClass.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, entries, get_mut, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

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
        hooks: Hooks { default, validate, columns: COLUMNS, row, ..PLAIN },
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
        errors.immutable(&path, class.get("handler"), old.get("handler"));
    }
    for (name, value) in entries(at(class, &["overhead", "podFixed"])) {
        podspec::quantity(value, &Path::new("overhead").child("podFixed").key(name), &mut errors);
    }
    let selector = at(class, &["scheduling", "nodeSelector"]);
    objectmeta::labels(selector, &Path::new("scheduling").child("nodeSelector"), &mut errors);
    errors.into_vec()
}

fn row(class: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(class), text(class, "handler").into(), printers::age(class, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::complaints;
    use serde_json::json;

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
