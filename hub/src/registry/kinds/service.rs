//! `v1` Service. Addresses and node ports are given elsewhere, on write.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::service_table;
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{
    at, copy, ensure, get, int, int_at, items_mut, list, remove, set, set_default, text, text_at,
};
use crate::registry::{FieldError, Hooks, Kind, names, objectmeta, podspec};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Service",
        list_kind: "ServiceList",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        namespaced: true,
        subresources: &["status"],
        schema: "io.k8s.api.core.v1.Service",
        storage: "services".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update,
            validate,
            field,
            columns: service_table::COLUMNS,
            row: service_table::row,
            ..PLAIN
        },
    }
}

fn default(service: &mut Value) {
    let Some(spec) = ensure(service, "spec") else { return };
    set_default(spec, "sessionAffinity", "None");
    set_default(spec, "type", "ClusterIP");
    let kind = text(spec, "type").to_owned();
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let client = ensure(spec, "sessionAffinityConfig").and_then(|c| ensure(c, "clientIP"));
            if let Some(client) = client {
                set_default(client, "timeoutSeconds", AFFINITY_SECONDS);
            }
        }
        _ => drop(remove(spec, "sessionAffinityConfig")),
    }
    for port in items_mut(spec, "ports") {
        set_default(port, "protocol", "TCP");
        let number = int(port, "port").unwrap_or(0);
        if get(port, "targetPort").is_none_or(|t| *t == json!(0) || *t == json!("")) {
            set(port, "targetPort", number);
        }
    }
    if ["NodePort", "LoadBalancer"].contains(&kind.as_str()) {
        set_default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
    }
    if kind != "ExternalName" {
        set_default(spec, "internalTrafficPolicy", "Cluster");
        set_default(spec, "ipFamilyPolicy", "SingleStack");
        set_default(spec, "ipFamilies", json!(["IPv4"]));
    }
}

fn prepare_create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
    if let Some(spec) = ensure(service, "spec") {
        let address = text(spec, "clusterIP").to_owned();
        if !address.is_empty() && text(spec, "type") != "ExternalName" {
            set_default(spec, "clusterIPs", json!([address]));
        }
    }
}

/// A client that leaves out what was allocated keeps it; a service that becomes an `ExternalName` gives it up.
fn prepare_update(service: &mut Value, old: &Value) {
    copy(service, old, "status");
    let (Some(spec), Some(old)) = (ensure(service, "spec"), old.get("spec")) else { return };
    let needs_address = |spec: &Value| text(spec, "type") != "ExternalName";
    if needs_address(old) && !needs_address(spec) {
        for field in ["clusterIP", "clusterIPs"] {
            if get(spec, field) == get(old, field) {
                remove(spec, field);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            remove(spec, field);
        }
    } else if needs_address(old) && text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").is_empty() {
        copy(spec, old, "clusterIP");
        copy(spec, old, "clusterIPs");
    } else if needs_address(spec) && !text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").is_empty() {
        let address = text(spec, "clusterIP").to_owned();
        set(spec, "clusterIPs", json!([address]));
    }
    keep_node_ports(spec, old);
}

fn has_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(spec, "type"))
}

fn keep_node_ports(spec: &mut Value, old: &Value) {
    match (has_node_ports(spec), has_node_ports(old)) {
        (true, true) => {
            for port in items_mut(spec, "ports") {
                if int(port, "nodePort").unwrap_or(0) != 0 {
                    continue;
                }
                let before = list(old, "ports")
                    .iter()
                    .find(|o| int(o, "port") == int(port, "port") && text(o, "protocol") == text(port, "protocol"));
                if let Some(number) = before.and_then(|b| get(b, "nodePort")) {
                    set(port, "nodePort", number.clone());
                }
            }
        }
        (false, true) => {
            for (port, old) in items_mut(spec, "ports").zip(list(old, "ports")) {
                if get(port, "nodePort") == get(old, "nodePort") {
                    remove(port, "nodePort");
                }
            }
            remove(spec, "externalTrafficPolicy");
            remove(spec, "allocateLoadBalancerNodePorts");
        }
        (true | false, false) => {}
    }
}

fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(service, old, true, names::dns_1035_label, &mut errors);
    let path = Path::new("spec");
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let headless = text(spec, "clusterIP") == "None";
    if list(spec, "ports").is_empty() && !headless && text(spec, "type") != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, &path, &mut errors);
    ports(spec, &path.child("ports"), &mut errors);
    objectmeta::labels(spec.get("selector"), &path.child("selector"), &mut errors);
    session_affinity(spec, &path, &mut errors);
    addresses(spec, &path, &mut errors);
    traffic_policies(spec, &path, &mut errors);
    if let Some(old) = old.and_then(|o| o.get("spec")) {
        same_address(spec, old, &path, &mut errors);
    }
    errors.into_vec()
}

fn by_type(spec: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), quoted("None"), detail);
        }
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        "ExternalName" => external_name(spec, path, errors),
        "" => errors.required(&path.child("type"), ""),
        other => errors.not_supported(&path.child("type"), other, &TYPES),
    }
}

fn external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    if !text(spec, "clusterIP").is_empty() {
        errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
    }
    // A name given as a fully qualified one ends in a dot.
    match text(spec, "externalName") {
        "" => errors.required(&path.child("externalName"), ""),
        name => errors.invalid_text(
            &path.child("externalName"),
            name,
            names::dns_subdomain(name.strip_suffix('.').unwrap_or(name)),
        ),
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let (mut port_names, mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        match text(port, "name") {
            "" if ports.len() > 1 => errors.required(&path.child("name"), ""),
            "" => {}
            name => {
                errors.invalid_text(&path.child("name"), name, names::dns_label(name));
                if !port_names.insert(name) {
                    errors.duplicate(&path.child("name"), quoted(name));
                }
            }
        }
        let number = int(port, "port").unwrap_or(0);
        if let Some(complaint) = names::port_number(number) {
            errors.invalid(&path.child("port"), number.to_string(), complaint);
        }
        podspec::protocol(port, &path, errors);
        podspec::port_or_name(port.get("targetPort").unwrap_or(&Value::Null), &path.child("targetPort"), errors);
        let protocol = text(port, "protocol");
        if let Some(node_port) = int(port, "nodePort").filter(|n| *n != 0) {
            if text(spec, "type") == "ClusterIP" {
                errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !node_ports.insert((protocol, node_port)) {
                errors.duplicate(&path.child("nodePort"), node_port.to_string());
            }
        }
        if !numbers.insert((protocol, number)) {
            errors.duplicate(&path, shown_port(protocol, number));
        }
    }
}

/// The part of a `core.ServicePort` that must be unique, as Go prints it.
fn shown_port(protocol: &str, port: i64) -> String {
    format!(
        "core.ServicePort{{Name:\"\", Protocol:{}, AppProtocol:(*string)(nil), Port:{port}, TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}",
        quoted(protocol)
    )
}

fn session_affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let affinity = text(spec, "sessionAffinity");
    match affinity {
        "None" => {}
        "ClientIP" => {
            let seconds = int_at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let path = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
                errors.invalid(
                    &path,
                    seconds.to_string(),
                    format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
                );
            }
        }
        "" => errors.required(&path.child("sessionAffinity"), ""),
        other => errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

fn addresses(spec: &Value, path: &Path, errors: &mut Errors) {
    let listed = list(spec, "clusterIPs");
    let primary = text(spec, "clusterIP");
    if let Some(first) = listed.first().filter(|f| f.as_str() != Some(primary)) {
        errors.invalid(&path.child("clusterIPs"), shown(&json!([first])), "first value must match `clusterIP`");
    }
    if !primary.is_empty() && primary != "None" {
        errors.invalid_text(&path.child("clusterIPs").index(0), primary, names::ip(primary));
    }
    for (i, address) in list(spec, "externalIPs").iter().enumerate() {
        let path = path.child("externalIPs").index(i);
        let address = address.as_str().unwrap_or("");
        errors.invalid_text(&path, address, names::ip(address));
    }
}

fn traffic_policies(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        let policy = text(spec, field);
        if !["", "Cluster", "Local"].contains(&policy) {
            errors.not_supported(&path.child(field), policy, &["Cluster", "Local"]);
        }
    }
    if !text(spec, "externalTrafficPolicy").is_empty() && !has_node_ports(spec) && list(spec, "externalIPs").is_empty()
    {
        let policy = quoted(text(spec, "externalTrafficPolicy"));
        errors.invalid(
            &path.child("externalTrafficPolicy"),
            policy,
            "may only be set for externally-accessible services",
        );
    }
}

