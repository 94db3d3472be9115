//! Pods with extras of every kind.

use super::*;

/// A pod with one extra of every kind.
pub(super) fn pod_with_extras() -> Item {
    let volume = |name: &str, source| Extra::Volume(Volume { name: name.into(), source });
    let sources = vec![
        Projection::Object {
            source: ObjectRef::Secret("s".into()),
            items: Some(vec![KeyPath { key: "k".into(), path: "p".into(), mode: Some(0o400) }]),
            optional: true,
        },
        Projection::Field { field: "metadata.labels".into(), path: "l".into(), mode: None },
        Projection::Resource {
            container: "app".into(),
            resource: "limits.cpu".into(),
            divisor: 1000,
            path: "r".into(),
            mode: Some(1),
        },
        Projection::Token { path: "token".into(), audience: "a".into(), expiration_seconds: 3607 },
    ];
    let extras = vec![
        Extra::Ephemeral(Box::new(Ephemeral { container: container(), target: Some("app".into()) })),
        volume("e", VolumeSource::EmptyDir { memory: true, size_limit_bytes: Some(1 << 20) }),
        volume("h", VolumeSource::HostPath { path: "/h".into(), kind: "Directory".into() }),
        volume("p", VolumeSource::Projected { mode: 0o644, memory: true, sources }),
        Extra::Mount(Mount {
            container: "app".into(),
            volume: "e".into(),
            path: "/e".into(),
            sub_path: "$(A)".into(),
            expand: true,
            read_only: true,
            propagation: "Bidirectional".into(),
        }),
        Extra::FsGroup(7),
        Extra::SharedPids,
        Extra::HostPids,
        Extra::HostIpc,
    ];
    Item::Pod(Pod { extras, ..pod() })
}

/// A pod with the extras that came later.
pub(super) fn pod_with_later_extras() -> Item {
    let source = VolumeSource::Unsupported("no driver".into());
    let env = vec![("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned())];
    let extras = vec![Extra::Volume(Volume { name: "u".into(), source }), Extra::ServiceEnv(env)];
    Item::Pod(Pod { extras, ..pod() })
}

/// A pod with a container that memory's change restarts.
pub(super) fn pod_with_resize() -> Item {
    let policy = RestartOnResize { container: "app".into(), cpu: false, memory: true };
    Item::Pod(Pod { extras: vec![Extra::RestartOnResize(policy)], ..pod() })
}

/// A pod with probes, hooks and all that came with them.
pub(super) fn pod_with_checks() -> Item {
    let container = || "app".to_owned();
    let probe = |kind, handler| Probe {
        container: container(),
        kind,
        handler,
        initial_delay_seconds: 1,
        timeout_seconds: 2,
        period_seconds: 3,
        success_threshold: 4,
        failure_threshold: 5,
        grace_seconds: Some(6),
    };
    let headers = vec![("A".to_owned(), "b".to_owned())];
    let get = HttpGet { https: true, host: "h".into(), port: 80, path: "/x".into(), headers };
    let hook = |kind, handler| Extra::Hook(Hook { container: container(), kind, handler });
    let extras = vec![
        Extra::Probe(probe(ProbeKind::Startup, Handler::Exec(vec!["true".into()]))),
        Extra::Probe(probe(ProbeKind::Readiness, Handler::Http(get))),
        Extra::Probe(probe(ProbeKind::Liveness, Handler::Tcp { host: "h".into(), port: 80 })),
        hook(HookKind::PostStart, Handler::Grpc { port: 80, service: "s".into() }),
        hook(HookKind::PreStop, Handler::Sleep(7)),
        Extra::HostAlias(HostAlias { ip: "192.0.2.1".into(), hostnames: vec!["a".into()] }),
        Extra::Sysctl("net.a".into(), "1".into()),
        Extra::MessagePath(container(), "/m".into()),
        Extra::LocalStorage(LocalStorage { container: container(), request_bytes: None, limit_bytes: Some(1) }),
        Extra::PullSecret("s".into()),
    ];
    Item::Pod(Pod { extras, ..pod() })
}

/// A pod with gates, a resolver and system calls of its own.
pub(super) fn pod_with_gates() -> Item {
    let seccomp = |profile| Extra::Seccomp { container: "app".into(), profile };
    let extras = vec![
        Extra::ReadinessGate(ReadinessGate { condition: "a/b".into(), status: "True".into() }),
        Extra::Dns(Dns {
            alone: true,
            nameservers: vec!["192.0.2.53".into()],
            searches: vec!["a".into()],
            options: vec![("ndots".into(), Some("2".into())), ("edns0".into(), None)],
        }),
        seccomp(SeccompProfile::Unconfined),
        seccomp(SeccompProfile::Localhost("p.json".into())),
        Extra::Subdomain { name: "s".into(), in_hostname: true },
    ];
    Item::Pod(Pod { extras, ..pod() })
}
