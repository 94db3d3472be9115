//! `discovery.k8s.io/v1` EndpointSlice.

use std::collections::BTreeSet;

use serde_json::Value;

use super::endpoints::special_ip;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, entries, get, items_mut, list, list_at, same, set_missing, text, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// How many ports and how many addresses a row shows.
const SHOWN: usize = 3;
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_MAX: usize = 16;
const ZONES_MAX: usize = 8;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        list_kind: "EndpointSliceList",
        plural: "endpointslices",
        singular: "endpointslice",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.discovery.v1.EndpointSlice",
        storage: "endpointslices.discovery.k8s.io".into(),
        hooks: Hooks {
            default,
            validate,
            has_generation: true,
            next_generation: |new, old| !same(at(new, &["metadata", "labels"]), at(old, &["metadata", "labels"])),
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("AddressType", "addressType specifies the type of address carried by this EndpointSlice."),
    text_column(
        "Ports",
        "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name.",
    ),
    text_column("Endpoints", "endpoints is a list of unique endpoints in this slice."),
    AGE,
];

fn default(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        set_missing(port, "name", "");
        set_missing(port, "protocol", "TCP");
    }
}

fn validate(slice: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(slice, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("addressType");
    let kind = text(slice, "addressType");
    match kind {
        "" => errors.required(&path, ""),
        kind if TYPES.contains(&kind) => {}
        kind => errors.not_supported(&path, kind, &TYPES),
    }
    endpoints(list(slice, "endpoints"), kind, &Path::new("endpoints"), &mut errors);
    ports(list(slice, "ports"), &Path::new("ports"), &mut errors);
    if let Some(old) = old {
        errors.immutable(&path, Some(&kind.into()), old.get("addressType"));
    }
    errors.into_vec()
}

fn endpoints(endpoints: &[Value], kind: &str, path: &Path, errors: &mut Errors) {
    if endpoints.len() > ENDPOINTS_MAX {
        return errors.too_many(path, endpoints.len(), ENDPOINTS_MAX);
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        one_endpoint(endpoint, kind, &path.index(i), errors);
    }
}

fn one_endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    addresses(&texts(endpoint, "addresses"), kind, &path.child("addresses"), errors);
    if let Some(node) = get(endpoint, "nodeName").and_then(Value::as_str) {
        errors.invalid_text(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    let topology = get(endpoint, "deprecatedTopology");
    let topology_path = path.child("deprecatedTopology");
    let labels = entries(topology).count();
    if labels > TOPOLOGY_MAX {
        errors.too_many(&topology_path, labels, TOPOLOGY_MAX);
    }
    objectmeta::labels(topology, &topology_path, errors);
    if let Some(hostname) = get(endpoint, "hostname").and_then(Value::as_str) {
        errors.invalid_text(&path.child("hostname"), hostname, names::dns_label(hostname));
    }
    hints(list_at(endpoint, &["hints", "forZones"]), &path.child("hints").child("forZones"), errors);
}

fn addresses(addresses: &[&str], kind: &str, path: &Path, errors: &mut Errors) {
    if addresses.is_empty() {
        errors.required(path, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(path, addresses.len(), ADDRESSES_MAX);
    }
    for (i, address) in addresses.iter().enumerate() {
        one_address(address, kind, &path.index(i), errors);
    }
}

fn one_address(address: &str, kind: &str, path: &Path, errors: &mut Errors) {
    let ip = address.parse::<std::net::IpAddr>();
    match kind {
        "IPv4" if ip.as_ref().is_ok_and(std::net::IpAddr::is_ipv4) => special_ip(address, path, errors),
        "IPv6" if ip.as_ref().is_ok_and(std::net::IpAddr::is_ipv6) => special_ip(address, path, errors),
        "IPv4" | "IPv6" => errors.invalid(path, quoted(address), format!("must be a valid {kind} address")),
        "FQDN" => qualified_domain(address, path, errors),
        _ => {}
    }
}

/// A domain of at least two parts, with a final dot or without.
fn qualified_domain(name: &str, path: &Path, errors: &mut Errors) {
    let name = name.strip_suffix('.').unwrap_or(name);
    let complaints = names::dns_subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if !complaints.is_empty() {
        errors.invalid(path, quoted(name), complaints.join(","));
    } else if !name.contains('.') {
        errors.invalid(path, quoted(name), "should be a domain with at least two segments separated by dots");
    } else if let Some(label) = name.split('.').find(|label| !names::dns_label(label).is_empty()) {
        errors.invalid(path, quoted(label), names::dns_label(label).join(","));
    }
}

fn hints(zones: &[Value], path: &Path, errors: &mut Errors) {
    if zones.len() > ZONES_MAX {
        return errors.too_many(path, zones.len(), ZONES_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, zone) in zones.iter().enumerate() {
        let (path, name) = (path.index(i).child("name"), text(zone, "name"));
        if !seen.insert(name) {
            errors.duplicate(&path, quoted(name));
        }
        errors.invalid_text(&path, name, names::label_value(name));
    }
}

fn ports(ports: &[Value], path: &Path, errors: &mut Errors) {
    if ports.len() > PORTS_MAX {
        return errors.too_many(path, ports.len(), PORTS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let [name, protocol] = ["name", "protocol"].map(|field| text(port, field));
        if !name.is_empty() {
            errors.invalid_text(&path.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), quoted(name));
        }
        if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        if let Some(protocol) = get(port, "appProtocol").and_then(Value::as_str) {
            errors.invalid_text(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

fn row(slice: &Value, now: i64) -> Vec<Value> {
    let ports = list(slice, "ports").iter();
    let named = |port: &Value| get(port, "name").and_then(Value::as_str).unwrap_or("*").to_owned();
    let ports: Vec<String> = ports.map(|p| get(p, "port").map_or_else(|| named(p), ToString::to_string)).collect();
    let addresses: Vec<String> =
        list(slice, "endpoints").iter().flat_map(|e| texts(e, "addresses")).map(str::to_owned).collect();
    vec![
        printers::name(slice),
        text(slice, "addressType").into(),
        first(&ports).into(),
        first(&addresses).into(),
        printers::age(slice, now),
    ]
}

/// The first few, and how many there are beyond.
fn first(all: &[String]) -> String {
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len() {
        0 => "<unset>".into(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn cells() {
        let endpoints: Vec<Value> = (1..=4).map(|i| json!({"addresses": [format!("10.42.0.{i}")]})).collect();
        let object = created(
            &kind(),
            json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "any"}], "endpoints": endpoints}),
        );
        assert_eq!(object["ports"][0], json!({"name": "", "port": 80, "protocol": "TCP"}));
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [json!("IPv4"), json!("80,any"), json!("10.42.0.1,10.42.0.2,10.42.0.3 + 1 more..."), json!("60s")]
        );
        assert_eq!(first(&[]), "<unset>");
    }

    #[test]
    fn validation() {
        let long: Vec<Value> = (0..1001).map(|_| json!({"addresses": ["10.0.0.1"]})).collect();
        let with = |endpoint: Value| {
            let mut slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]});
            json_patch::merge(&mut slice["endpoints"][0], &endpoint);
            slice
        };
        let slice = |kind: &str, address: &str| json!({"addressType": kind, "endpoints": [{"addresses": [address]}]});
        for (new, old, expected) in [
            (slice("IPv4", "10.0.0.1"), None, vec![]),
            (slice("FQDN", "a.example.com"), None, vec![]),
            (json!({}), None, vec!["addressType: Required value"]),
            (
                slice("FQDN", "web"),
                None,
                vec![
                    "endpoints[0].addresses[0]: Invalid value: \"web\": should be a domain with at least two segments separated by dots",
                ],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": long}),
                None,
                vec!["endpoints: Too many: 1001: must have at most 1000 items"],
            ),
            (
                with(json!({"hints": {"forZones": [{"name": "a"}, {"name": "a"}]}})),
                None,
                vec!["endpoints[0].hints.forZones[1].name: Duplicate value: \"a\""],
            ),
            (
                json!({"addressType": "IPv4", "ports": [{"port": 0}, {"name": "a", "protocol": "", "appProtocol": "/x"}]}),
                None,
                vec![
                    "ports[1].protocol: Unsupported value: \"\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                    "ports[1].appProtocol: Invalid value: \"/x\": prefix part must be non-empty",
                ],
            ),
            (
                slice("IPv4", "::1"),
                None,
                vec!["endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"],
            ),
            (
                slice("IPv6", "fd00::1"),
                Some(slice("IPv4", "10.0.0.1")),
                vec!["addressType: Invalid value: \"IPv6\": field is immutable"],
            ),
        ] {
            assert_eq!(complaints(&kind(), new.clone(), old), expected, "{new}");
        }
    }
}
