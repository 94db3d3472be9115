//! Accepts connections: handshake, then a join or a session, each under limits of its own.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use skiff_shared::ids::NodeName;
use skiff_shared::tls::close;
use skiff_shared::wire::token::fingerprint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::{LinkError, PeerError, Shared, feed, join, session};
use crate::pki::{NODE_PREFIX, identity};

/// Connections that may be in their handshake, join or first frame at once. A peer needs no proof to get that far.
const MAX_PENDING: usize = 64;
/// From so many on, a peer must first show that it receives at the address it claims.
const RETRY_FROM: usize = 16;
/// Time for each step before a session: handshake, control stream, first frame.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// Serves until shutdown.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    socket: UdpSocket,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), LinkError> {
    let config = shared.parts.pki.quic_config()?;
    socket.set_nonblocking(true).map_err(LinkError::Socket)?;
    let secret = shared.parts.pki.endpoint_secret();
    let endpoint = Endpoint::new(endpoint_config(secret), Some(config), socket, Arc::new(TokioRuntime))
        .map_err(LinkError::Socket)?;
    let pending = Arc::new(Semaphore::new(MAX_PENDING));
    let mut tasks = JoinSet::new();
    let fed = shared.clone();
    let mut feeding = JoinSet::new();
    feeding.spawn(async move { feed::run(&fed).await });
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => {}
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(shared, incoming, &pending, &mut tasks),
                None => break,
            },
        }
    }
    endpoint.close(close::DONE, b"the hub stops");
    while tasks.join_next().await.is_some() {}
    // Peers are told; those that do not answer are not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    Ok(())
}

/// Connection ids and reset tokens that a hub recognises after a restart, so that it can tell the agents of the one
/// before that their connections are gone.
fn endpoint_config(secret: [u8; 32]) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
    let id_key = u64::from_le_bytes(std::array::from_fn(|i| secret[i]));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    config
}

fn admit(shared: &Arc<Shared>, incoming: Incoming, pending: &Arc<Semaphore>, tasks: &mut JoinSet<()>) {
    let busy = MAX_PENDING - pending.available_permits();
    if busy >= RETRY_FROM && incoming.may_retry() {
        // Fails only where a retry is not allowed, which was asked above.
        let _ = incoming.retry();
        return;
    }
    let Ok(permit) = pending.clone().try_acquire_owned() else {
        tracing::warn!(remote = %incoming.remote_address(), "refused a connection: too many are not yet established");
        incoming.refuse();
        return;
    };
    let shared = shared.clone();
    tasks.spawn(async move {
        let remote = incoming.remote_address();
        if let Err(error) = connection(&shared, incoming, permit).await {
            tracing::warn!(%remote, error = &error as &dyn std::error::Error, "an agent's connection ended");
        }
    });
}

async fn connection(shared: &Arc<Shared>, incoming: Incoming, permit: OwnedSemaphorePermit) -> Result<(), PeerError> {
    let connection = tokio::time::timeout(STEP, incoming.into_future())
        .await
        .map_err(|_| PeerError::Timeout("handshake", STEP.as_secs()))??;
    let ended = match peer(&connection) {
        Peer::Anonymous => join::serve(shared, &connection).await,
        Peer::Node { node, agent_key } => session::serve(shared, &connection, node, agent_key, permit).await,
        Peer::Other(name) => Err(PeerError::Refused(format!("the certificate of {name:?} is not a node's"))),
    };
    if closed_in_good_order(&connection) {
        return Ok(());
    }
    if let Err(error) = &ended {
        // The inner cause of a failure stays in the hub's log.
        connection.close(code(error), error.to_string().as_bytes());
    }
    ended
}

/// The agent said goodbye, or the hub did.
fn closed_in_good_order(connection: &quinn::Connection) -> bool {
    match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(closed)) => closed.error_code == close::DONE,
        Some(ConnectionError::LocallyClosed) => true,
        Some(_) | None => false,
    }
}

enum Peer {
    Anonymous,
    Node { node: NodeName, agent_key: String },
    Other(String),
}

/// Who the peer has proved to be in the handshake.
fn peer(connection: &quinn::Connection) -> Peer {
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) else { return Peer::Anonymous };
    let Some(identity) = identity(certificate) else { return Peer::Other(String::new()) };
    let name = identity.subject.name;
    let node = name.strip_prefix(NODE_PREFIX).and_then(|node| NodeName::parse(node).ok());
    match node {
        Some(node) => Peer::Node { node, agent_key: hex(&fingerprint(&identity.public_key)) },
        None => Peer::Other(name),
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn code(error: &PeerError) -> VarInt {
    match error {
        PeerError::Frame(skiff_shared::tls::io::FrameIoError::Frame(_)) | PeerError::Protocol(_) => close::PROTOCOL,
        PeerError::Refused(_) => close::REFUSED,
        PeerError::Frame(_) | PeerError::Connection(_) | PeerError::Timeout(..) | PeerError::Failed(..) => {
            close::FAILED
        }
    }
}
