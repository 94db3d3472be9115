//! `discovery.k8s.io/v1` EndpointSlice.

use serde_json::Value;

use super::endpoints::special_ip;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{get, int, items_mut, list, set_default, text, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// How many ports and how many addresses a row shows.
const SHOWN: usize = 3;
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;

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
        hooks: Hooks { default, validate, has_generation: true, columns: COLUMNS, row, ..PLAIN },
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
        set_default(port, "name", "");
        set_default(port, "protocol", "TCP");
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
    if let Some(old) = old {
        errors.immutable(&path, slice.get("addressType"), old.get("addressType"));
    }
    if list(slice, "endpoints").len() > ENDPOINTS_MAX {
        errors.too_long(&Path::new("endpoints"), ENDPOINTS_MAX);
    }
    for (i, endpoint) in list(slice, "endpoints").iter().enumerate() {
        one_endpoint(endpoint, kind, &Path::new("endpoints").index(i), &mut errors);
    }
    ports(slice, &mut errors);
    errors.into_vec()
}

fn one_endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let addresses = texts(endpoint, "addresses");
    if addresses.is_empty() {
        errors.required(&path.child("addresses"), "must contain at least 1 address");
    }
    if addresses.len() > ADDRESSES_MAX {
        errors.too_long(&path.child("addresses"), ADDRESSES_MAX);
    }
    for (i, address) in addresses.into_iter().enumerate() {
        let path = path.child("addresses").index(i);
        let complaints = match (kind, address.parse::<std::net::IpAddr>()) {
            ("IPv4", Ok(ip)) if ip.is_ipv4() => Vec::new(),
            ("IPv6", Ok(ip)) if ip.is_ipv6() => Vec::new(),
            ("IPv4", _) => vec!["must be a valid IPv4 address".to_owned()],
            ("IPv6", _) => vec!["must be a valid IPv6 address".to_owned()],
            ("FQDN", _) => names::dns_subdomain(address),
            _ => Vec::new(),
        };
        if complaints.is_empty() && kind != "FQDN" {
            special_ip(address, &path, errors);
        }
        errors.invalid_text(&path, address, complaints);
    }
    let hostname = text(endpoint, "hostname");
    if !hostname.is_empty() {
        errors.invalid_text(&path.child("hostname"), hostname, names::dns_label(hostname));
    }
    let node = text(endpoint, "nodeName");
    if !node.is_empty() {
        errors.invalid_text(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
}

fn ports(slice: &Value, errors: &mut Errors) {
    let mut seen = std::collections::BTreeSet::new();
    for (i, port) in list(slice, "ports").iter().enumerate() {
        let path = Path::new("ports").index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.invalid_text(&path.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), quoted(name));
        }
        podspec::protocol(port, &path, errors);
        if let Some(complaint) = int(port, "port").and_then(names::port_number) {
            errors.invalid(&path.child("port"), int(port, "port").unwrap_or(0).to_string(), complaint);
        }
    }
}

fn row(slice: &Value, now: i64) -> Vec<Value> {
    let ports = list(slice, "ports").iter();
    let ports: Vec<String> =
        ports.map(|p| get(p, "port").map_or_else(|| "*".to_owned(), ToString::to_string)).collect();
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
        let object =
            created(&kind(), json!({"addressType": "IPv4", "ports": [{"port": 80}, {}], "endpoints": endpoints}));
        assert_eq!(object["ports"][0], json!({"name": "", "port": 80, "protocol": "TCP"}));
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [json!("IPv4"), json!("80,*"), json!("10.42.0.1,10.42.0.2,10.42.0.3 + 1 more..."), json!("60s")]
        );
        assert_eq!(first(&[]), "<unset>");
    }

    #[test]
    fn validation() {
        let slice = |kind: &str, address: &str| json!({"addressType": kind, "endpoints": [{"addresses": [address]}]});
        for (new, old, expected) in [
            (slice("IPv4", "10.0.0.1"), None, vec![]),
            (slice("FQDN", "a.example.com"), None, vec![]),
            (json!({}), None, vec!["addressType: Required value"]),
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
