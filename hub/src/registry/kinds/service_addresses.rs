//! Validation of the addresses of services: those within the cluster, and those of load balancers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::service_rules::is_headless;
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{at, get, list_at, text, texts};
use crate::registry::names;

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const UNCHANGED: &str = "may not change once set";

/// Validates `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`, which must fit each other.
pub(super) fn cluster_ips(spec: &Value, path: &Path, errors: &mut Errors) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (primary, addresses) = (text(spec, "clusterIP"), texts(spec, "clusterIPs"));
    let addresses_path = path.child("clusterIPs");
    match (primary, addresses.first()) {
        ("", Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.invalid(&addresses_path, shown_list(spec, "clusterIPs"), detail);
        }
        (_, Some(first)) if *first != primary => {
            errors.invalid(&addresses_path, shown_list(spec, "clusterIPs"), "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(spec, path, errors);
    if !each_address(spec, &addresses, &addresses_path, errors) {
        return;
    }
    if addresses.len() > 1 && addresses.iter().map(|a| is_sixth(a)).collect::<BTreeSet<_>>().len() < 2 {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(&addresses_path, shown_list(spec, "clusterIPs"), detail);
    }
    let pairs = addresses.iter().zip(texts(spec, "ipFamilies")).enumerate();
    for (i, (address, family)) in pairs.filter(|_| !is_headless(spec)) {
        if FAMILIES.contains(&family) && is_sixth(address) != (family == "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&addresses_path.index(i), quoted(address), detail);
        }
    }
}

fn shown_list(spec: &Value, field: &str) -> String {
    get(spec, field).map_or_else(|| "[]string(nil)".into(), shown)
}

fn is_sixth(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
}

fn families(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, family) in texts(spec, "ipFamilies").into_iter().enumerate() {
        let path = path.child("ipFamilies").index(i);
        if !FAMILIES.contains(&family) {
            errors.not_supported(&path, family, &FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&path, quoted(family));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    if get(spec, "ipFamilyPolicy").is_some() && !POLICIES.contains(&policy) {
        errors.not_supported(&path.child("ipFamilyPolicy"), policy, &POLICIES);
    }
}

/// Whether each is an address, so that more can be said.
fn each_address(spec: &Value, addresses: &[&str], path: &Path, errors: &mut Errors) -> bool {
    let before = errors.len();
    for (i, address) in addresses.iter().enumerate() {
        if i == 0 && *address == "None" {
            if addresses.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.invalid(path, shown_list(spec, "clusterIPs"), detail);
            }
            continue;
        }
        errors.invalid_text(&path.index(i), address, names::ip(address));
    }
    let fine = errors.len() == before;
    if addresses.len() > 2 {
        errors.invalid(path, shown_list(spec, "clusterIPs"), "may only hold up to 2 values");
    }
    fine
}

/// The first address and family of a service stay; the second may come, and go with a policy that says so.
pub(super) fn changes(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    if is_headless(spec) && is_headless(old) {
        return;
    }
    kept(spec, old, "clusterIPs", "clusterIP", path, errors);
    if !is_headless(spec) && !is_headless(old) {
        kept(spec, old, "ipFamilies", "ipFamily", path, errors);
    }
}

fn kept(spec: &Value, old: &Value, field: &str, one: &str, path: &Path, errors: &mut Errors) {
    let (new, before) = (texts(spec, field), texts(old, field));
    let path_of = |i| path.child(field).index(i);
    if new.len() == before.len() {
        for (i, _) in new.iter().zip(&before).enumerate().filter(|(_, (new, old))| new != old) {
            let i = if field == "clusterIPs" { i } else { 0 };
            errors.invalid(&path_of(i), shown_list(spec, field), UNCHANGED);
        }
        return;
    }
    if new.is_empty() {
        errors.invalid(&path_of(0), shown_list(spec, field), format!("primary {one} can not be unset"));
    }
    if new.first().zip(before.first()).is_some_and(|(new, old)| new != old) {
        errors.invalid(&path_of(0), shown_list(spec, "clusterIPs"), UNCHANGED);
    }
    if new.len() == 1 && before.len() > 1 && text(spec, "ipFamilyPolicy") != "SingleStack" {
        let shown = get(spec, "ipFamilyPolicy").map_or_else(|| quoted("null"), shown);
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid(&path.child("ipFamilyPolicy"), shown, detail);
    }
}

/// Validates what a load balancer told of itself.
pub(super) fn balancer_status(service: &Value, errors: &mut Errors) {
    let ingress = list_at(service, &["status", "loadBalancer", "ingress"]);
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let kind = at(service, &["spec", "type"]).and_then(Value::as_str);
    if kind != Some("LoadBalancer") && !ingress.is_empty() {
        return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, point) in ingress.iter().enumerate() {
        let path = path.index(i);
        let [ip, mode, name] = ["ip", "ipMode", "hostname"].map(|field| text(point, field));
        if !ip.is_empty() {
            errors.invalid_text(&path.child("ip"), ip, names::ip(ip));
        }
        if get(point, "ipMode").is_some() {
            if ip.is_empty() {
                errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set");
            } else if !["Proxy", "VIP"].contains(&mode) {
                errors.not_supported(&path.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
        }
        if !name.is_empty() {
            errors.invalid_text(&path.child("hostname"), name, names::dns_subdomain(name));
            if name.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), quoted(name), "must be a DNS name, not an IP address");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts_of(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_fit_each_other() {
        let table = [
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]}),
                vec![],
            ),
            (
                json!({"clusterIPs": ["10.0.0.1"]}),
                vec![
                    r#"s.clusterIPs: Invalid value: []string{"10.0.0.1"}: must be empty when `clusterIP` is not specified"#,
                ],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2", "10.0.0.3"]}),
                vec![
                    r#"s.clusterIPs: Invalid value: []string{"10.0.0.2", "10.0.0.3"}: first value must match `clusterIP`"#,
                    r#"s.clusterIPs: Invalid value: []string{"10.0.0.2", "10.0.0.3"}: may specify no more than one IP for each IP family"#,
                ],
            ),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None", "x"], "ipFamilies": ["IPv4", "IPv4", "IPv9"], "ipFamilyPolicy": ""}),
                vec![
                    r#"s.ipFamilies[1]: Duplicate value: "IPv4""#,
                    r#"s.ipFamilies[2]: Unsupported value: "IPv9": supported values: "IPv4", "IPv6""#,
                    r#"s.ipFamilyPolicy: Unsupported value: "": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#,
                    r#"s.clusterIPs: Invalid value: []string{"None", "x"}: 'None' must be the first and only value"#,
                    r#"s.clusterIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                ],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv6"]}),
                vec![
                    r#"s.clusterIPs[0]: Invalid value: "10.0.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`"#,
                ],
            ),
        ];
        for (spec, expected) in table {
            let mut errors = Errors::default();
            cluster_ips(&spec, &Path::new("s"), &mut errors);
            assert_eq!(texts_of(errors), expected, "{spec}");
        }
    }

    #[test]
    fn the_first_address_stays() {
        let two = json!({"clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]});
        let one = json!({"clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]});
        let other = json!({"clusterIPs": ["10.0.0.2"], "ipFamilies": ["IPv4"]});
        for (new, old, expected) in [
            (&two, &one, vec![]),
            (&other, &one, vec![r#"s.clusterIPs[0]: Invalid value: []string{"10.0.0.2"}: may not change once set"#]),
            (
                &one,
                &two,
                vec![
                    r#"s.ipFamilyPolicy: Invalid value: "null": must be set to 'SingleStack' when releasing the secondary clusterIP"#,
                    r#"s.ipFamilyPolicy: Invalid value: "null": must be set to 'SingleStack' when releasing the secondary ipFamily"#,
                ],
            ),
        ] {
            let mut errors = Errors::default();
            changes(new, old, &Path::new("s"), &mut errors);
            assert_eq!(texts_of(errors), expected, "{new}");
        }
    }

    #[test]
    fn balancers_have_addresses_or_names() {
        let service = |kind: &str, point: Value| json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": [point]}}});
        let at = "status.loadBalancer.ingress";
        for (service, expected) in [
            (service("LoadBalancer", json!({"ip": "1.2.3.4", "ipMode": "VIP"})), vec![]),
            (
                service("ClusterIP", json!({"ip": "1.2.3.4"})),
                vec![format!("{at}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")],
            ),
            (
                service("LoadBalancer", json!({"hostname": "1.2.3.4", "ipMode": "VIP"})),
                vec![
                    format!("{at}[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
                    format!("{at}[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"),
                ],
            ),
        ] {
            let mut errors = Errors::default();
            balancer_status(&service, &mut errors);
            assert_eq!(texts_of(errors), expected, "{service}");
        }
    }
}
