//! Connections: TLS, HTTP/1.1 and 2, their limits, and shutdown.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::ApiState;
use super::begin::Begun;
use super::router::handle;
use crate::objects::User;

/// Most connections, where the process may have as many files open: room for all watches, each of which takes a
/// connection of its own with clients of HTTP/1.1. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 5000;

/// Descriptors that connections leave to everything else.
const OTHER_FILES: usize = 128;

/// How long a connection may go on without a request of a user who is known: else connections that only lie there could
/// keep everyone out.
const UNKNOWN_FOR: Duration = Duration::from_secs(90);

/// How long a client has for its TLS handshake, and then to begin its first request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client has for the head of an HTTP/1.1 request; also how long such a connection may lie idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);

/// Most bytes of a request's head, and most headers: more than a request may have, so that those that are not far
/// beyond get a Status. The rest get an empty 431, or on HTTP/2 their stream is reset.
const MAX_HEAD: usize = 128 * 1024;
const MAX_HEADERS: usize = 200;

/// Streams that a client may have reset before they were even looked at, and streams that may be reset for a client's
/// errors, before its connection is closed (rapid reset, CVE-2023-44487, and its kin).
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 1024;

/// Most requests at one time on one HTTP/2 connection: apiserver's own bound.
const MAX_STREAMS: u32 = 100;

/// How often HTTP/2 connections are asked whether they still live, and how long they may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// How long requests may go on after a shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the system is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is known of the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The user its client certificate names, if it has one that the CA has signed.
    pub user: Option<User>,
    /// Its address, where that is known.
    pub address: Option<IpAddr>,
    /// Whether a request on the connection was one of a user who is known.
    pub known: Arc<AtomicBool>,
}

/// Serves HTTPS on a listener until `shutdown` becomes true; then ends watches and lets requests finish. A failing
/// accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    state: Arc<ApiState>,
    mut shutdown: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let places = Arc::new(Semaphore::new(max_connections(&limits)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ended(&mut shutdown) => break,
            // Finished connections are collected here, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (acceptor, state, shutdown) = (acceptor.clone(), state.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, acceptor, state, shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("requests were still running at the end of the shutdown's grace; they are cut");
    }
}

/// As many connections as the process may have, from `/proc/self/limits`.
fn max_connections(limits: &str) -> usize {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let files = soft.and_then(|files| files.parse().ok()).unwrap_or(usize::MAX);
    files.saturating_sub(OTHER_FILES).clamp(1, MAX_CONNECTIONS)
}

/// The next connection and its place. Cancel safe: a place that is not used goes back.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(e) => {
            tracing::warn!(error = %e, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<ApiState>, shutdown: watch::Receiver<bool>) {
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
    // In a box of its own: what the handshake takes is not kept for as long as the connection lasts.
    let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)));
    let tls = match handshake.await {
        Ok(Ok(tls)) => Box::new(tls),
        Ok(Err(e)) => return tracing::debug!(error = %e, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let user = state.authenticator.certificate(chain);
    serve_connection(tls, Peer { user, address, ..Peer::default() }, state, shutdown).await;
}

/// Serves one established connection until it ends, or until `shutdown` and the end of its requests.
pub async fn serve_connection<S>(stream: S, peer: Peer, state: Arc<ApiState>, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // In a box, as it is of no more use once it is done.
    let begun = Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, Begun::read(stream)));
    let begun = tokio::select! {
        begun = begun => begun,
        () = ended(&mut shutdown) => return,
    };
    let stream = match begun {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tracing::debug!(error = %e, "a connection ended early"),
        Err(_) => return tracing::debug!("the client did not begin in time"),
    };
    let known = peer.known.clone();
    let (peer, requests_shutdown) = (Arc::new(peer), shutdown.clone());
    let service = service_fn(move |request| {
        // In a box, which is freed when the answer's head is there: a watch then holds only its body.
        let answer = Box::pin(handle(state.clone(), peer.clone(), requests_shutdown.clone(), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let is_http2 = stream.is_http2();
    let stream = TokioIo::new(stream);
    // Each in a box of its own: the other one is much larger.
    if is_http2 {
        let connection = http2_builder().serve_connection(stream, service);
        Box::pin(drive(connection, http2::Connection::graceful_shutdown, &known, shutdown)).await;
    } else {
        let connection = http1_builder().serve_connection(stream, service).with_upgrades();
        Box::pin(drive(connection, http1::UpgradeableConnection::graceful_shutdown, &known, shutdown)).await;
    }
}

/// Drives a connection to its end; `wind_down` lets it finish the requests that it has and take no more.
async fn drive<C>(connection: C, wind_down: fn(Pin<&mut C>), known: &AtomicBool, mut shutdown: watch::Receiver<bool>)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ended(&mut shutdown) => {
            wind_down(connection.as_mut());
            connection.await
        }
        () = unknown_for_long(known) => {
            wind_down(connection.as_mut());
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(e) = result {
        tracing::debug!(error = %e, "a connection ended early");
    }
}

/// Resolves when there was no request of a known user for long enough; never once there was one. Cancel safe.
async fn unknown_for_long(known: &AtomicBool) {
    tokio::time::sleep(UNKNOWN_FOR).await;
    if known.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Resolves once the hub shuts down. Cancel safe.
pub(crate) async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a shutdown too.
    let _ = shutdown.wait_for(|down| *down).await;
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_others() {
        for (limits, expected) in [
            ("", MAX_CONNECTIONS),
            ("Max open files            1024                 524288               files     ", 896),
            ("Max open files            65536                65536                files     ", MAX_CONNECTIONS),
            ("Max open files            unlimited            unlimited            files     ", MAX_CONNECTIONS),
            (
                "Max processes             7                    7                    processes \nMax open files 64 64 files",
                1,
            ),
        ] {
            assert_eq!(max_connections(limits), expected, "{limits}");
        }
    }
}
