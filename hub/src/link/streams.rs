//! Streams that the hub opens to an agent, over the agent's one connection.

use std::time::Duration;

use skiff_shared::ids::NodeName;
use skiff_shared::limits::MAX_FRAME;
use skiff_shared::tls::io::{FrameIoError, read_one, write};
use skiff_shared::wire::stream::{StreamReply, StreamRequest};

use super::Shared;

/// How long an agent may take to agree. It covers the wait for a free stream slot too.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a stream to a node could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The node has no session.
    #[error("node {0:?} is not connected")]
    NotConnected(String),
    /// No answer, or no free stream.
    #[error("node {0:?} did not answer in time")]
    Timeout(String),
    /// The agent says that the request makes no sense; its text is for the API's user (400).
    #[error("{0}")]
    BadRequest(String),
    /// The agent failed; its text is for the API's user (500).
    #[error("{0}")]
    Failed(String),
    /// The connection broke.
    #[error("the connection to node {node:?} broke")]
    Lost {
        /// The node.
        node: String,
        /// How.
        #[source]
        source: FrameIoError,
    },
}

/// Opens a stream and waits for the agent's reply.
pub(super) async fn open(
    shared: &Shared,
    node: &NodeName,
    request: StreamRequest,
) -> Result<(quinn::SendStream, quinn::RecvStream), StreamError> {
    let session = shared.sessions.get(node).ok_or_else(|| StreamError::NotConnected(node.to_string()))?;
    let exchange = async {
        let (mut send, mut recv) =
            session.connection.open_bi().await.map_err(|e| FrameIoError::Io(std::io::Error::other(e)))?;
        write(&mut send, &request).await?;
        let reply = read_one::<StreamReply>(&mut recv, MAX_FRAME).await?;
        Ok((reply, send, recv))
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Err(_) => Err(StreamError::Timeout(node.to_string())),
        Ok(Err(source)) => Err(StreamError::Lost { node: node.to_string(), source }),
        Ok(Ok((StreamReply::Ok, send, recv))) => Ok((send, recv)),
        Ok(Ok((StreamReply::BadRequest(text), ..))) => Err(StreamError::BadRequest(text)),
        Ok(Ok((StreamReply::Failed(text), ..))) => Err(StreamError::Failed(text)),
    }
}
