//! Validation of services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::endpoints::special_ip;
use super::service::externally_accessible;
use super::service_addresses;
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{at, get, int, int_at, list, text, texts};
use crate::registry::{FieldError, names, objectmeta, podspec};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// Validates a service; `old` is `None` on create.
pub(super) fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(service, old, true, names::dns_1035_label, &mut errors);
    let path = Path::new("spec");
    let spec = service.get("spec").unwrap_or(&Value::Null);
    if let Some(before) = old.and_then(|o| o.get("spec")) {
        changes(spec, before, &path, &mut errors);
    }
    if list(spec, "ports").is_empty() && !is_headless(spec) && text(spec, "type") != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, &path, &mut errors);
    ports(spec, &path.child("ports"), &mut errors);
    objectmeta::labels(spec.get("selector"), &path.child("selector"), &mut errors);
    session_affinity(spec, &path, &mut errors);
    service_addresses::cluster_ips(spec, &path, &mut errors);
    for (i, address) in texts(spec, "externalIPs").into_iter().enumerate() {
        let path = path.child("externalIPs").index(i);
        let complaints = names::ip(address);
        if complaints.is_empty() {
            special_ip(address, &path, &mut errors);
        }
        errors.invalid_text(&path, address, complaints);
    }
    podspec::one_of(text(spec, "type"), &TYPES, &path.child("type"), &mut errors);
    unique_ports(spec, &path.child("ports"), &mut errors);
    only_for_balancers(service, &path, &mut errors);
    traffic_policies(spec, &path, &mut errors);
    if old.is_some_and(|old| old.get("status") != service.get("status")) {
        service_addresses::balancer_status(service, &mut errors);
    }
    errors.into_vec()
}

/// Whether a service asks for no address of its own.
pub(super) fn is_headless(spec: &Value) -> bool {
    texts(spec, "clusterIPs") == ["None"] || (list(spec, "clusterIPs").is_empty() && text(spec, "clusterIP") == "None")
}

/// What an update may not change.
fn changes(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    if ![spec, old].iter().any(|s| text(s, "type") == "ExternalName") {
        service_addresses::changes(spec, old, path, errors);
    }
    let balancers = [spec, old].iter().all(|s| text(s, "type") == "LoadBalancer");
    let class = |spec| get(spec, "loadBalancerClass");
    if balancers && class(spec) != class(old) {
        let shown = class(spec).map_or_else(|| quoted("null"), shown);
        errors.invalid(&path.child("loadBalancerClass"), shown, "may not change once set");
    }
    let port = |spec| int(spec, "healthCheckNodePort").unwrap_or(0);
    if needs_health_check(spec) && needs_health_check(old) && port(spec) != port(old) {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

/// Whether a service's traffic stays on the node it came to, so that a balancer has to know which nodes have endpoints.
pub(crate) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn by_type(spec: &Value, path: &Path, errors: &mut Errors) {
    match text(spec, "type") {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), quoted("None"), detail);
        }
        "ExternalName" => external_name(spec, path, errors),
        _ => {}
    }
}

fn external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    let addresses = !text(spec, "clusterIP").is_empty() || !list(spec, "clusterIPs").is_empty();
    let families = !list(spec, "ipFamilies").is_empty();
    let policy = get(spec, "ipFamilyPolicy").is_some();
    for (set, field) in [(addresses, "clusterIPs"), (families, "ipFamilies"), (policy, "ipFamilyPolicy")] {
        if set {
            errors.forbidden(&path.child(field), "may not be set for ExternalName services");
        }
    }
    // A name given as a fully qualified one ends in a dot.
    let name = text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    match name {
        "" => errors.required(&path.child("externalName"), ""),
        name => errors.invalid_text(&path.child("externalName"), name, names::dns_subdomain(name)),
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let mut port_names = BTreeSet::new();
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
        if get(port, "appProtocol").is_some() {
            let application = text(port, "appProtocol");
            errors.invalid_text(&path.child("appProtocol"), application, names::qualified_name(application));
        }
    }
}

