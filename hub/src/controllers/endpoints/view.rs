//! What Services ask for and what pods offer, as far as addresses and ports go.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skiff_shared::selector::LabelSelector;

use crate::reconcile::view::{Condition, Parts, Phase, nullable};

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawService")]
pub(super) struct Service {
    /// Which pods are behind it; `None` for a Service whose endpoints others write, or that has none.
    pub(super) selector: Option<LabelSelector>,
    /// It names another host.
    pub(super) external: bool,
    /// It has no address of its own.
    pub(super) headless: bool,
    /// Pods are published before they are ready.
    pub(super) publish_not_ready: bool,
    /// Its ports.
    pub(super) ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServicePort {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    protocol: String,
    app_protocol: Option<String>,
    #[serde(deserialize_with = "nullable")]
    port: u16,
    target_port: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawService {
    #[serde(deserialize_with = "nullable")]
    spec: RawServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawServiceSpec {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
    #[serde(rename = "clusterIP", deserialize_with = "nullable")]
    cluster_ip: String,
    #[serde(deserialize_with = "nullable")]
    selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    publish_not_ready_addresses: bool,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<ServicePort>,
}

impl From<RawService> for Service {
    fn from(raw: RawService) -> Self {
        let RawServiceSpec { kind, cluster_ip, selector, publish_not_ready_addresses, ports } = raw.spec;
        Self {
            selector: (!selector.is_empty()).then(|| LabelSelector::equal(selector)),
            external: kind == "ExternalName",
            headless: matches!(cluster_ip.as_str(), "" | "None"),
            publish_not_ready: publish_not_ready_addresses,
            ports,
        }
    }
}

/// A port behind a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    pub(super) port: Option<u16>,
    #[serde(deserialize_with = "nullable")]
    pub(super) protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_protocol: Option<String>,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawPod")]
pub(super) struct Backend {
    /// Its first IPv4 address; none before it has one.
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) node: Box<str>,
    pub(super) hostname: Box<str>,
    pub(super) subdomain: Box<str>,
    /// It has ended and will not run again.
    pub(super) ended: bool,
    pub(super) ready: bool,
    pub(super) deleting: bool,
    /// Its named ports.
    ports: Box<[NamedPort]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedPort {
    name: Box<str>,
    protocol: Box<str>,
    number: u16,
}

type RawPod = Parts<RawPodSpec, RawPodStatus>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    hostname: Box<str>,
    #[serde(deserialize_with = "nullable")]
    subdomain: Box<str>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<RawContainer>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<RawContainer>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    restart_policy: Option<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<RawPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    protocol: Option<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Option<Phase>,
    #[serde(rename = "podIP", deserialize_with = "nullable")]
    pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pod_ips: Vec<RawIp>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawIp {
    #[serde(deserialize_with = "nullable")]
    ip: String,
}

impl From<RawPod> for Backend {
    fn from(raw: RawPod) -> Self {
        let RawPod { metadata, spec, status } = raw;
        let sidecars = spec.init_containers.into_iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.into_iter().chain(sidecars).flat_map(|c| c.ports);
        let named = ports.filter(|p| !p.name.is_empty());
        let ips = status.pod_ips.iter().map(|ip| &ip.ip).chain([&status.pod_ip]);
        Self {
            ip: ips.filter_map(|ip| ip.parse().ok()).find_map(v4),
            node: spec.node_name,
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            ended: status.phase.is_some_and(Phase::is_terminal),
            ready: status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True"),
            deleting: metadata.deletion_timestamp.is_some(),
            ports: named.map(NamedPort::from).collect(),
        }
    }
}

impl From<RawPort> for NamedPort {
    fn from(raw: RawPort) -> Self {
        let protocol = raw.protocol.unwrap_or_else(|| "TCP".into());
        Self { name: raw.name, protocol, number: raw.container_port }
    }
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

impl Backend {
    /// Where the ports of a Service lead on this pod. One that the pod does not have is left out.
    pub(super) fn ports(&self, service: &Service) -> Vec<Port> {
        let port = |port: &ServicePort| {
            Some(Port {
                name: port.name.clone(),
                port: Some(self.target(port)?),
                protocol: port.protocol.clone(),
                app_protocol: port.app_protocol.clone(),
            })
        };
        service.ports.iter().filter_map(port).collect()
    }

    fn target(&self, port: &ServicePort) -> Option<u16> {
        match &port.target_port {
            Value::String(name) => {
                let named = |p: &&NamedPort| *p.name == **name && *p.protocol == *port.protocol;
                self.ports.iter().find(named).map(|p| p.number)
            }
            Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(port.port),
        }
    }

    /// The name that the pod has below the Service's.
    pub(super) fn hostname_in(&self, service: &str) -> Option<&str> {
        Some(&*self.hostname).filter(|name| !name.is_empty() && *self.subdomain == *service)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn target_ports_are_numbers_or_names_of_the_pods() {
        let pod: Backend = serde_json::from_value(json!({"spec": {
            "containers": [{"ports": [{"name": "web", "containerPort": 8080}, {"name": "dns", "protocol": "UDP", "containerPort": 53}]}],
            "initContainers": [
                {"ports": [{"name": "once", "containerPort": 1}]},
                {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]},
            ],
        }}))
        .unwrap();
        for (target, protocol, expected) in [
            (json!(81), "TCP", Some(81)),
            (json!("web"), "TCP", Some(8080)),
            (json!("web"), "UDP", None),
            (json!("dns"), "UDP", Some(53)),
            (json!("once"), "TCP", None),
            (json!("side"), "TCP", Some(2)),
            (Value::Null, "TCP", Some(80)),
            (json!("nothing"), "TCP", None),
        ] {
            let port = ServicePort {
                port: 80,
                protocol: protocol.into(),
                target_port: target.clone(),
                ..ServicePort::default()
            };
            let service = Service { ports: vec![port], ..Service::default() };
            let found = pod.ports(&service);
            assert_eq!(found.first().and_then(|p| p.port), expected, "{target} {protocol}");
        }
    }
}
