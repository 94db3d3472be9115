//! Connections that begin inside a pod's network.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// This process may not enter the network, or it is gone.
    #[error("cannot enter the pod's network")]
    Enter(#[source] io::Error),
    /// Nobody accepts there.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
}

/// Connects to the first of some addresses that accepts, from the network of process `pid`. The error is the first
/// one's.
///
/// A socket stays in the network it was made in, so a thread of its own enters, connects and ends. A thread of the
/// runtime's pool would carry the network on to its next task.
pub(super) async fn connect(
    pid: i64,
    addresses: Vec<SocketAddr>,
    patience: Duration,
) -> Result<TcpStream, ConnectError> {
    let (done, result) = oneshot::channel();
    let connecting = move || {
        // The receiver is gone when the hub is; the socket then closes here.
        drop(done.send(connect_inside(pid, &addresses, patience)));
    };
    std::thread::Builder::new().name("pod-connect".into()).spawn(connecting).map_err(ConnectError::Enter)?;
    let lost = |_| ConnectError::Enter(io::Error::other("the connecting thread ended"));
    let stream = result.await.map_err(lost)??;
    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map_err(ConnectError::Connect)
}

fn connect_inside(pid: i64, addresses: &[SocketAddr], patience: Duration) -> Result<std::net::TcpStream, ConnectError> {
    enter(pid).map_err(ConnectError::Enter)?;
    let mut first = None;
    for address in addresses {
        match std::net::TcpStream::connect_timeout(address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(ConnectError::Connect(first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
}

fn enter(pid: i64) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}
