//! `networking.k8s.io/v1` Ingress.

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, get, int_at, list, list_at, set, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, or_none, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The annotation that named a class before there was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// How many hosts a row shows.
const SHOWN: usize = 3;
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const NOT_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_AT_THE_END: [&str; 2] = ["/..", "/."];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        list_kind: "IngressList",
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        categories: &[],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.networking.v1.Ingress",
        storage: "ingresses.networking.k8s.io".into(),
        hooks: Hooks {
            prepare_create: |object| set(object, "status", json!({"loadBalancer": {}})),
            prepare_update: keep_status,
            validate,
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    text_column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    text_column("Address", "Address is a list containing ingress points for the load-balancer"),
    text_column("Ports", "Ports of TLS configurations that open"),
    AGE,
];

fn validate(ingress: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(ingress, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = ingress.get("spec").unwrap_or(&Value::Null);
    let backend = get(spec, "defaultBackend");
    if list(spec, "rules").is_empty() && backend.is_none() {
        errors.invalid(&path, "[]", "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(service) = backend {
        one_backend(service, &path.child("defaultBackend"), &mut errors);
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        one_rule(rule, &path.child("rules").index(i), &mut errors);
    }
    for (i, tls) in list(spec, "tls").iter().enumerate() {
        for (j, name) in texts(tls, "hosts").into_iter().enumerate() {
            host(name, &path.child("tls").index(i).child("hosts").index(j), &mut errors);
        }
        secret_name(text(tls, "secretName"), &path.child("tls").index(i).child("secretName"), &mut errors);
    }
    let class = text(spec, "ingressClassName");
    if !class.is_empty() {
        errors.invalid_text(&path.child("ingressClassName"), class, names::dns_subdomain(class));
        if old.is_none() && at(ingress, &["metadata", "annotations", CLASS_ANNOTATION]).is_some() {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.invalid(&path, quoted(class), "can not be set when the class field is also set");
        }
    }
    errors.into_vec()
}

fn secret_name(name: &str, path: &Path, errors: &mut Errors) {
    if !name.is_empty() {
        errors.invalid_text(path, name, names::dns_subdomain(name));
    }
}

/// A host name, or a wildcard for one label.
fn host(name: &str, path: &Path, errors: &mut Errors) {
    errors.invalid_text(path, name, names::dns_subdomain(name.strip_prefix("*.").unwrap_or(name)));
}

fn one_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let name = text(rule, "host");
    if !name.is_empty() {
        let path = path.child("host");
        if name.parse::<std::net::IpAddr>().is_ok() {
            errors.invalid(&path, quoted(name), "must be a DNS name, not an IP address");
        }
        host(name, &path, errors);
    }
    let Some(http) = get(rule, "http") else { return };
    let path = path.child("http").child("paths");
    let paths = list(http, "paths");
    if paths.is_empty() {
        errors.required(&path, "");
    }
    for (i, one) in paths.iter().enumerate() {
        let path = path.index(i);
        one_path(one, &path, errors);
        one_backend(one.get("backend").unwrap_or(&Value::Null), &path.child("backend"), errors);
    }
}

fn one_path(one: &Value, path: &Path, errors: &mut Errors) {
    let given = text(one, "path");
    let absolute = given.starts_with('/');
    let text_path = path.child("path");
    match text(one, "pathType") {
        "" => errors.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !absolute {
                errors.invalid(&text_path, quoted(given), "must be an absolute path");
            }
            for part in NOT_IN_PATHS.iter().filter(|p| given.contains(**p)) {
                errors.invalid(&text_path, quoted(given), format!("must not contain '{part}'"));
            }
            for end in NOT_AT_THE_END.iter().filter(|e| given.ends_with(**e)) {
                errors.invalid(&text_path, quoted(given), format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !given.is_empty() && !absolute {
                errors.invalid(&text_path, quoted(given), "must be an absolute path");
            }
        }
        other => errors.not_supported(&path.child("pathType"), other, &PATH_TYPES),
    }
}

fn one_backend(backend: &Value, path: &Path, errors: &mut Errors) {
    match (get(backend, "resource"), get(backend, "service")) {
        (Some(_), Some(_)) => errors.invalid(path, quoted(""), "cannot set both resource and service backends"),
        (None, None) => errors.invalid(path, quoted(""), "resource or service backend is required"),
        (Some(resource), None) => {
            for field in ["kind", "name"].into_iter().filter(|f| text(resource, f).is_empty()) {
                errors.required(&path.child("resource").child(field), "");
            }
        }
        (None, Some(service)) => service_backend(service, path, errors),
    }
}

fn service_backend(service: &Value, path: &Path, errors: &mut Errors) {
    let service_path = path.child("service");
    match text(service, "name") {
        "" => errors.required(&service_path.child("name"), ""),
        name => errors.invalid_text(&service_path.child("name"), name, names::dns_1035_label(name)),
    }
    let name = text_at(service, &["port", "name"]);
    let number = int_at(service, &["port", "number"]).unwrap_or(0);
    let port_path = service_path.child("port");
    match (name, number) {
        ("", 0) => errors.required(path, "port name or number is required"),
        ("", number) => {
            if let Some(complaint) = names::port_number(number) {
                errors.invalid(&port_path.child("number"), number.to_string(), complaint);
            }
        }
        (name, 0) => errors.invalid_text(&port_path.child("name"), name, names::port_name(name)),
        _ => errors.invalid(path, quoted(""), "cannot set both port name & port number"),
    }
}

fn row(ingress: &Value, now: i64) -> Vec<Value> {
    let class = match text_at(ingress, &["spec", "ingressClassName"]) {
        "" => text_at(ingress, &["metadata", "annotations", CLASS_ANNOTATION]),
        class => class,
    };
    let ports = if list_at(ingress, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        printers::name(ingress),
        or_none(class).into(),
        hosts(ingress).into(),
        addresses(ingress).into(),
        ports.into(),
        printers::age(ingress, now),
    ]
}

fn hosts(ingress: &Value) -> String {
    let hosts = list_at(ingress, &["spec", "rules"]).iter().map(|r| text(r, "host")).filter(|h| !h.is_empty());
    let hosts: Vec<&str> = hosts.collect();
    let shown = hosts[..hosts.len().min(SHOWN)].join(",");
    match hosts.len() {
        0 => "*".into(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

fn addresses(ingress: &Value) -> String {
    let points = list_at(ingress, &["status", "loadBalancer", "ingress"]).iter();
    let mut names: Vec<&str> = points
        .map(|point| if text(point, "ip").is_empty() { text(point, "hostname") } else { text(point, "ip") })
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    fn with_path(fields: Value) -> Value {
        let mut path =
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
        json_patch::merge(&mut path, &fields);
        json!({"spec": {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]}})
    }

    #[test]
    fn cells() {
        let mut object = created(&kind(), with_path(json!({})));
        assert_eq!(object["status"], json!({"loadBalancer": {}}));
        object["status"]["loadBalancer"]["ingress"] = json!([{"ip": "9.9.9.9"}, {"hostname": "lb"}, {"ip": "9.9.9.9"}]);
        object["spec"]["tls"] = json!([{}]);
        let cells = row(&object, 1_767_225_600);
        assert_eq!(
            cells[1..],
            [json!("<none>"), json!("a.example.com"), json!("9.9.9.9,lb"), json!("80, 443"), json!("60s")]
        );
    }

    #[test]
    fn validation() {
        for (fields, expected) in [
            (with_path(json!({})), vec![]),
            (json!({}), vec!["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]),
            (
                with_path(json!({"pathType": null})),
                vec!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
            ),
            (
                with_path(json!({"path": "a//b"})),
                vec![
                    "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path",
                    "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
                ],
            ),
            (
                with_path(json!({"backend": {"service": {"port": {"number": null}}}})),
                vec!["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
            ),
            (
                json!({"spec": {"rules": [{"host": "10.0.0.1"}]}}),
                vec!["spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"],
            ),
            (json!({"spec": {"rules": [{"host": "*.example.com"}]}}), vec![]),
        ] {
            assert_eq!(complaints(&kind(), fields.clone(), None), expected, "{fields}");
        }
    }
}
