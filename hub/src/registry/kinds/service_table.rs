//! How services are printed.

use serde_json::Value;

use crate::registry::Column;
use crate::registry::json::{at, int, list, list_at, text, texts};
use crate::registry::printers::{self, AGE, NAME, or_none, text as text_column, wide};

/// The columns.
pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text_column(
        "Type",
        "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer.",
    ),
    text_column("Cluster-IP", "clusterIP is the IP address of the service and is usually assigned randomly."),
    text_column(
        "External-IP",
        "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.",
    ),
    text_column("Port(s)", "The list of ports that are exposed by this service."),
    AGE,
    wide(text_column("Selector", "Route service traffic to pods with label keys and values matching this selector.")),
];

/// The cells.
pub(super) fn row(service: &Value, now: i64) -> Vec<Value> {
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let address = texts(spec, "clusterIPs").first().copied().unwrap_or_else(|| text(spec, "clusterIP"));
    vec![
        printers::name(service),
        text(spec, "type").into(),
        or_none(address).into(),
        external(service, spec).into(),
        ports(spec).into(),
        printers::age(service, now),
        printers::labels(spec.get("selector")).into(),
    ]
}

fn external(service: &Value, spec: &Value) -> String {
    let given = texts(spec, "externalIPs").join(",");
    match text(spec, "type") {
        "ClusterIP" | "NodePort" => or_none(&given).to_owned(),
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let mut balancers: Vec<&str> = list_at(service, &["status", "loadBalancer", "ingress"])
                .iter()
                .map(|i| if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") })
                .filter(|place| !place.is_empty())
                .collect();
            balancers.sort_unstable();
            balancers.dedup();
            balancers.extend(texts(spec, "externalIPs"));
            if balancers.is_empty() { "<pending>".to_owned() } else { balancers.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &Value) -> String {
    let ports: Vec<String> = list(spec, "ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
            match at(port, &["nodePort"]).and_then(Value::as_i64).filter(|n| *n > 0) {
                Some(node_port) => format!("{number}:{node_port}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    or_none(&ports.join(",")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn printed() {
        let port = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]);
        for (spec, status, expected) in [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.43.0.1", "ports": port}),
                json!({}),
                "ClusterIP 10.43.0.1 <none> 80/TCP,53:30053/UDP <none>",
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}),
                json!({}),
                "ClusterIP None <none> <none> a=b",
            ),
            (
                json!({"type": "ExternalName", "externalName": "x.org"}),
                json!({}),
                "ExternalName <none> x.org <none> <none>",
            ),
            (json!({"type": "LoadBalancer"}), json!({}), "LoadBalancer <none> <pending> <none> <none>"),
            (
                json!({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}),
                json!({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}),
                "LoadBalancer <none> 1.1.1.1,9.9.9.9 <none> <none>",
            ),
        ] {
            let object = json!({"metadata": {"name": "s"}, "spec": spec, "status": status});
            let cells = row(&object, 0);
            assert_eq!(cells.len(), COLUMNS.len());
            let texts: Vec<&str> = [1, 2, 3, 4, 6].iter().map(|i| cells[*i].as_str().unwrap()).collect();
            assert_eq!(texts.join(" "), expected);
        }
    }
}
