//! `networking.k8s.io/v1` Ingress.

use serde_json::{Value, json};

use super::ingressclass::typed_reference;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::shown_list;
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, get, int_at, list, list_at, set, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, or_none, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, warnings};

/// The annotation that named a class before there was a field.
pub(in crate::registry) const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
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
            warn: warnings::ingress,
            validate_status: Some(validate_status),
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
        errors.invalid(
            &path,
            shown_list("networking.IngressRule", &[]),
            "either `defaultBackend` or `rules` must be specified",
        );
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
    if let Some(class) = get(spec, "ingressClassName").and_then(Value::as_str) {
        errors.invalid_text(&path.child("ingressClassName"), class, names::dns_subdomain(class));
        let annotated = at(ingress, &["metadata", "annotations", CLASS_ANNOTATION]).and_then(Value::as_str);
        if let Some(annotated) = annotated.filter(|annotated| old.is_none() && *annotated != class) {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.invalid(&path, quoted(annotated), "must match `ingressClassName` when both are specified");
        }
    }
    errors.into_vec()
}

fn validate_status(ingress: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(ingress, Some(old), true, names::dns_subdomain, &mut errors);
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (i, point) in list_at(ingress, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let [ip, name] = ["ip", "hostname"].map(|field| text(point, field));
        if !ip.is_empty() {
            errors.invalid_text(&path.index(i).child("ip"), ip, names::ip(ip));
        }
        if !name.is_empty() {
            let path = path.index(i).child("hostname");
            errors.invalid_text(&path, name, names::dns_subdomain(name));
            if name.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&path, quoted(name), "must be a DNS name, not an IP address");
            }
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
    let rule = if name.contains('*') { names::wildcard_subdomain } else { names::dns_subdomain };
    errors.invalid_text(path, name, rule(name));
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
        // Kubernetes looks no further where a path has no type.
        if get(one, "pathType").is_none() {
            errors.required(&path.child("pathType"), "pathType must be specified");
            continue;
        }
        one_path(one, &path, errors);
        one_backend(one.get("backend").unwrap_or(&Value::Null), &path.child("backend"), errors);
    }
}

fn one_path(one: &Value, path: &Path, errors: &mut Errors) {
    let given = text(one, "path");
    let absolute = given.starts_with('/');
    let text_path = path.child("path");
    match text(one, "pathType") {
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
        (Some(resource), None) => typed_reference(resource, &path.child("resource"), errors),
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
    fn status() {
        let with = |point: Value| json!({"metadata": {"name": "a", "namespace": "n"}, "status": {"loadBalancer": {"ingress": [point]}}});
        for (point, expected) in [
            (json!({"ip": "10.0.0.1", "hostname": "a.example.com"}), vec![]),
            (
                json!({"ip": "x", "hostname": "10.0.0.1"}),
                vec![
                    "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                ],
            ),
        ] {
            let found = validate_status(&with(point.clone()), &with(json!({})));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{point}");
        }
    }

    #[test]
    fn validation() {
        for (fields, expected) in [
            (with_path(json!({})), vec![]),
            (
                json!({}),
                vec![
                    "spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or `rules` must be specified",
                ],
            ),
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
            (
                json!({"spec": {"rules": [{"host": "a.*.com"}]}}),
                vec![
                    "spec.rules[0].host: Invalid value: \"a.*.com\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                with_path(json!({"pathType": ""})),
                vec![
                    "spec.rules[0].http.paths[0].pathType: Unsupported value: \"\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
                ],
            ),
            (
                with_path(json!({"backend": {"service": null, "resource": {"kind": "", "name": "a/b"}}})),
                vec![
                    "spec.rules[0].http.paths[0].backend.resource.kind: Required value: kind is required",
                    "spec.rules[0].http.paths[0].backend.resource.name: Invalid value: \"a/b\": may not contain '/'",
                ],
            ),
            (
                json!({"metadata": {"annotations": {CLASS_ANNOTATION: "a"}}, "spec": {"ingressClassName": "b", "rules": [{}]}}),
                vec![
                    "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), fields.clone(), None), expected, "{fields}");
        }
    }
}
