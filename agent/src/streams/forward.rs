//! TCP connections to ports of pods.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use skiff_shared::wire::stream::{PortForwardRequest, StreamReply};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{netns, reply, running};
use crate::podman::Podman;

/// How long a pod may take to accept: it is on this machine.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects the hub to a port.
///
/// # Errors
/// When either side breaks off.
pub(super) async fn serve(
    podman: &dyn Podman,
    request: &PortForwardRequest,
    send: &mut (impl AsyncWrite + Send + Unpin),
    recv: impl AsyncRead + Send + Unpin,
    gone: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let stream = match connect(podman, request).await {
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

/// Connects as from inside the pod, so that ports bound to its loopback address are reached too; where this agent may
/// not enter the pod's network, to the pod's address.
async fn connect(podman: &dyn Podman, request: &PortForwardRequest) -> Result<TcpStream, StreamReply> {
    let infra = running(podman, &request.pod, "").await?;
    let inspected = podman.inspect(&infra.id).await.map_err(|e| StreamReply::Failed(e.chain()))?;
    let failed = |e: io::Error| StreamReply::Failed(format!("failed to connect to localhost:{}: {e}", request.port));
    match netns::connect(inspected.pid, request.port, CONNECT).await {
        Err(netns::ConnectError::Enter(error)) => {
            let ip: IpAddr = inspected.ip.parse().map_err(|_| failed(error))?;
            let address = SocketAddr::new(ip, request.port);
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await.map_err(late);
            connected.and_then(|c| c).map_err(failed)
        }
        Err(netns::ConnectError::Connect(error)) => Err(failed(error)),
        Ok(stream) => Ok(stream),
    }
}
