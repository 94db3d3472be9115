//! `v1` Endpoints.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{get, int, items_mut, list, set_default, text};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

/// How many addresses a row shows.
const SHOWN: usize = 3;

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Endpoints",
        list_kind: "EndpointsList",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.Endpoints",
        storage: "endpoints".into(),
        hooks: Hooks { default, validate, columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column(
        "Endpoints",
        "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share.",
    ),
    AGE,
];

fn default(endpoints: &mut Value) {
    for subset in items_mut(endpoints, "subsets") {
        for port in items_mut(subset, "ports") {
            set_default(port, "protocol", "TCP");
        }
    }
}

fn validate(endpoints: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(endpoints, old, true, names::dns_subdomain, &mut errors);
    for (i, subset) in list(endpoints, "subsets").iter().enumerate() {
        let path = Path::new("subsets").index(i);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (i, address) in list(subset, field).iter().enumerate() {
                one_address(address, &path.child(field).index(i), &mut errors);
            }
        }
        let ports = list(subset, "ports");
        for (i, port) in ports.iter().enumerate() {
            one_port(port, ports.len() > 1, &path.child("ports").index(i), &mut errors);
        }
    }
    errors.into_vec()
}

fn one_address(address: &Value, path: &Path, errors: &mut Errors) {
    let ip = text(address, "ip");
    errors.invalid_text(&path.child("ip"), ip, names::ip(ip));
    let hostname = text(address, "hostname");
    if !hostname.is_empty() {
        errors.invalid_text(&path.child("hostname"), hostname, names::dns_label(hostname));
    }
    if get(address, "nodeName").is_some() {
        let name = text(address, "nodeName");
        errors.invalid_text(&path.child("nodeName"), name, names::dns_subdomain(name));
    }
    special_ip(ip, &path.child("ip"), errors);
}

/// Addresses that mean something else on every machine lead nowhere.
pub(super) fn special_ip(text: &str, path: &Path, errors: &mut Errors) {
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        return errors.invalid(path, quoted(text), "must be a valid IP address");
    };
    let (link_local, multicast) = match ip {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let rules = [
        (ip.is_unspecified(), &*unspecified),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (broken, detail) in rules {
        if broken {
            errors.invalid(path, quoted(text), detail);
        }
    }
}

fn one_port(port: &Value, named: bool, path: &Path, errors: &mut Errors) {
    match text(port, "name") {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => errors.invalid_text(&path.child("name"), name, names::dns_label(name)),
    }
    let number = int(port, "port").unwrap_or(0);
    if let Some(complaint) = names::port_number(number) {
        errors.invalid(&path.child("port"), number.to_string(), complaint);
    }
    podspec::protocol(port, path, errors);
    let application = text(port, "appProtocol");
    if get(port, "appProtocol").is_some() {
        errors.invalid_text(&path.child("appProtocol"), application, names::qualified_name(application));
    }
}

fn row(endpoints: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(endpoints), addresses(endpoints).into(), printers::age(endpoints, now)]
}

/// `10.42.0.2:80,10.42.1.3:80,10.42.1.4:80 + 2 more...`
fn addresses(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(endpoints, "subsets") {
        let addresses = || list(subset, "addresses").iter().map(|a| text(a, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            all.extend(addresses().map(|ip| with_port(ip, int(port, "port").unwrap_or(0))));
        }
    }
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len() {
        0 if list(endpoints, "subsets").is_empty() => "<none>".into(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

fn with_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::complaints;
    use serde_json::json;

    #[test]
    fn the_first_addresses_are_shown() {
        let ips = |n: usize| (0..n).map(|i| json!({"ip": format!("10.42.0.{i}")})).collect::<Vec<_>>();
        for (endpoints, text) in [
            (json!({}), "<none>"),
            (json!({"subsets": [{"notReadyAddresses": ips(1), "ports": [{"port": 80}]}]}), ""),
            (json!({"subsets": [{"addresses": ips(2)}]}), "10.42.0.0,10.42.0.1"),
            (json!({"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]}), "[fd00::1]:80"),
            (
                json!({"subsets": [{"addresses": ips(2), "ports": [{"port": 80}, {"port": 443}]}]}),
                "10.42.0.0:80,10.42.0.1:80,10.42.0.0:443 + 1 more...",
            ),
        ] {
            assert_eq!(addresses(&endpoints), text, "{endpoints}");
        }
    }

    #[test]
    fn validation() {
        for (subset, expected) in [
            (json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}), vec![]),
            (json!({}), vec!["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
            (
                json!({"addresses": [{"ip": "127.0.0.1"}]}),
                vec![
                    "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
            (
                json!({"addresses": [{"ip": "0.0.0.0"}, {"ip": "x"}]}),
                vec![
                    "subsets[0].addresses[0].ip: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                    "subsets[0].addresses[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "subsets[0].addresses[1].ip: Invalid value: \"x\": must be a valid IP address",
                ],
            ),
            (
                json!({"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}, {"port": 0, "name": "b"}]}),
                vec![
                    "subsets[0].ports[0].name: Required value",
                    "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), json!({"subsets": [subset]}), None), expected, "{subset}");
        }
    }
}
