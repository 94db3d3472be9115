//! Probes and lifecycle hooks, as a node is told of them. Pure.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skiff_shared::pod::{Extra, Handler, Hook, HookKind, HttpGet, Probe, ProbeKind};

/// The probes and hooks of a pod's containers.
pub(super) fn extras(spec: &core::PodSpec) -> Vec<Extra> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.flat_map(|c| probes(c).into_iter().chain(hooks(c))).collect()
}

fn probes(c: &core::Container) -> Vec<Extra> {
    [
        (ProbeKind::Startup, &c.startup_probe),
        (ProbeKind::Readiness, &c.readiness_probe),
        (ProbeKind::Liveness, &c.liveness_probe),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| Some(Extra::Probe(self::probe(c, kind, probe.as_ref()?)?)))
    .collect()
}

fn probe(c: &core::Container, kind: ProbeKind, p: &core::Probe) -> Option<Probe> {
    let handler = if let Some(exec) = &p.exec {
        Handler::Exec(exec.command.clone().unwrap_or_default())
    } else if let Some(get) = &p.http_get {
        Handler::Http(http(c, get))
    } else if let Some(socket) = &p.tcp_socket {
        tcp(c, socket)
    } else {
        let grpc = p.grpc.as_ref()?;
        let port = u16::try_from(grpc.port).unwrap_or_default();
        Handler::Grpc { port, service: grpc.service.clone().unwrap_or_default() }
    };
    let number = |value: Option<i32>, default| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default);
    Some(Probe {
        container: c.name.clone(),
        kind,
        handler,
        initial_delay_seconds: number(p.initial_delay_seconds, 0),
        timeout_seconds: number(p.timeout_seconds, 1).max(1),
        period_seconds: number(p.period_seconds, 10).max(1),
        success_threshold: number(p.success_threshold, 1).max(1),
        failure_threshold: number(p.failure_threshold, 3).max(1),
        grace_seconds: p.termination_grace_period_seconds.map(super::seconds),
    })
}

fn hooks(c: &core::Container) -> Vec<Extra> {
    let lifecycle = c.lifecycle.as_ref();
    [
        (HookKind::PostStart, lifecycle.and_then(|l| l.post_start.as_ref())),
        (HookKind::PreStop, lifecycle.and_then(|l| l.pre_stop.as_ref())),
    ]
    .into_iter()
    .filter_map(|(kind, handler)| {
        let handler = self::handler(c, handler?)?;
        Some(Extra::Hook(Hook { container: c.name.clone(), kind, handler }))
    })
    .collect()
}

fn handler(c: &core::Container, h: &core::LifecycleHandler) -> Option<Handler> {
    if let Some(exec) = &h.exec {
        return Some(Handler::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(get) = &h.http_get {
        return Some(Handler::Http(http(c, get)));
    }
    if let Some(sleep) = &h.sleep {
        return Some(Handler::Sleep(u64::try_from(sleep.seconds).unwrap_or_default()));
    }
    h.tcp_socket.as_ref().map(|socket| tcp(c, socket))
}

fn tcp(c: &core::Container, socket: &core::TCPSocketAction) -> Handler {
    Handler::Tcp { host: socket.host.clone().unwrap_or_default(), port: port(c, &socket.port) }
}

fn http(c: &core::Container, get: &core::HTTPGetAction) -> HttpGet {
    HttpGet {
        https: get.scheme.as_deref() == Some("HTTPS"),
        host: get.host.clone().unwrap_or_default(),
        port: port(c, &get.port),
        path: get.path.clone().unwrap_or_default(),
        headers: get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
    }
}

/// A port of a container; 0 for a name that none of its ports has.
fn port(c: &core::Container, port: &IntOrString) -> u16 {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = c.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_and_hooks_are_carried_with_their_defaults() {
        let spec = serde_json::from_value(json!({"containers": [{
            "name": "c", "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"grpc": {"port": 9000, "service": "s"}, "failureThreshold": 30},
            "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 5, "successThreshold": 2},
            "livenessProbe": {
                "httpGet": {"path": "/x", "port": "none", "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]},
                "initialDelaySeconds": 15, "timeoutSeconds": 3, "terminationGracePeriodSeconds": 4,
            },
            "lifecycle": {"postStart": {"exec": {"command": ["x"]}}, "preStop": {"sleep": {"seconds": 7}}},
        }, {"name": "d", "lifecycle": {"preStop": {"tcpSocket": {"port": 8080}}}}]}));
        let probe = |kind, handler| Probe {
            container: "c".into(),
            kind,
            handler,
            initial_delay_seconds: 0,
            timeout_seconds: 1,
            period_seconds: 10,
            success_threshold: 1,
            failure_threshold: 3,
            grace_seconds: None,
        };
        let hook = |kind, handler| Extra::Hook(Hook { container: "c".into(), kind, handler });
        let grpc = Handler::Grpc { port: 9000, service: "s".into() };
        let tcp = Handler::Tcp { host: String::new(), port: 8080 };
        let headers = vec![("A".to_owned(), "b".to_owned())];
        let get = Handler::Http(HttpGet { https: true, host: String::new(), port: 0, path: "/x".into(), headers });
        let expected = [
            Extra::Probe(Probe { failure_threshold: 30, ..probe(ProbeKind::Startup, grpc) }),
            Extra::Probe(Probe { period_seconds: 5, success_threshold: 2, ..probe(ProbeKind::Readiness, tcp.clone()) }),
            Extra::Probe(Probe {
                initial_delay_seconds: 15,
                timeout_seconds: 3,
                grace_seconds: Some(4),
                ..probe(ProbeKind::Liveness, get)
            }),
            hook(HookKind::PostStart, Handler::Exec(vec!["x".into()])),
            hook(HookKind::PreStop, Handler::Sleep(7)),
            Extra::Hook(Hook { container: "d".into(), kind: HookKind::PreStop, handler: tcp }),
        ];
        assert_eq!(extras(&spec.unwrap()), expected);
    }
}