/// A cluster address is kept for as long as the service has one.
fn same_address(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let before = text(old, "clusterIP");
    let either_external = [spec, old].iter().any(|s| text(s, "type") == "ExternalName");
    if !before.is_empty() && !either_external && text(spec, "clusterIP") != before {
        errors.invalid(
            &path.child("clusterIPs").index(0),
            shown(&json!([text(spec, "clusterIP")])),
            "may not change once set",
        );
    }
}

fn field(service: &Value, path: &str) -> Option<String> {
    match path {
        "spec.clusterIP" => Some(text_at(service, &["spec", "clusterIP"]).to_owned()),
        "spec.type" => Some(at(service, &["spec", "type"]).and_then(Value::as_str).unwrap_or("").to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        default(&mut object);
        object
    }

    fn check(spec: Value) -> Vec<String> {
        validate(&service(spec), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults() {
        assert_eq!(
            service(json!({"ports": [{"port": 80}]}))["spec"],
            json!({
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP", "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
            })
        );
        let balancer = service(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}));
        assert_eq!(balancer["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(balancer["spec"]["allocateLoadBalancerNodePorts"], true);
        assert_eq!(balancer["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
        assert_eq!(service(json!({"type": "ExternalName"}))["spec"].get("ipFamilies"), None);
    }

    #[test]
    fn validation() {
        let table = [
            (json!({"ports": [{"port": 80}]}), vec![]),
            (json!({"clusterIP": "None"}), vec![]),
            (json!({"type": "ExternalName", "externalName": "example.com."}), vec![]),
            (json!({}), vec!["spec.ports: Required value"]),
            (
                json!({"type": "Magic", "ports": [{"port": 80}]}),
                vec![
                    "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                json!({"ports": [{"port": 0, "targetPort": 1}]}),
                vec!["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
            ),
            (json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}), vec!["spec.ports[0].name: Required value"]),
            (
                json!({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}),
                vec!["spec.ports[1].name: Duplicate value: \"a\""],
            ),
            (
                json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
                vec![
                    "spec.ports[1]: Duplicate value: core.ServicePort{Name:\"\", Protocol:\"TCP\", AppProtocol:(*string)(nil), Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}",
                ],
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30000}]}),
                vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                json!({"ports": [{"port": 80}], "sessionAffinity": "Some"}),
                vec!["spec.sessionAffinity: Unsupported value: \"Some\": supported values: \"ClientIP\", \"None\""],
            ),
            (
                json!({"ports": [{"port": 80}], "clusterIP": "x"}),
                vec![
                    "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
                vec!["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(check(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn the_address_stays() {
        let old = service(
            json!({"type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": [{"port": 80, "nodePort": 30001}]}),
        );
        let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        prepare_update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.43.0.9");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        assert_eq!(validate(&new, Some(&old)), []);

        let mut other = service(json!({"clusterIP": "10.43.0.8", "ports": [{"port": 80, "nodePort": 30001}]}));
        prepare_update(&mut other, &old);
        let texts: Vec<String> = validate(&other, Some(&old)).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["spec.clusterIPs[0]: Invalid value: []string{\"10.43.0.8\"}: may not change once set"]);
    }
}
