//! Service addresses: every Service with a cluster address gets a free one, and node ports where its type has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::{Error, Objects, Target, meta};
use crate::registry::{FieldError, FieldErrorKind, needs_health_check};

/// Kubernetes' default `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
const OUT_OF_RANGE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";
const TAKEN: &str = "provided port is already allocated";
/// The first addresses of the range are left to those that ask for one by number (`kubernetes`, the cluster DNS).
const STATIC_ADDRESSES: u32 = 16;

/// The cluster's service network.
#[derive(Debug)]
pub struct Networks {
    first: u32,
    size: u32,
    /// Held from choosing an address until the Service is stored, so that no two get the same.
    allocation: Mutex<()>,
}

/// Keeps others from allocating until the write is done.
pub(super) type Allocation<'a> = Option<MutexGuard<'a, ()>>;

impl Networks {
    /// Of the service network `address/prefix`.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let size = 1_u32.checked_shl(32 - u32::from(prefix.clamp(1, 32))).unwrap_or(u32::MAX);
        Self { first: u32::from(address) & !(size - 1), size, allocation: Mutex::new(()) }
    }

    /// Gives a Service its addresses and node ports; other kinds pass.
    pub(super) async fn allocate(
        &self,
        target: &Target,
        objects: &Objects,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation<'_>, Error> {
        if &*target.kind.storage != Objects::SERVICES || service["spec"]["type"] == "ExternalName" {
            return Ok(None);
        }
        if let Some(old) = old {
            keep(service, old);
        }
        // What is wrong with the addresses is told before any is given.
        let of_addresses = |e: &FieldError| ["spec.clusterIP", "spec.ipFamil"].iter().any(|f| e.field.starts_with(f));
        let errors = (target.kind.hooks.validate)(service, old).into_iter().filter(of_addresses).collect();
        target.invalid(service, errors)?;
        families(target, service)?;
        let guard = self.allocation.lock().await;
        // Taken under the lock: it shows whatever was allocated before.
        let others: Vec<Value> = objects
            .snapshot()
            .list(&target.kind.storage, None)
            .filter(|o| *o.key.namespace != target.namespace || &*o.key.name != meta::text(service, "name"))
            .filter_map(|o| o.parse().ok())
            .collect();
        self.address(target, service, &others)?;
        let used: BTreeSet<u16> = others.iter().flat_map(ports_of_nodes).collect();
        node_ports(target, service, &used)?;
        health_port(target, service, old, &used)?;
        Ok(Some(guard))
    }

    /// As `address/prefix`.
    fn range(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.first), 32 - self.size.trailing_zeros())
    }

    fn address(&self, target: &Target, service: &mut Value, others: &[Value]) -> Result<(), Error> {
        let used: BTreeSet<&str> = others.iter().filter_map(|s| s["spec"]["clusterIP"].as_str()).collect();
        let asked = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let chosen = match asked.as_str() {
            "None" => asked,
            "" => (STATIC_ADDRESSES..self.size.saturating_sub(1))
                .map(|n| Ipv4Addr::from(self.first + n).to_string())
                .find(|a| !used.contains(a.as_str()))
                .ok_or_else(|| {
                    refuse(target, service, "spec.clusterIPs", &asked, "failed to allocate an IP: range is full")
                })?,
            _ => {
                let inside = asked.parse().is_ok_and(|a: Ipv4Addr| u32::from(a).wrapping_sub(self.first) < self.size);
                if !inside {
                    return Err(refuse(
                        target,
                        service,
                        "spec.clusterIPs",
                        &asked,
                        &format!(
                            "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}",
                            self.range()
                        ),
                    ));
                }
                if used.contains(asked.as_str()) {
                    return Err(refuse(
                        target,
                        service,
                        "spec.clusterIPs",
                        &asked,
                        &format!("failed to allocate IP {asked}: provided IP is already allocated"),
                    ));
                }
                asked
            }
        };
        service["spec"]["clusterIP"] = chosen.as_str().into();
        service["spec"]["clusterIPs"] = json!([chosen]);
        Ok(())
    }
}

