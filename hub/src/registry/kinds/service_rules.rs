//! Validation of services.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::service::externally_accessible;
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{get, int, int_at, list, text};
use crate::registry::{FieldError, names, objectmeta, podspec};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// Validates a service; `old` is `None` on create.
pub(super) fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
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
    only_for_balancers(spec, &path, &mut errors);
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
        let application = text(port, "appProtocol");
        if !application.is_empty() {
            errors.invalid_text(&path.child("appProtocol"), application, names::qualified_name(application));
        }
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
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let external = text(spec, "externalTrafficPolicy");
    let external_path = path.child("externalTrafficPolicy");
    match (externally_accessible(spec), external) {
        (false, "") => {}
        (false, _) => {
            errors.invalid(&external_path, quoted(external), "may only be set for externally-accessible services")
        }
        (true, "") => errors.required(&external_path, ""),
        (true, policy) if POLICIES.contains(&policy) => {}
        (true, _) => errors.not_supported(&external_path, external, &POLICIES),
    }
    let internal = text(spec, "internalTrafficPolicy");
    if !internal.is_empty() && !POLICIES.contains(&internal) {
        errors.not_supported(&path.child("internalTrafficPolicy"), internal, &POLICIES);
    }
    let distribution = text(spec, "trafficDistribution");
    if !["", "PreferClose"].contains(&distribution) {
        errors.not_supported(&path.child("trafficDistribution"), distribution, &["PreferClose"]);
    }
}

fn only_for_balancers(spec: &Value, path: &Path, errors: &mut Errors) {
    if text(spec, "type") == "LoadBalancer" {
        return;
    }
    let ranges = !list(spec, "loadBalancerSourceRanges").is_empty();
    let node_ports = get(spec, "allocateLoadBalancerNodePorts").is_some();
    // The capital letter is Kubernetes' own.
    for (set, field) in [(ranges, "LoadBalancerSourceRanges"), (node_ports, "allocateLoadBalancerNodePorts")] {
        if set {
            errors.forbidden(&path.child(field), "may only be used when `type` is 'LoadBalancer'");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
                json!({"type": "ExternalName", "externalName": "a", "ipFamilies": ["IPv4"]}),
                vec!["spec.ipFamilies: Forbidden: may not be set for ExternalName services"],
            ),
            (
                json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
                vec![
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (json!({"ports": [{"port": 80}], "externalIPs": ["9.9.9.9"]}), vec![]),
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
