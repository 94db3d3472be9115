//! TCP connections to ports of pods.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use skiff_shared::ids::PodUid;
use skiff_shared::wire::stream::{DialRequest, PortForwardRequest, StreamReply};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{netns, reply, running};
use crate::podman::Podman;

/// How long a pod may take to accept: it is on this machine.
const CONNECT: Duration = Duration::from_secs(5);

/// A port that the hub wants to be connected to.
pub(super) enum Wanted {
    /// Of the pod's loopback addresses: what port-forward is for.
    Loopback(PortForwardRequest),
    /// Of the pod's own address, as in Kubernetes for `proxy`: what listens on loopback only is the pod's own business.
    Address(DialRequest),
}

/// Connects the hub to a port.
///
/// # Errors
/// When either side breaks off.
pub(super) async fn serve(
    podman: &dyn Podman,
    wanted: &Wanted,
    send: &mut (impl AsyncWrite + Send + Unpin),
    recv: impl AsyncRead + Send + Unpin,
    gone: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let stream = match connect(podman, wanted).await {
        Ok(stream) => stream,
        Err(refusal) => return reply(send, &refusal).await,
    };
    reply(send, &StreamReply::Ok).await?;
    tokio::select! {
        ended = carry(stream, send, recv) => ended,
        () = gone => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn carry(
    mut stream: TcpStream,
    send: &mut (impl AsyncWrite + Send + Unpin),
    mut recv: impl AsyncRead + Send + Unpin,
) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    let down = async {
        tokio::io::copy(&mut from, send).await?;
        send.shutdown().await
    };
    let up = async {
        tokio::io::copy(&mut recv, &mut to).await?;
        to.shutdown().await
    };
    tokio::try_join!(down, up).map(|_| ())
}

impl Wanted {
    fn pod(&self) -> &PodUid {
        match self {
            Self::Loopback(request) => &request.pod,
            Self::Address(request) => &request.pod,
        }
    }

    /// Where to connect from inside the pod. What the first says is what people expect to read.
    fn inside(&self) -> Vec<SocketAddr> {
        match self {
            Self::Loopback(r) => vec![(Ipv4Addr::LOCALHOST, r.port).into(), (Ipv6Addr::LOCALHOST, r.port).into()],
            Self::Address(r) => vec![(r.ip, r.port).into()],
        }
    }

    /// Where to connect from outside, to a pod whose own address Podman tells.
    fn outside(&self, address: Option<IpAddr>) -> Option<SocketAddr> {
        match self {
            Self::Loopback(r) => address.map(|ip| (ip, r.port).into()),
            Self::Address(r) => Some((r.ip, r.port).into()),
        }
    }

    fn failed(&self, error: &io::Error) -> StreamReply {
        StreamReply::Failed(match self {
            Self::Loopback(r) => format!("failed to connect to localhost:{}: {error}", r.port),
            Self::Address(r) => format!("dial tcp {}: {}", SocketAddr::from((r.ip, r.port)), in_gos_words(error)),
        })
    }
}

/// An error of connecting as Go's `net.Dial` tells it, which is what users of Kubernetes know.
fn in_gos_words(error: &io::Error) -> String {
    const KNOWN: [(io::ErrorKind, &str); 4] = [
        (io::ErrorKind::ConnectionRefused, "connect: connection refused"),
        (io::ErrorKind::HostUnreachable, "connect: no route to host"),
        (io::ErrorKind::NetworkUnreachable, "connect: network is unreachable"),
        (io::ErrorKind::TimedOut, "i/o timeout"),
    ];
    let known = KNOWN.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| format!("connect: {error}"), |(_, text)| (*text).to_owned())
}

/// Connects from inside the pod, so that ports bound to its loopback address are reached too and no firewall between
/// machine and pod matters; where this agent may not enter the pod's network, from outside.
async fn connect(podman: &dyn Podman, wanted: &Wanted) -> Result<TcpStream, StreamReply> {
    let infra = running(podman, wanted.pod(), "").await?;
    let inspected = podman.inspect(&infra.id).await.map_err(|e| StreamReply::Failed(e.chain()))?;
    match netns::connect(inspected.pid, wanted.inside(), CONNECT).await {
        Err(netns::ConnectError::Enter(error)) => {
            let address = wanted.outside(inspected.ip.parse().ok()).ok_or_else(|| wanted.failed(&error))?;
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await.map_err(late);
            connected.and_then(|c| c).map_err(|e| wanted.failed(&e))
        }
        Err(netns::ConnectError::Connect(error)) => Err(wanted.failed(&error)),
        Ok(stream) => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_dial_is_told_as_go_tells_it() {
        let dial = DialRequest { pod: PodUid::parse("u").unwrap(), ip: [10, 42, 0, 2].into(), port: 80 };
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, "dial tcp 10.42.0.2:80: connect: connection refused"),
            (io::ErrorKind::TimedOut, "dial tcp 10.42.0.2:80: i/o timeout"),
            (io::ErrorKind::HostUnreachable, "dial tcp 10.42.0.2:80: connect: no route to host"),
        ] {
            assert_eq!(Wanted::Address(dial.clone()).failed(&kind.into()), StreamReply::Failed(expected.to_owned()));
        }
    }
}
