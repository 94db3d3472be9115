//! The agent's side of the link: join once, then one connection to the hub for ever, reopened with jittered back-off.

mod certificate;
mod connect;
mod identity;
mod join;
mod session;
mod streams;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use skiff_shared::backoff::Backoff;
use skiff_shared::ids::NodeName;
use skiff_shared::report::EventReport;
use skiff_shared::tls::close;
use skiff_shared::tls::io::FrameIoError;
use skiff_shared::wire::frame::FrameError;
use skiff_shared::wire::stream::StreamRequest;
use skiff_shared::wire::{Change, TokenAnswer, TokenRequest, Welcome};
use tokio::sync::watch;

use crate::desired::{Desired, Reported};
use connect::Dialer;
use identity::Identity;

/// Waits between attempts: a hub that restarts is found again soon, one that is away is not hammered.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
/// A session that lasted so long counts as a success: the next attempt comes soon.
const STABLE: Duration = Duration::from_secs(30);

/// What the link needs to know.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Where the key and certificates are kept.
    pub data_dir: PathBuf,
    /// The hub, `HOST:PORT`.
    pub hub: String,
    /// The join token; needed only while there is no certificate.
    pub join_token: Option<String>,
    /// This node's name.
    pub node: NodeName,
    /// This agent's version.
    pub version: String,
}

