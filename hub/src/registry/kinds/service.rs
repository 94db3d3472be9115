//! `v1` Service. Addresses and node ports are given elsewhere, on write.

use serde_json::{Value, json};

use super::service_rules::{needs_health_check, validate};
use super::service_table;
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, copy, ensure, get, int, items_mut, list, remove, set, set_default, text, text_at};
use crate::registry::{Hooks, Kind, warnings};

const AFFINITY_SECONDS: i64 = 10_800;

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
        subresources: &["proxy", "status"],
        schema: "io.k8s.api.core.v1.Service",
        storage: "services".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update,
            validate,
            warn: warnings::service,
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
    if externally_accessible(spec) {
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
    } else if needs_address(old) && text(spec, "clusterIP").is_empty() && only_one_changed(spec, old) {
        copy(spec, old, "clusterIP");
        copy(spec, old, "clusterIPs");
    } else if needs_address(spec) && !text(spec, "clusterIP").is_empty() && only_one_changed(spec, old) {
        let address = text(spec, "clusterIP").to_owned();
        set(spec, "clusterIPs", json!([address]));
    }
    keep_node_ports(spec, old);
    drop_with_type(spec, old);
}

/// Whether `clusterIPs` says no more than it did, so that `clusterIP` alone tells what is asked for.
fn only_one_changed(spec: &Value, old: &Value) -> bool {
    let listed = list(spec, "clusterIPs");
    let changed = text(spec, "clusterIP") != text(old, "clusterIP");
    listed.is_empty() || changed && listed == list(old, "clusterIPs")
}

fn has_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(spec, "type"))
}

fn is_balancer(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer"
}

/// Whether a service can be reached from outside, so that it has an `externalTrafficPolicy`.
pub(super) fn externally_accessible(spec: &Value) -> bool {
    has_node_ports(spec) || (text(spec, "type") == "ClusterIP" && !list(spec, "externalIPs").is_empty())
}

/// The ports of nodes that a client leaves out stay, each by the name of its port.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    if has_node_ports(spec) && has_node_ports(old) {
        let number = |port: &Value| int(port, "nodePort").filter(|n| *n != 0);
        let asked: Vec<i64> = list(spec, "ports").iter().filter_map(number).collect();
        for port in items_mut(spec, "ports").filter(|port| number(port).is_none()) {
            let before = list(old, "ports").iter().find(|o| text(o, "name") == text(port, "name"));
            if let Some(kept) = before.and_then(number).filter(|n| !asked.contains(n)) {
                set(port, "nodePort", kept);
            }
        }
    }
    let both = needs_health_check(spec) && needs_health_check(old);
    if both && int(spec, "healthCheckNodePort").unwrap_or(0) == 0 {
        copy(spec, old, "healthCheckNodePort");
    }
}

/// What a client leaves as it was goes with the type that had it.
fn drop_with_type(spec: &mut Value, old: &Value) {
    if has_node_ports(old) && !has_node_ports(spec) {
        for (port, old) in items_mut(spec, "ports").zip(list(old, "ports")) {
            if get(port, "nodePort") == get(old, "nodePort") {
                remove(port, "nodePort");
            }
        }
    }
    let mut drop_field = |needs: fn(&Value) -> bool, field: &str| {
        if needs(old) && !needs(spec) && get(spec, field) == get(old, field) {
            remove(spec, field);
        }
    };
    drop_field(needs_health_check, "healthCheckNodePort");
    drop_field(is_balancer, "loadBalancerClass");
    drop_field(is_balancer, "allocateLoadBalancerNodePorts");
    drop_field(externally_accessible, "externalTrafficPolicy");
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

    #[test]
    fn what_was_allocated_stays_with_its_name_and_goes_with_its_type() {
        let old = service(json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30009, "loadBalancerClass": "a.b/c",
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}],
        }));
        for (new, kept) in [
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"name": "b", "port": 82}, {"name": "c", "port": 81}]}),
                json!([[30002, null], 30009, null, true, "Local"]),
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"name": "a", "port": 80}, {"name": "x", "port": 81, "nodePort": 30001}]}),
                json!([[null, 30001], null, null, true, "Cluster"]),
            ),
            (
                json!({"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30009, "loadBalancerClass": "a.b/c",
                    "allocateLoadBalancerNodePorts": true, "ports": [{"name": "a", "port": 80}]}),
                json!([[30001], null, null, null, "Local"]),
            ),
            (
                json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30010, "ports": [{"name": "a", "port": 80, "nodePort": 30001}]}),
                json!([[null], 30010, null, null, null]),
            ),
        ] {
            let mut updated = service(new.clone());
            prepare_update(&mut updated, &old);
            let spec = &updated["spec"];
            let ports: Vec<&Value> = spec["ports"].as_array().unwrap().iter().map(|p| &p["nodePort"]).collect();
            let fields =
                ["healthCheckNodePort", "loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"];
            let mut found = vec![json!(ports)];
            found.extend(fields.map(|field| spec[field].clone()));
            assert_eq!(json!(found), kept, "{new}");
        }
    }
}
