//! `networking.k8s.io/v1` IngressClass.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, get, get_mut, set_missing, text, text_at};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const CONTROLLER_MAX: usize = 250;
const INVALID_PATH: &str = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        list_kind: "IngressClassList",
        plural: "ingressclasses",
        singular: "ingressclass",
        short_names: &[],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.networking.v1.IngressClass",
        storage: "ingressclasses.networking.k8s.io".into(),
        hooks: Hooks { default, validate, has_generation: true, columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Controller", "Controller that is responsible for handling this class"),
    text_column("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];

fn default(class: &mut Value) {
    if let Some(parameters) = get_mut(class, "spec").and_then(|s| get_mut(s, "parameters")) {
        set_missing(parameters, "scope", "Cluster");
    }
}

fn validate(class: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(class, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec").child("controller");
    let controller = text_at(class, &["spec", "controller"]);
    if let Some(old) = old {
        errors.immutable(&path, Some(&controller.into()), at(old, &["spec", "controller"]));
    }
    if controller.len() > CONTROLLER_MAX {
        errors.too_long(&path, CONTROLLER_MAX);
    }
    domain_path(controller, &path, &mut errors);
    if let Some(parameters) = at(class, &["spec", "parameters"]) {
        self::parameters(parameters, &Path::new("spec").child("parameters"), &mut errors);
    }
    errors.into_vec()
}

/// A path below a domain, such as `example.com/ingress`.
pub(super) fn domain_path(text: &str, path: &Path, errors: &mut Errors) {
    const IN_PATHS: &[u8] = b"/-._~%!$&'()*+,;=:";
    match text.split_once('/') {
        _ if text.is_empty() => errors.required(path, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_text(path, domain, names::dns_subdomain(domain));
            if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || IN_PATHS.contains(&c)) {
                errors.invalid(path, quoted(rest), INVALID_PATH);
            }
        }
        _ => errors.invalid(path, quoted(text), "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// A reference to an object of any kind: `apiGroup`, `kind` and `name`.
pub(super) fn typed_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    if let Some(group) = get(reference, "apiGroup").and_then(Value::as_str) {
        errors.invalid_text(&path.child("apiGroup"), group, names::dns_subdomain(group));
    }
    for field in ["kind", "name"] {
        match text(reference, field) {
            "" => errors.required(&path.child(field), &format!("{field} is required")),
            given => errors.invalid_text(&path.child(field), given, names::path_segment(given)),
        }
    }
}

fn parameters(parameters: &Value, path: &Path, errors: &mut Errors) {
    typed_reference(parameters, path, errors);
    let namespace = get(parameters, "namespace").and_then(Value::as_str);
    let path_of = |field: &str| path.child(field);
    match (text(parameters, "scope"), namespace) {
        ("Cluster", Some(_)) => {
            errors.forbidden(&path_of("namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        ("Namespace", None) => {
            errors.required(&path_of("namespace"), "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(namespace)) => {
            errors.invalid_text(&path_of("namespace"), namespace, names::dns_label(namespace));
        }
        ("Cluster", None) => {}
        (other, _) => errors.not_supported(&path_of("scope"), other, &["Cluster", "Namespace"]),
    }
}

fn row(class: &Value, now: i64) -> Vec<Value> {
    let parameters = at(class, &["spec", "parameters"]).map_or_else(
        || "<none>".to_owned(),
        |p| match text(p, "apiGroup") {
            "" => format!("{}/{}", text(p, "kind"), text(p, "name")),
            group => format!("{}.{group}/{}", text(p, "kind"), text(p, "name")),
        },
    );
    let controller = text_at(class, &["spec", "controller"]);
    vec![printers::name(class), controller.into(), parameters.into(), printers::age(class, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn validation_and_cells() {
        let class = |controller: &str| json!({"spec": {"controller": controller, "parameters": {"apiGroup": "x.io", "kind": "P", "name": "p"}}});
        let object = created(&kind(), class("example.com/ingress"));
        assert_eq!(object["spec"]["parameters"]["scope"], "Cluster");
        assert_eq!(row(&object, 1_767_225_600)[1..], [json!("example.com/ingress"), json!("P.x.io/p"), json!("60s")]);
        for (new, old, expected) in [
            (class("a.io/b"), None, vec![]),
            (class(""), None, vec!["spec.controller: Required value"]),
            (
                class("a"),
                None,
                vec!["spec.controller: Invalid value: \"a\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
            ),
            (
                class("A.io/b c"),
                None,
                vec![
                    "spec.controller: Invalid value: \"A.io\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                    "spec.controller: Invalid value: \"b c\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
                ],
            ),
            (
                json!({"spec": {"controller": "a.io/b", "parameters": {"scope": "Namespace", "kind": "a/b"}}}),
                None,
                vec![
                    "spec.parameters.kind: Invalid value: \"a/b\": may not contain '/'",
                    "spec.parameters.name: Required value: name is required",
                    "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
                ],
            ),
            (
                class("a.io/b"),
                Some(class("a.io/c")),
                vec!["spec.controller: Invalid value: \"a.io/b\": field is immutable"],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), old), expected, "{new}");
        }
    }
}