/// Each port and each node port is one of its protocol.
fn unique_ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let ports = || list(spec, "ports").iter().enumerate();
    let node_port = |port| int(port, "nodePort").filter(|number| *number != 0);
    for (i, _) in ports().filter(|(_, port)| text(spec, "type") == "ClusterIP" && node_port(port).is_some()) {
        errors.forbidden(&path.index(i).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports() {
        if let Some(number) = node_port(port).filter(|number| !seen.insert((text(port, "protocol"), *number))) {
            errors.duplicate(&path.index(i).child("nodePort"), number.to_string());
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports() {
        let (protocol, number) = (text(port, "protocol"), int(port, "port").unwrap_or(0));
        if !seen.insert((protocol, number)) {
            errors.duplicate(&path.index(i), shown_port(protocol, number));
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
    let (affinity, config) = (text(spec, "sessionAffinity"), path.child("sessionAffinityConfig"));
    podspec::one_of(affinity, &["ClientIP", "None"], &path.child("sessionAffinity"), errors);
    let seconds = int_at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
    match affinity {
        "ClientIP" if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) => {
            let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            errors.invalid(&config.child("clientIP").child("timeoutSeconds"), seconds.to_string(), detail);
        }
        "None" if get(spec, "sessionAffinityConfig").is_some() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn traffic_policies(spec: &Value, path: &Path, errors: &mut Errors) {
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let external = text(spec, "externalTrafficPolicy");
    let external_path = path.child("externalTrafficPolicy");
    if externally_accessible(spec) {
        podspec::one_of(external, &POLICIES, &external_path, errors);
    } else if !external.is_empty() {
        errors.invalid(&external_path, quoted(external), "may only be set for externally-accessible services");
    }
    let health = int(spec, "healthCheckNodePort").unwrap_or(0);
    let health_path = path.child("healthCheckNodePort");
    if health != 0 && !needs_health_check(spec) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&health_path, health.to_string(), detail);
    } else if let Some(complaint) = names::port_number(health).filter(|_| health != 0) {
        errors.invalid(&health_path, health.to_string(), complaint);
    }
    let internal = text(spec, "internalTrafficPolicy");
    if get(spec, "internalTrafficPolicy").is_some() {
        if !POLICIES.contains(&internal) {
            errors.not_supported(&path.child("internalTrafficPolicy"), internal, &POLICIES);
        }
    } else if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&text(spec, "type")) {
        errors.required(&path.child("internalTrafficPolicy"), "");
    }
    let distribution = text(spec, "trafficDistribution");
    if get(spec, "trafficDistribution").is_some() && distribution != "PreferClose" {
        errors.not_supported(&path.child("trafficDistribution"), distribution, &["PreferClose"]);
    }
}

fn only_for_balancers(service: &Value, path: &Path, errors: &mut Errors) {
    const NOT_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
    const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let balancer = text(spec, "type") == "LoadBalancer";
    let ranges = texts(spec, "loadBalancerSourceRanges");
    // The capital letter is Kubernetes' own.
    let ranges_path = path.child("LoadBalancerSourceRanges");
    let marked = at(service, &["metadata", "annotations", RANGES]).and_then(Value::as_str);
    if !ranges.is_empty() {
        if !balancer {
            errors.forbidden(&ranges_path, NOT_BALANCER);
        }
        for (i, range) in ranges.into_iter().map(str::trim).enumerate() {
            errors.invalid_text(&ranges_path.index(i), range, names::cidr(range));
        }
    } else if let Some(marked) = marked {
        let path = Path::new("metadata").child("annotations").key(RANGES);
        if !balancer {
            errors.forbidden(&path, NOT_BALANCER);
        }
        for range in marked.trim().split(',').map(str::trim).filter(|_| !marked.trim().is_empty()) {
            errors.invalid_text(&path, range, names::cidr(range));
        }
    }
    if !balancer && get(spec, "allocateLoadBalancerNodePorts").is_some() {
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), NOT_BALANCER);
    }
    if get(spec, "loadBalancerClass").is_some() {
        let (class, path) = (text(spec, "loadBalancerClass"), path.child("loadBalancerClass"));
        if balancer {
            errors.invalid_text(&path, class, names::qualified_name(class));
        } else {
            errors.forbidden(&path, NOT_BALANCER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        (crate::registry::kinds::service::kind().hooks.default)(&mut object);
        object
    }

    fn check(spec: Value) -> Vec<String> {
        validate(&service(spec), None).iter().map(ToString::to_string).collect()
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
        ];
        for (spec, expected) in table {
            assert_eq!(check(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn addresses_and_traffic() {
        let table = [
            (
                json!({"ports": [{"port": 80}], "sessionAffinity": "Some"}),
                vec!["spec.sessionAffinity: Unsupported value: \"Some\": supported values: \"ClientIP\", \"None\""],
            ),
            (
                json!({"ports": [{"port": 80}], "clusterIP": "x", "clusterIPs": ["x"]}),
                vec![
                    "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
            (
                json!({"type": "ExternalName", "externalName": "a", "ipFamilies": ["IPv4"]}),
                vec!["spec.ipFamilies: Forbidden: may not be set for ExternalName services"],
            ),
            (
                json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
                vec![
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                json!({"ports": [{"port": 80}], "externalIPs": ["9.9.9.9", "127.0.0.1"]}),
                vec![
                    "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
            (
                json!({"ports": [{"port": 80, "appProtocol": ""}], "healthCheckNodePort": 30000, "loadBalancerClass": "a"}),
                vec![
                    "spec.ports[0].appProtocol: Invalid value: \"\": name part must be non-empty",
                    "spec.ports[0].appProtocol: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"port": 80}], "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "x"]}),
                vec![
                    "spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
            (
                json!({"ports": [{"port": 80}], "loadBalancerSourceRanges": ["9.9.9.0/24"]}),
                vec!["spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
            ),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
                vec!["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(check(spec.clone()), expected, "{spec}");
        }
    }
}