/// Why the link gives up. What can get better by itself (the network, a hub that is away) is never among these.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The hub refuses the join, and says why.
    #[error("the hub refused to let this node join: {0}")]
    Refused(String),
    /// The token was made by another hub, or somebody sits in between.
    #[error("the hub at {0} is not the one that made the join token: its CA certificate has another fingerprint")]
    WrongCa(String),
    /// No certificate and no token.
    #[error("this node has not joined yet: give it a join token (`skiff-hub token create` on the hub prints one)")]
    NoToken,
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] skiff_shared::wire::token::MalformedToken),
    /// The data directory belongs to a node of another name.
    #[error("{path} holds the certificate of node {found:?}, but this node is to be named {wanted:?}")]
    OtherNode {
        /// The certificate's file.
        path: PathBuf,
        /// Name in it.
        found: String,
        /// Name asked for.
        wanted: String,
    },
    /// A file of the identity.
    #[error("failed to {operation} {path}")]
    File {
        /// E.g. `read`.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the identity holds something else.
    #[error("{path} does not hold a valid {what}")]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// E.g. `certificate`.
        what: &'static str,
    },
    /// Key and certificate do not fit together.
    #[error("the key and certificates in the data directory are not usable")]
    Tls(#[from] skiff_shared::tls::TlsError),
    /// No key could be made.
    #[error("failed to make a key or a certificate request")]
    Key(#[from] rcgen::Error),
    /// No UDP socket.
    #[error("failed to open a UDP socket")]
    Socket(#[source] std::io::Error),
}

/// Why an attempt or a session ended; another follows.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("failed to look up {host}")]
    Lookup {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("failed to connect to {address}")]
    Connect {
        address: std::net::SocketAddr,
        #[source]
        source: quinn::ConnectionError,
    },
    #[error("failed to start a connection to {address}")]
    Start {
        address: std::net::SocketAddr,
        #[source]
        source: quinn::ConnectError,
    },
    #[error("no {0} in time")]
    Timeout(&'static str),
    #[error(transparent)]
    Frame(#[from] FrameIoError),
    #[error("the connection ended")]
    Connection(#[from] quinn::ConnectionError),
    #[error("the hub sent {0} where it has no place")]
    Protocol(&'static str),
    #[error("the hub refused the session: {0}")]
    Refused(String),
    #[error("failed to {0}")]
    Node(&'static str, #[source] std::io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error.into())
    }
}

/// Joins if need be, then keeps a session with the hub until `shutdown` turns true.
///
/// # Errors
/// [`LinkError`], when trying again is of no use.
pub async fn run(
    config: LinkConfig,
    node: Arc<dyn Node>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), LinkError> {
    let dialer = Dialer::open(&config.hub)?;
    let ended = tokio::select! {
        biased;
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
        ended = keep_connected(&config, &dialer, &node) => ended,
    };
    dialer.close().await;
    ended
}

async fn keep_connected(config: &LinkConfig, dialer: &Dialer, node: &Arc<dyn Node>) -> Result<(), LinkError> {
    let mut failures = 0;
    let mut identity = match Identity::load(&config.data_dir, &config.node)? {
        Some(identity) => identity,
        None => join::until_joined(config, dialer).await?,
    };
    loop {
        let started = Instant::now();
        let ended = session::run(config, dialer, &mut identity, node).await;
        failures = if started.elapsed() >= STABLE { 1 } else { failures + 1 };
        let wait = BACKOFF.jittered(failures, random());
        log_end(&config.hub, &ended, wait);
        tokio::time::sleep(wait).await;
    }
}

fn log_end(hub: &str, ended: &Result<(), SessionError>, wait: Duration) {
    match ended {
        Ok(()) => tracing::info!(hub, wait = wait.as_secs_f32(), "the hub ended the session"),
        Err(error) => log_failure(hub, "no session with the hub", error, wait),
    }
}

/// Logs why an attempt failed, with the hub's own words where it gave any.
fn log_failure(hub: &str, what: &'static str, error: &SessionError, wait: Duration) {
    let reason = close_reason(error);
    tracing::warn!(hub, wait = wait.as_secs_f32(), error = error as &dyn std::error::Error, reason, "{what}");
}

/// The text with which the hub closed the connection, if it did.
fn close_reason(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let closed = error.downcast_ref::<quinn::ConnectionError>().or_else(|| {
            let io = error.downcast_ref::<std::io::Error>()?.get_ref()?;
            match io.downcast_ref::<quinn::ReadError>() {
                Some(quinn::ReadError::ConnectionLost(lost)) => Some(lost),
                _ => match io.downcast_ref::<quinn::WriteError>() {
                    Some(quinn::WriteError::ConnectionLost(lost)) => Some(lost),
                    _ => None,
                },
            }
        });
        if let Some(quinn::ConnectionError::ApplicationClosed(close)) = closed {
            return Some(String::from_utf8_lossy(&close.reason).into_owned());
        }
        cause = error.source();
    }
    None
}

/// Between 0 and 1, for jitter.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// Says goodbye so that the hub need not wait for the idle timeout.
fn hang_up(connection: &quinn::Connection) {
    connection.close(close::DONE, b"the agent is done");
}

/// What the link needs of the rest of the agent.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// The desired state as it is on disk.
    fn desired(&self) -> Arc<Desired>;

    /// Applies a change: to disk first (durably), then to the pods' workers.
    ///
    /// # Errors
    /// When it could not be made durable; the link then drops the session and tries again later.
    async fn apply(&self, change: Change) -> std::io::Result<()>;

    /// What the hub said about this node at the start of a session.
    async fn welcome(&self, welcome: Welcome) -> std::io::Result<()>;

    /// The reported state; changes wake the link, which sends what differs.
    fn reported(&self) -> watch::Receiver<Arc<Reported>>;

    /// Wakes when there are new events.
    fn events_changed(&self) -> watch::Receiver<u64>;

    /// Events after `seq`, oldest first, at most `max`.
    fn events_after(&self, seq: u64, max: usize) -> Vec<EventReport>;

    /// The hub has stored the events up to `seq`.
    fn events_stored(&self, seq: u64);

    /// The tokens of pods that the hub is to be asked for.
    fn token_wishes(&self) -> watch::Receiver<Arc<BTreeSet<TokenRequest>>>;

    /// Takes the hub's answer about a token.
    async fn token(&self, answer: TokenAnswer);

    /// Serves one stream that the hub opened: reply frame first, then bytes.
    async fn stream(&self, request: StreamRequest, send: quinn::SendStream, recv: quinn::RecvStream);
}
