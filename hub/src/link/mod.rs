//! The agents' QUIC endpoint: joins, sessions, what each node is to run, what it reports, and streams to it.
//!
//! An agent opens one connection. Without a client certificate it may only join; with one it has a session: the hub
//! sends what the node is to know (`assign`) and writes what the node reports (`status`) through the write path. Both
//! directions are compared by digest when a session starts, so that only differences travel.

pub mod assign;
mod cluster;
mod convert;
mod endpoint;
mod feed;
mod join;
mod reports;
mod session;
mod sessions;
pub mod status;
mod streams;

use std::net::UdpSocket;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use skiff_shared::ids::NodeName;
use skiff_shared::report::EventReport;
use skiff_shared::tls::io::FrameIoError;
use skiff_shared::wire::stream::StreamRequest;
use tokio::sync::watch;

pub use cluster::Cluster;
pub use streams::StreamError;

use crate::auth::jwt::Signer;
use crate::pki::{Pki, PkiError};
use join::Reservations;
use sessions::Sessions;

/// Where events that nodes report are recorded.
#[async_trait]
pub trait NodeEvents: Send + Sync + 'static {
    /// Records one event; done when it is stored or refused for good.
    async fn record_node_event(&self, node: &NodeName, node_uid: &str, event: &EventReport);
}

/// Who is told which nodes have a session.
pub trait NodeLife: Send + Sync + 'static {
    /// The node's agent has a session.
    fn connected(&self, node: &NodeName);
    /// The node's last session ended at `at`.
    fn lost(&self, node: &NodeName, at: Timestamp);
}

/// What agents are told about the cluster.
#[derive(Debug, Clone)]
pub struct ClusterInfo {
    /// The hub's version.
    pub version: String,
    /// Address of the cluster DNS.
    pub cluster_dns: String,
    /// E.g. `cluster.local`.
    pub cluster_domain: String,
}

/// What the link needs of the rest of the hub.
pub struct LinkParts {
    /// Certificates and tokens.
    pub pki: Arc<Pki>,
    /// Reads and writes of objects (`Objects`).
    pub cluster: Arc<dyn Cluster>,
    /// Records nodes' events.
    pub events: Arc<dyn NodeEvents>,
    /// Is told about sessions.
    pub life: Arc<dyn NodeLife>,
    /// Signs the tokens of pods' service accounts.
    pub signer: Arc<Signer>,
    /// What agents are told.
    pub info: ClusterInfo,
}

impl std::fmt::Debug for LinkParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkParts").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Why the endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Keys or certificates.
    #[error("failed to set up the agents' endpoint")]
    Pki(#[from] PkiError),
    /// The socket.
    #[error("failed to open the agents' endpoint")]
    Socket(#[source] std::io::Error),
}

/// Why a session or join ended before its time.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Frame(#[from] FrameIoError),
    #[error("the connection broke")]
    Connection(#[from] quinn::ConnectionError),
    #[error("no {0} within {1} s")]
    Timeout(&'static str, u64),
    #[error("{0}")]
    Protocol(String),
    #[error("{0}")]
    Refused(String),
    #[error("failed to {0}")]
    Failed(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

struct Shared {
    parts: LinkParts,
    sessions: Sessions,
    reservations: Reservations,
    reports: reports::AllReports,
}

/// The link. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// A link that is not open yet.
    pub fn new(parts: LinkParts) -> Self {
        let shared = Shared {
            parts,
            sessions: Sessions::default(),
            reservations: Reservations::default(),
            reports: reports::AllReports::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves agents on this UDP socket until `shutdown` turns true.
    ///
    /// # Errors
    /// [`LinkError`] when the endpoint cannot be opened.
    pub async fn serve(&self, socket: UdpSocket, shutdown: watch::Receiver<bool>) -> Result<(), LinkError> {
        endpoint::serve(&self.shared, socket, shutdown).await
    }

    /// Opens a stream to a node: sends the request and waits for the agent to agree. Raw bytes follow on both halves.
    ///
    /// # Errors
    /// [`StreamError`] when the node is not connected, refuses, or does not answer in time.
    pub async fn open(
        &self,
        node: &NodeName,
        request: StreamRequest,
    ) -> Result<(quinn::SendStream, quinn::RecvStream), StreamError> {
        streams::open(&self.shared, node, request).await
    }

    /// Whether the node has a session now.
    pub fn is_connected(&self, node: &NodeName) -> bool {
        self.shared.sessions.get(node).is_some()
    }
}
