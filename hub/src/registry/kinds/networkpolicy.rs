//! `networking.k8s.io/v1` NetworkPolicy.

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::shown_list;
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, ensure, get, int, items_mut, list, set, set_missing, text, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const TYPES: [&str; 2] = ["Ingress", "Egress"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        list_kind: "NetworkPolicyList",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.networking.v1.NetworkPolicy",
        storage: "networkpolicies.networking.k8s.io".into(),
        hooks: Hooks { default, validate, has_generation: true, columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Pod-Selector", "podSelector selects the pods to which this NetworkPolicy object applies."),
    AGE,
];

fn default(policy: &mut Value) {
    let Some(spec) = ensure(policy, "spec") else { return };
    ensure(spec, "podSelector");
    if texts(spec, "policyTypes").is_empty() {
        let both = !list(spec, "egress").is_empty();
        set(spec, "policyTypes", if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
    for direction in ["ingress", "egress"] {
        for rule in items_mut(spec, direction) {
            for port in items_mut(rule, "ports") {
                set_missing(port, "protocol", "TCP");
            }
        }
    }
}

fn validate(policy: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(policy, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let selector = spec.get("podSelector").unwrap_or(&Value::Null);
    objectmeta::label_selector(selector, &path.child("podSelector"), &mut errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in list(spec, direction).iter().enumerate() {
            let path = path.child(direction).index(i);
            for (i, port) in list(rule, "ports").iter().enumerate() {
                one_port(port, &path.child("ports").index(i), &mut errors);
            }
            for (i, peer) in list(rule, peers).iter().enumerate() {
                one_peer(peer, &path.child(peers).index(i), &mut errors);
            }
        }
    }
    policy_types(&texts(spec, "policyTypes"), &path.child("policyTypes"), &mut errors);
    errors.into_vec()
}

fn policy_types(kinds: &[&str], path: &Path, errors: &mut Errors) {
    if kinds.len() > TYPES.len() {
        let shown = shown_list("networking.PolicyType", kinds);
        return errors.invalid(path, shown, "may not specify more than two policyTypes");
    }
    for (i, kind) in kinds.iter().enumerate().filter(|(_, kind)| !TYPES.contains(kind)) {
        errors.not_supported(&path.index(i), kind, &TYPES);
    }
}

fn one_port(port: &Value, path: &Path, errors: &mut Errors) {
    let protocol = get(port, "protocol").and_then(Value::as_str);
    if let Some(protocol) = protocol.filter(|protocol| !PROTOCOLS.contains(protocol)) {
        errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
    }
    let end = int(port, "endPort");
    let end_path = path.child("endPort");
    let number = get(port, "port");
    let Some(start) = number.and_then(Value::as_i64) else {
        let why = if number.is_some() { "non-numeric" } else { "not specified" };
        if let Some(end) = end {
            errors.invalid(&end_path, end.to_string(), format!("may not be specified when `port` is {why}"));
        }
        return number.into_iter().for_each(|name| podspec::port_or_name(name, &path.child("port"), errors));
    };
    podspec::port_or_name(&start.into(), &path.child("port"), errors);
    let Some(end) = end else { return };
    if end < start {
        // Kubernetes shows the port here, not its end.
        errors.invalid(&end_path, start.to_string(), "must be greater than or equal to `port`");
    }
    if let Some(complaint) = names::port_number(end) {
        errors.invalid(&end_path, end.to_string(), complaint);
    }
}

fn one_peer(peer: &Value, path: &Path, errors: &mut Errors) {
    let selectors: Vec<&str> =
        ["podSelector", "namespaceSelector"].into_iter().filter(|f| get(peer, f).is_some()).collect();
    for field in &selectors {
        objectmeta::label_selector(&peer[*field], &path.child(field), errors);
    }
    match get(peer, "ipBlock") {
        None if selectors.is_empty() => errors.required(path, "must specify a peer"),
        None => {}
        Some(block) => {
            ip_block(block, &path.child("ipBlock"), errors);
            if !selectors.is_empty() {
                errors.forbidden(path, "may not specify both ipBlock and another peer");
            }
        }
    }
}

fn ip_block(block: &Value, path: &Path, errors: &mut Errors) {
    const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let cidr = text(block, "cidr");
    let whole = parse_cidr(cidr);
    match (cidr, whole) {
        ("", _) => return errors.required(&path.child("cidr"), ""),
        (_, None) => return errors.invalid(&path.child("cidr"), quoted(cidr), CIDR),
        (_, Some(_)) => {}
    }
    for (i, except) in texts(block, "except").into_iter().enumerate() {
        let path = path.child("except").index(i);
        match (parse_cidr(except), whole) {
            (None, _) => errors.invalid(&path, quoted(except), CIDR),
            (Some(part), Some(whole)) if !strictly_within(part, whole) => {
                errors.invalid(&path, quoted(except), "must be a strict subset of `cidr`");
            }
            (Some(_), _) => {}
        }
    }
}

/// Bits of the address (IPv4 in the upper 32), width of the prefix, width of the family.
type Cidr = (u128, u32, u32);

fn parse_cidr(text: &str) -> Option<Cidr> {
    let (address, width) = text.split_once('/')?;
    let width: u32 = width.parse().ok()?;
    let (bits, family) = match address.parse().ok()? {
        std::net::IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        std::net::IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    (width <= family).then_some((bits, width, family))
}

fn strictly_within(part: Cidr, whole: Cidr) -> bool {
    let prefix = |bits: u128| bits.checked_shr(128 - whole.1).unwrap_or(0);
    part.2 == whole.2 && part.1 > whole.1 && prefix(part.0) == prefix(whole.0)
}

fn row(policy: &Value, now: i64) -> Vec<Value> {
    let selector = printers::selector(at(policy, &["spec", "podSelector"]));
    vec![printers::name(policy), selector.into(), printers::age(policy, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    #[test]
    fn the_types_follow_the_rules() {
        for (spec, types) in [
            (json!({}), json!(["Ingress"])),
            (json!({"egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            assert_eq!(created(&kind(), json!({"spec": spec}))["spec"]["policyTypes"], types, "{spec}");
        }
    }

    #[test]
    fn validation() {
        let peer = |peer: Value| json!({"ingress": [{"from": [peer]}]});
        for (spec, expected) in [
            (peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}})), vec![]),
            (peer(json!({"ipBlock": {"cidr": "::/0", "except": ["fd00::/8"]}})), vec![]),
            (json!({"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}), vec![]),
            (peer(json!({})), vec!["spec.ingress[0].from[0]: Required value: must specify a peer"]),
            (
                peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
                vec![
                    "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                ],
            ),
            (
                json!({"ingress": [{"ports": [{"port": 80, "endPort": 70}]}]}),
                vec!["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"],
            ),
            (
                json!({"ingress": [{"ports": [{"port": "http", "endPort": 70}, {"endPort": 70}, {"protocol": ""}]}]}),
                vec![
                    "spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric",
                    "spec.ingress[0].ports[1].endPort: Invalid value: 70: may not be specified when `port` is not specified",
                    "spec.ingress[0].ports[2].protocol: Unsupported value: \"\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                ],
            ),
            (
                json!({"policyTypes": ["Ingress", "Egress", "Odd"]}),
                vec![
                    "spec.policyTypes: Invalid value: []networking.PolicyType{\"Ingress\", \"Egress\", \"Odd\"}: may not specify more than two policyTypes",
                ],
            ),
            (
                peer(json!({"podSelector": {}, "ipBlock": {"cidr": "x", "except": ["y"]}})),
                vec![
                    "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), json!({"spec": spec}), None), expected, "{spec}");
        }
    }
}
