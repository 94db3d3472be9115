//! Carrying out probes and lifecycle hooks: a command, a request or a connection, each with an end in sight.

mod exec;
mod grpc;
mod http;
mod tls;

use std::time::Duration;

use skiff_shared::pod::Handler;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::podman::Podman;

/// So much of an answer is kept (kubelet: 10 KiB); the rest is read and dropped, or not read.
const MAX_ANSWER: usize = 10 * 1024;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It succeeded.
    Good,
    /// It succeeded, in a way that somebody should look at.
    Warning(String),
    /// It failed: what was wrong.
    Bad(String),
    /// It could not be done, which says nothing about the container.
    Unknown(String),
}

/// Who asks: the name that HTTP servers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// A probe.
    Probe,
    /// A lifecycle hook.
    Lifecycle,
}

impl Agent {
    fn name(self) -> &'static str {
        match self {
            Self::Probe => "kube-probe/1.33",
            Self::Lifecycle => "kube-lifecycle/1.33",
        }
    }
}

/// The container that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Podman, which runs commands in it.
    pub podman: &'a dyn Podman,
    /// Its id.
    pub id: &'a str,
    /// The pod's address.
    pub address: &'a str,
}

/// Does what a probe or hook says, in this time at most.
pub async fn run(target: Target<'_>, handler: &Handler, agent: Agent, within: Duration) -> Answer {
    match handler {
        Handler::Exec(command) => exec::run(target, command, within).await,
        Handler::Http(get) => http::run(target.address, get, agent, within).await,
        // Kubernetes takes such hooks, but knows no way to call them.
        Handler::Tcp { .. } if agent == Agent::Lifecycle => Answer::Bad("invalid handler: tcpSocket".to_owned()),
        Handler::Tcp { host, port } => {
            let host = if host.is_empty() { target.address } else { host };
            tcp(host, *port, within).await
        }
        Handler::Grpc { port, service } => grpc::run(target.address, *port, service, within).await,
        Handler::Sleep(seconds) => {
            tokio::time::sleep(Duration::from_secs(*seconds).min(within)).await;
            Answer::Good
        }
    }
}

async fn tcp(host: &str, port: u16, within: Duration) -> Answer {
    match timeout(within, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Answer::Good,
        Ok(Err(error)) => Answer::Bad(dial_error(host, port, &error)),
        Err(_) => Answer::Bad(format!("dial tcp {}: i/o timeout", authority(host, port))),
    }
}

/// Host and port as addresses are written.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why there is no connection, in Go's words.
fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let words = [
        (ErrorKind::ConnectionRefused, "connection refused"),
        (ErrorKind::HostUnreachable, "no route to host"),
        (ErrorKind::NetworkUnreachable, "network is unreachable"),
        (ErrorKind::TimedOut, "connection timed out"),
    ];
    let known = words.iter().find(|(kind, _)| *kind == error.kind());
    let why = known.map_or_else(|| error.to_string(), |(_, why)| (*why).to_owned());
    format!("dial tcp {}: connect: {why}", authority(host, port))
}

#[cfg(test)]
mod tests;
