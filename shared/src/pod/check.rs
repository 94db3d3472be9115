//! What is asked of a running container: probes and lifecycle hooks.

use serde::{Deserialize, Serialize};

/// A probe of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The container.
    pub container: String,
    /// What its result means.
    pub kind: ProbeKind,
    /// What is done.
    pub handler: Handler,
    /// `initialDelaySeconds`, after the container's start.
    pub initial_delay_seconds: u32,
    /// `timeoutSeconds`, at least 1.
    pub timeout_seconds: u32,
    /// `periodSeconds`, at least 1.
    pub period_seconds: u32,
    /// `successThreshold`, at least 1.
    pub success_threshold: u32,
    /// `failureThreshold`, at least 1.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds`, where it is not the pod's.
    pub grace_seconds: Option<u32>,
}

/// What a probe's result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeKind {
    /// The container has started; until then the others wait. One that fails for good is restarted.
    Startup,
    /// The container can do its work.
    Readiness,
    /// The container is alive. One that is not is restarted.
    Liveness,
}

/// A lifecycle hook of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The container.
    pub container: String,
    /// When it is called.
    pub kind: HookKind,
    /// What is done.
    pub handler: Handler,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookKind {
    /// `postStart`: right after the start. A container whose hook fails is stopped.
    PostStart,
    /// `preStop`: before the container is told to stop.
    PreStop,
}

/// What a probe or hook does. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// `exec`: runs a command in the container.
    Exec(Vec<String>),
    /// `httpGet`.
    Http(HttpGet),
    /// `tcpSocket`: connects.
    Tcp {
        /// Host; empty for the pod's address.
        host: String,
        /// Port; 0 where its name is none of the container's.
        port: u16,
    },
    /// `grpc`: asks the standard health service.
    Grpc {
        /// Port.
        port: u16,
        /// `service`; may be empty.
        service: String,
    },
    /// `sleep`: waits, seconds.
    Sleep(u64),
}

/// An `httpGet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGet {
    /// Use TLS; the certificate is not checked.
    pub https: bool,
    /// Host; empty for the pod's address.
    pub host: String,
    /// Port; 0 where its name is none of the container's.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// `httpHeaders`, in order.
    pub headers: Vec<(String, String)>,
}
