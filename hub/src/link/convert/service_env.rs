//! The variables by which containers find Services, as a kubelet makes them. Pure.

use serde::Deserialize;
use skiff_shared::pod::Extra;

/// What variables say of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::link) struct Service {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: u16,
    protocol: String,
}

/// The variables of these Services, sorted; later Services win. `None` where there are none.
pub(in crate::link) fn extra(services: impl IntoIterator<Item = Service>) -> Option<Extra> {
    let mut env = std::collections::BTreeMap::new();
    for service in services.into_iter().filter(|s| !matches!(s.spec.cluster_ip.as_str(), "" | "None")) {
        env.extend(variables(&service));
    }
    (!env.is_empty()).then(|| Extra::ServiceEnv(env.into_iter().collect()))
}

fn variables(service: &Service) -> Vec<(String, String)> {
    let (prefix, host) = (upper(&service.metadata.name), service.spec.cluster_ip.as_str());
    let mut env = vec![(format!("{prefix}_SERVICE_HOST"), host.to_owned())];
    for (i, Port { name, port, protocol }) in service.spec.ports.iter().enumerate() {
        let protocol = if protocol.is_empty() { "TCP" } else { protocol };
        let lower = protocol.to_lowercase();
        let url =
            if host.contains(':') { format!("{lower}://[{host}]:{port}") } else { format!("{lower}://{host}:{port}") };
        if i == 0 {
            env.push((format!("{prefix}_SERVICE_PORT"), port.to_string()));
            env.push((format!("{prefix}_PORT"), url.clone()));
        }
        if !name.is_empty() {
            env.push((format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.to_string()));
        }
        let link = format!("{prefix}_PORT_{port}_{protocol}");
        env.push((format!("{link}_PROTO"), lower));
        env.push((format!("{link}_PORT"), port.to_string()));
        env.push((format!("{link}_ADDR"), host.to_owned()));
        env.push((link, url));
    }
    env
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_found_by_their_variables() {
        let service = |name: &str, ip: &str, ports| {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": ports}}))
                .unwrap()
        };
        let found = extra([
            service("kubernetes", "10.43.0.1", json!([{"name": "https", "port": 443, "protocol": "TCP"}])),
            service("my-db", "10.43.7.7", json!([{"port": 53, "protocol": "UDP"}, {"port": 54}])),
            service("headless", "None", json!([{"port": 1}])),
        ]);
        let Some(Extra::ServiceEnv(env)) = found else { panic!("variables") };
        let lines: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            lines,
            [
                "KUBERNETES_PORT=tcp://10.43.0.1:443",
                "KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443",
                "KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1",
                "KUBERNETES_PORT_443_TCP_PORT=443",
                "KUBERNETES_PORT_443_TCP_PROTO=tcp",
                "KUBERNETES_SERVICE_HOST=10.43.0.1",
                "KUBERNETES_SERVICE_PORT=443",
                "KUBERNETES_SERVICE_PORT_HTTPS=443",
                "MY_DB_PORT=udp://10.43.7.7:53",
                "MY_DB_PORT_53_UDP=udp://10.43.7.7:53",
                "MY_DB_PORT_53_UDP_ADDR=10.43.7.7",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_54_TCP=tcp://10.43.7.7:54",
                "MY_DB_PORT_54_TCP_ADDR=10.43.7.7",
                "MY_DB_PORT_54_TCP_PORT=54",
                "MY_DB_PORT_54_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.43.7.7",
                "MY_DB_SERVICE_PORT=53",
            ]
        );
        assert_eq!(extra([]), None);
    }
}
