//! Validation of the status of a pod that a client writes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, list, text};
use crate::registry::names;

/// Conditions of Kubernetes itself, whose types are no qualified names by rule.
const OWN_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Validates a status that differs from the `old` one.
pub(super) fn validate(status: &Value, old: &Value, errors: &mut Errors) {
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        if !OWN_CONDITIONS.contains(&kind) {
            // Kubernetes names the conditions so.
            let path = Path::new("metadata").child("conditions").index(i).child("Type");
            errors.invalid_text(&path, kind, names::qualified_name(kind));
        }
    }
    let (path, node) = (Path::new("status"), text(status, "nominatedNodeName"));
    if !node.is_empty() && node != text(old, "nominatedNodeName") {
        errors.invalid_text(&path.child("nominatedNodeName"), node, names::dns_subdomain(node));
    }
    addresses(status, &path.child("podIPs"), errors);
}

/// At most one address of each family.
fn addresses(status: &Value, path: &Path, errors: &mut Errors) {
    let mut addresses: Vec<&str> = list(status, "podIPs").iter().map(|a| text(a, "ip")).collect();
    if addresses.is_empty() && get(status, "podIP").is_some() {
        // The older name of the first of them.
        addresses.extend(Some(text(status, "podIP")).filter(|ip| !ip.is_empty()));
    }
    for (i, address) in addresses.iter().enumerate() {
        errors.invalid_text(&path.index(i), address, names::ip(address));
    }
    let sixth: BTreeSet<bool> = addresses.iter().filter_map(|a| Some(a.parse::<IpAddr>().ok()?.is_ipv6())).collect();
    if addresses.len() > 2 || addresses.len() == 2 && sixth.len() != 2 {
        let shown: Vec<String> = addresses.iter().map(|a| shown_address(a)).collect();
        let shown = format!("[]core.PodIP{{{}}}", shown.join(", "));
        errors.invalid(path, shown, "may specify no more than one IP for each IP family");
    }
    let mut seen = BTreeSet::new();
    for (i, address) in addresses.iter().enumerate().filter(|(_, address)| !seen.insert(**address)) {
        errors.duplicate(&path.index(i), shown_address(address));
    }
}

/// A `core.PodIP` as Go prints it.
fn shown_address(address: &str) -> String {
    format!("core.PodIP{{IP:{}}}", quoted(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statuses() {
        let table = [
            (json!({"podIP": "10.0.0.1", "conditions": [{"type": "Ready"}, {"type": "a.b/c"}]}), vec![]),
            (json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}), vec![]),
            (
                json!({"podIP": "x"}),
                vec![
                    "status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
                vec![
                    "status.podIPs: Invalid value: []core.PodIP{core.PodIP{IP:\"10.0.0.1\"}, core.PodIP{IP:\"10.0.0.1\"}}: may specify no more than one IP for each IP family",
                    "status.podIPs[1]: Duplicate value: core.PodIP{IP:\"10.0.0.1\"}",
                ],
            ),
            (
                json!({"conditions": [{"type": ""}], "nominatedNodeName": "n"}),
                vec![
                    "metadata.conditions[0].Type: Invalid value: \"\": name part must be non-empty",
                    "metadata.conditions[0].Type: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                ],
            ),
        ];
        for (status, expected) in table {
            let mut errors = Errors::default();
            validate(&status, &json!({}), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{status}");
        }
    }
}