/// An update that leaves the address out means the one the Service has.
fn keep(service: &mut Value, old: &Value) {
    if service["spec"]["clusterIP"].as_str().is_none_or(str::is_empty) && old["spec"]["type"] != "ExternalName" {
        service["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
    }
}

/// The ports that a Service has on every node.
fn ports_of_nodes(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten().filter_map(node_port);
    ports.chain(number(&service["spec"]["healthCheckNodePort"])).collect()
}

/// Gives a balanced Service the port on which nodes tell whether they have endpoints of it, where that matters.
fn health_port(target: &Target, service: &mut Value, old: Option<&Value>, used: &BTreeSet<u16>) -> Result<(), Error> {
    const FIELD: &str = "healthCheckNodePort";
    let has_one = old.is_some_and(|old| needs_health_check(&old["spec"]) && number(&old["spec"][FIELD]).is_some());
    if !needs_health_check(&service["spec"]) || has_one || service["spec"][FIELD].as_i64().is_some_and(|n| n < 0) {
        return Ok(());
    }
    let asked = number(&service["spec"][FIELD]);
    service["spec"][FIELD] = Value::Null;
    let own = ports_of_nodes(service);
    let taken = |n: &u16| used.contains(n) || own.contains(n);
    let wrong =
        |value: u16, detail: &str| refuse(target, service, &format!("spec.{FIELD}"), &value.to_string(), detail);
    let chosen = match asked {
        Some(n) if !NODE_PORTS.contains(&n) => return Err(wrong(n, OUT_OF_RANGE)),
        Some(n) if taken(&n) => return Err(wrong(n, TAKEN)),
        Some(n) => n,
        None => NODE_PORTS.clone().find(|n| !taken(n)).ok_or_else(|| wrong(0, "range is full"))?,
    };
    service["spec"][FIELD] = chosen.into();
    Ok(())
}

fn node_ports(target: &Target, service: &mut Value, used: &BTreeSet<u16>) -> Result<(), Error> {
    let kind = service["spec"]["type"].as_str().unwrap_or_default();
    // A load balancer may do without, but for those that are asked for by number.
    let allocated = kind == "NodePort"
        || (kind == "LoadBalancer" && service["spec"]["allocateLoadBalancerNodePorts"] != json!(false));
    let kept = allocated || kind == "LoadBalancer";
    let health = number(&service["spec"]["healthCheckNodePort"]);
    let mut ports = service["spec"]["ports"].take();
    // One port of several protocols has one node port.
    let mut own: BTreeMap<u64, u16> =
        ports.as_array().into_iter().flatten().filter_map(|p| Some((p["port"].as_u64()?, node_port(p)?))).collect();
    for (i, port) in ports.as_array_mut().into_iter().flatten().enumerate() {
        if !kept {
            port.as_object_mut().map(|p| p.remove("nodePort"));
            continue;
        }
        let field = format!("spec.ports[{i}].nodePort");
        let in_cluster = port["port"].as_u64().unwrap_or_default();
        let chosen = match node_port(port) {
            Some(n) if !NODE_PORTS.contains(&n) => {
                return Err(refuse(target, service, &field, &n.to_string(), OUT_OF_RANGE));
            }
            Some(n) if used.contains(&n) => {
                return Err(refuse(target, service, &field, &n.to_string(), TAKEN));
            }
            Some(n) => n,
            None if !allocated => continue,
            None => {
                let free = |n: &u16| !used.contains(n) && !own.values().chain(&health).any(|o| o == n);
                let found = own.get(&in_cluster).copied().or_else(|| NODE_PORTS.clone().find(free));
                found.ok_or_else(|| refuse(target, service, &field, "0", "range is full"))?
            }
        };
        own.insert(in_cluster, chosen);
        port["nodePort"] = chosen.into();
    }
    service["spec"]["ports"] = ports;
    Ok(())
}

fn node_port(port: &Value) -> Option<u16> {
    number(&port["nodePort"])
}

/// A port; none for 0, which asks for any.
fn number(port: &Value) -> Option<u16> {
    port.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
}

/// What this cluster has no addresses of cannot be asked for. A headless Service without a selector may name any family.
fn families(target: &Target, service: &Value) -> Result<(), Error> {
    let spec = &service["spec"];
    if spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(());
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(invalid(target, service, "spec.ipFamilyPolicy", "\"RequireDualStack\"", detail));
    }
    for (i, family) in spec["ipFamilies"].as_array().into_iter().flatten().enumerate() {
        if family != "IPv4" {
            let field = format!("spec.ipFamilies[{i}]");
            return Err(invalid(target, service, &field, &family.to_string(), "not configured on this cluster"));
        }
    }
    Ok(())
}

fn refuse(target: &Target, service: &Value, field: &str, value: &str, detail: &str) -> Error {
    let value = if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("[]string{{{value:?}}}") };
    invalid(target, service, field, &value, detail)
}

