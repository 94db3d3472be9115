//! Joining: an agent without a certificate proves a token and gets a certificate for a free name. Nothing else changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::ids::NodeName;
use skiff_shared::tls::io::{FrameReader, write};
use skiff_shared::wire::frame::MAX_JOIN_FRAME;
use skiff_shared::wire::token::fingerprint;
use skiff_shared::wire::{Join, Joined, ToAgent, ToHub};

use super::assign::{NODES, key};
use super::endpoint::{STEP, hex};
use super::status::AGENT_KEY;
use super::{PeerError, Shared};
use crate::pki::request_key;
use crate::pki::tokens::TokenError;

/// How long a name is kept for the agent that was given it and has not come back yet.
const RESERVED_SECONDS: i64 = 600;
/// Most names kept at once.
const MAX_RESERVED: usize = 1024;
/// How long a refused agent may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// Names given to agents that have not registered their node yet, each with the agent's key.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    names: Mutex<HashMap<NodeName, (String, Timestamp)>>,
}

impl Reservations {
    /// Keeps a name for a key; `false` when it is another's, or too many are kept.
    fn reserve(&self, node: &NodeName, agent_key: &str, now: Timestamp) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, (_, since)| now.as_second() - since.as_second() < RESERVED_SECONDS);
        if names.get(node).is_some_and(|(key, _)| key != agent_key) || names.len() >= MAX_RESERVED {
            return false;
        }
        names.insert(node.clone(), (agent_key.to_owned(), now));
        true
    }

    /// Lets a name go.
    pub(super) fn release(&self, node: &NodeName) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

/// Serves one joining connection.
pub(super) async fn serve(shared: &Arc<Shared>, connection: &quinn::Connection) -> Result<(), PeerError> {
    let late = |what| move |_| PeerError::Timeout(what, STEP.as_secs());
    let (mut send, recv) =
        tokio::time::timeout(STEP, connection.accept_bi()).await.map_err(late("control stream"))??;
    let mut reader = FrameReader::new(recv, MAX_JOIN_FRAME);
    let frame = tokio::time::timeout(STEP, reader.read::<ToHub>()).await.map_err(late("first frame"))??;
    let Some(ToHub::Join(join)) = frame else {
        return Err(PeerError::Protocol("the first frame of a connection without a certificate must be Join".into()));
    };
    let deciding = shared.clone();
    let decided = tokio::task::spawn_blocking(move || decide(&deciding, &join, Timestamp::now()))
        .await
        .map_err(|e| PeerError::Failed("decide on a join", Box::new(e)))?;
    let answer = match &decided {
        Ok(joined) => ToAgent::Joined(joined.clone()),
        Err(PeerError::Refused(text)) => ToAgent::Refused(text.clone()),
        Err(_) => return decided.map(|_| ()),
    };
    write(&mut send, &answer).await?;
    // The answer must arrive before the connection is closed: wait until the agent has read it and closes.
    let _ = send.finish();
    let _ = tokio::time::timeout(LINGER, connection.closed()).await;
    decided.map(|_| ())
}

/// Judges a join: token, name, signature; then uses the token up.
fn decide(shared: &Shared, join: &Join, now: Timestamp) -> Result<Joined, PeerError> {
    let pki = &shared.parts.pki;
    let refused = |text: String| PeerError::Refused(text);
    let public_key =
        request_key(&join.csr_der).ok_or_else(|| refused("the certificate request is not valid".into()))?;
    pki.tokens().check(&join.token, &public_key, now).map_err(token_error)?;
    let node = NodeName::parse(&join.node).map_err(|e| refused(e.to_string()))?;
    let agent_key = hex(&fingerprint(&public_key));
    if in_use(shared, &node, &agent_key) || !shared.reservations.reserve(&node, &agent_key, now) {
        return Err(refused(format!("node name {:?} is already in use", node.as_str())));
    }
    let signed = pki
        .sign_node(&node, &join.csr_der, now)
        .map_err(|_| refused("the certificate request is not valid".into()))
        .and_then(|certificate| {
            pki.tokens().claim(&join.token, &public_key, now).map(|()| certificate).map_err(token_error)
        });
    match signed {
        Ok(certificate) => {
            tracing::info!(%node, version = %join.version, "a node joined");
            Ok(Joined { certificate_der: certificate.to_vec(), ca_der: pki.ca_der().to_vec() })
        }
        Err(error) => {
            shared.reservations.release(&node);
            Err(error)
        }
    }
}

/// Whether a name belongs to another agent: a Node object or a session of another key.
fn in_use(shared: &Shared, node: &NodeName, agent_key: &str) -> bool {
    let object = shared.parts.cluster.store().snapshot().get(&key(NODES, "", node.as_str())).cloned();
    let registered = object.is_some_and(|o| {
        let stored = o.parse::<serde_json::Value>().unwrap_or_default();
        stored["metadata"]["annotations"][AGENT_KEY].as_str() != Some(agent_key)
    });
    registered || shared.sessions.get(node).is_some_and(|session| session.agent_key != agent_key)
}

fn token_error(error: TokenError) -> PeerError {
    match error {
        TokenError::Invalid | TokenError::Used | TokenError::Expired => PeerError::Refused(error.to_string()),
        TokenError::Unknown(_) | TokenError::TooMany | TokenError::Pki(_) => {
            PeerError::Failed("check a join token", Box::new(error))
        }
    }
}
