//! Joining: proves the token, receives a certificate for the node's own key. Done once in a node's life.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::tls::io::{FrameReader, write};
use skiff_shared::tls::{PinnedCa, join_config};
use skiff_shared::wire::frame::MAX_JOIN_FRAME;
use skiff_shared::wire::token::{JoinToken, fingerprint};
use skiff_shared::wire::{Join, Joined, ToAgent, ToHub};

use super::connect::Dialer;
use super::identity::{self, Identity};
use super::{BACKOFF, LinkConfig, LinkError, SessionError, hang_up, random};

/// Time for the hub to decide.
const ANSWER: Duration = Duration::from_secs(30);

/// Tries to join until the hub answers yes or no.
pub(super) async fn until_joined(config: &LinkConfig, dialer: &Dialer) -> Result<Identity, LinkError> {
    let text = config.join_token.as_deref().ok_or(LinkError::NoToken)?;
    let token = JoinToken::parse(text)?;
    let pin = Arc::new(PinnedCa::new(token.ca));
    // Kept before it is used: an agent that dies before the answer arrives asks again with the same key, and gets it.
    let key = identity::key(&config.data_dir)?;
    let request = Join {
        token: token.proof(),
        node: config.node.to_string(),
        csr_der: identity::signing_request(&key)?,
        version: config.version.clone(),
    };
    let mut failures = 0;
    let joined = loop {
        match attempt(dialer, &pin, &request).await {
            Ok(joined) => break joined,
            Err(SessionError::Refused(text)) => return Err(LinkError::Refused(text)),
            Err(SessionError::Link(error)) => return Err(error),
            Err(_) if pin.refused() => return Err(LinkError::WrongCa(config.hub.clone())),
            Err(error) => {
                failures += 1;
                let wait = BACKOFF.jittered(failures, random());
                super::log_failure(&config.hub, "could not join yet", &error, wait);
                tokio::time::sleep(wait).await;
            }
        }
    };
    if fingerprint(&joined.ca_der) != token.ca {
        return Err(LinkError::WrongCa(config.hub.clone()));
    }
    let identity = Identity::store(&config.data_dir, &config.node, key, joined.certificate_der, joined.ca_der)?;
    tracing::info!(node = %config.node, hub = config.hub, "joined");
    Ok(identity)
}

async fn attempt(dialer: &Dialer, pin: &Arc<PinnedCa>, request: &Join) -> Result<Joined, SessionError> {
    let tls = join_config(pin.clone()).map_err(LinkError::from)?;
    let connection = dialer.connect(&tls).await?;
    let answer = tokio::time::timeout(ANSWER, exchange(&connection, request)).await;
    hang_up(&connection);
    match answer.map_err(|_| SessionError::Timeout("answer to the join"))?? {
        ToAgent::Joined(joined) => Ok(joined),
        ToAgent::Refused(text) => Err(SessionError::Refused(text)),
        ToAgent::Welcome(_)
        | ToAgent::SendInventory
        | ToAgent::SendReports
        | ToAgent::Change(_)
        | ToAgent::EventsStored(_)
        | ToAgent::Renewed(_)
        | ToAgent::Token(_) => Err(SessionError::Protocol("a session's frame during a join")),
    }
}

async fn exchange(connection: &quinn::Connection, request: &Join) -> Result<ToAgent, SessionError> {
    let (mut send, recv) = connection.open_bi().await?;
    write(&mut send, &ToHub::Join(request.clone())).await?;
    let answer = FrameReader::new(recv, MAX_JOIN_FRAME).read().await?;
    answer.ok_or(SessionError::Timeout("answer to the join"))
}