/// `value` as Go shows it.
fn invalid(target: &Target, service: &Value, field: &str, value: &str, detail: &str) -> Error {
    Error::Invalid {
        kind: target.kind.kind.to_owned(),
        group: String::new(),
        name: meta::text(service, "name").to_owned(),
        errors: vec![FieldError {
            field: field.to_owned(),
            kind: FieldErrorKind::Invalid(value.to_owned()),
            detail: detail.to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{User, WriteOptions};
    use crate::registry::Registry;
    use crate::store::MemoryStore;

    async fn create(objects: &Objects, name: &str, spec: Value) -> Result<Value, String> {
        let kind = objects.registry().kind("v1", "Service").expect("there are Services").clone();
        let target = Target { kind, namespace: "default".into(), name: name.into(), subresource: String::new() };
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let options = WriteOptions { user: User::component("test"), ..WriteOptions::default() };
        let refused = |error: Error| {
            let Error::Invalid { errors, .. } = error else { return error.to_string() };
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let written = objects.create(&target, service, &options).await.map_err(refused)?;
        Ok(written.object.parse::<Value>().unwrap()["spec"].take())
    }

    async fn empty() -> Objects {
        let networks = Networks::new(Ipv4Addr::new(10, 43, 0, 0), 16);
        let objects = Objects::new(MemoryStore::new(), std::sync::Arc::new(Registry::builtin()), networks);
        let namespace = objects.registry().kind("v1", "Namespace").unwrap().clone();
        let target =
            Target { kind: namespace, namespace: String::new(), name: "default".into(), subresource: String::new() };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
        objects.create(&target, object, &WriteOptions::default()).await.unwrap();
        objects
    }

    fn numbers(spec: &Value) -> Vec<Option<u64>> {
        spec["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_u64()).collect()
    }

    #[tokio::test]
    async fn addresses_and_node_ports_are_given_once() {
        let objects = empty().await;
        let dns = json!([{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "web", "port": 80}]);
        let a = create(&objects, "a", json!({"type": "NodePort", "ports": dns})).await.unwrap();
        assert_eq!((&a["clusterIP"], numbers(&a)), (&json!("10.43.0.16"), vec![Some(30000), Some(30000), Some(30001)]));
        let b = create(
            &objects,
            "b",
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}),
        )
        .await
        .unwrap();
        assert_eq!((&b["clusterIPs"], numbers(&b)), (&json!(["10.43.0.17"]), vec![None]));
        let c = create(&objects, "c", json!({"clusterIP": "None"})).await.unwrap();
        assert_eq!(c["clusterIP"], "None");
        let d = create(&objects, "d", json!({"type": "ExternalName", "externalName": "example.com"})).await.unwrap();
        assert_eq!(d.get("clusterIP"), None);
        for (spec, expected) in [
            (
                json!({"clusterIP": "10.43.0.16", "ports": [{"port": 80}]}),
                r#"spec.clusterIPs: Invalid value: []string{"10.43.0.16"}: failed to allocate IP 10.43.0.16: provided IP is already allocated"#,
            ),
            (
                json!({"clusterIP": "10.44.0.1", "ports": [{"port": 80}]}),
                r#"spec.clusterIPs: Invalid value: []string{"10.44.0.1"}: failed to allocate IP 10.44.0.1: the provided IP (10.44.0.1) is not in the valid range. The range of valid IPs is 10.43.0.0/16"#,
            ),
            (
                json!({"ipFamilies": ["IPv6"], "ports": [{"port": 80}]}),
                r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#,
            ),
            (
                json!({"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}),
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}),
                "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
                "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
        ] {
            assert_eq!(create(&objects, "x", spec).await.unwrap_err(), expected);
        }
    }

    #[tokio::test]
    async fn balancers_of_local_traffic_have_a_health_check_port() {
        let objects = empty().await;
        let local = |more: Value| {
            let mut spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
            json_patch::merge(&mut spec, &more);
            spec
        };
        for (name, more, ports) in
            [("given", json!({}), (30000, 30001)), ("asked", json!({"healthCheckNodePort": 30002}), (30003, 30002))]
        {
            let found = create(&objects, name, local(more)).await.unwrap();
            let expected = (vec![Some(ports.0)], &json!(ports.1));
            assert_eq!((numbers(&found), &found["healthCheckNodePort"]), expected, "{name}");
        }
        for (spec, expected) in [
            (
                local(json!({"healthCheckNodePort": 80})),
                "spec.healthCheckNodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
            (
                local(json!({"healthCheckNodePort": 30001})),
                "spec.healthCheckNodePort: Invalid value: 30001: provided port is already allocated",
            ),
            (
                local(json!({"healthCheckNodePort": 31000, "ports": [{"port": 80, "nodePort": 31000}]})),
                "spec.healthCheckNodePort: Invalid value: 31000: provided port is already allocated",
            ),
            (
                local(json!({"healthCheckNodePort": -1})),
                "spec.healthCheckNodePort: Invalid value: -1: must be between 1 and 65535, inclusive",
            ),
        ] {
            assert_eq!(create(&objects, "x", spec).await.unwrap_err(), expected);
        }
    }
}
