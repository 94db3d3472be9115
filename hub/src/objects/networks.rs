//! Service addresses: every Service with a cluster address gets a free one, and node ports where its type has them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::{Error, Objects, Target, meta};
use crate::registry::{FieldError, FieldErrorKind};

/// Kubernetes' default `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
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
        let guard = self.allocation.lock().await;
        // Taken under the lock: it shows whatever was allocated before.
        let others: Vec<Value> = objects
            .snapshot()
            .list(&target.kind.storage, None)
            .filter(|o| *o.key.namespace != target.namespace || &*o.key.name != meta::text(service, "name"))
            .filter_map(|o| o.parse().ok())
            .collect();
        self.address(target, service, &others)?;
        node_ports(target, service, &others)?;
        Ok(Some(guard))
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
                        "failed to allocate IP: the provided IP is not in the valid range",
                    ));
                }
                if used.contains(asked.as_str()) {
                    return Err(refuse(
                        target,
                        service,
                        "spec.clusterIPs",
                        &asked,
                        "failed to allocate IP: provided IP is already allocated",
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

/// An update that leaves the address or a node port out means the one the Service has.
fn keep(service: &mut Value, old: &Value) {
    if service["spec"]["clusterIP"].as_str().is_none_or(str::is_empty) && old["spec"]["type"] != "ExternalName" {
        service["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
    }
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = before.iter().find(|p| p["port"] == port["port"] && p["protocol"] == port["protocol"]);
        if let Some(number) =
            same.and_then(|p| p.get("nodePort")).filter(|_| port["nodePort"].as_i64().unwrap_or(0) == 0)
        {
            port["nodePort"] = number.clone();
        }
    }
}

fn node_ports(target: &Target, service: &mut Value, others: &[Value]) -> Result<(), Error> {
    let wanted = matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let number = |p: &Value| p["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    let mut used: BTreeSet<u16> =
        others.iter().flat_map(|s| s["spec"]["ports"].as_array().into_iter().flatten()).filter_map(number).collect();
    let mut ports = service["spec"]["ports"].take();
    for (i, port) in ports.as_array_mut().into_iter().flatten().enumerate() {
        if !wanted {
            port.as_object_mut().map(|p| p.remove("nodePort"));
            continue;
        }
        let field = format!("spec.ports[{i}].nodePort");
        let chosen = match number(port) {
            Some(n) if !NODE_PORTS.contains(&n) => {
                return Err(refuse(
                    target,
                    service,
                    &field,
                    &n.to_string(),
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                ));
            }
            Some(n) if used.contains(&n) => {
                return Err(refuse(target, service, &field, &n.to_string(), "provided port is already allocated"));
            }
            Some(n) => n,
            None => NODE_PORTS
                .clone()
                .find(|n| !used.contains(n))
                .ok_or_else(|| refuse(target, service, &field, "0", "range is full"))?,
        };
        used.insert(chosen);
        port["nodePort"] = chosen.into();
    }
    service["spec"]["ports"] = ports;
    Ok(())
}

fn refuse(target: &Target, service: &Value, field: &str, value: &str, detail: &str) -> Error {
    let value = if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("[]string{{{value:?}}}") };
    Error::Invalid {
        kind: target.kind.kind.to_owned(),
        group: String::new(),
        name: meta::text(service, "name").to_owned(),
        errors: vec![FieldError {
            field: field.to_owned(),
            kind: FieldErrorKind::Invalid(value),
            detail: detail.to_owned(),
        }],
    }
}
