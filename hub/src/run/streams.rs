//! The API's streams to nodes, over the link.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use skiff_shared::ids::NodeName;
use skiff_shared::telemetry::Chain;
use skiff_shared::wire::stream::{LogsRequest, StreamRequest};

use crate::api::{LogStream, NodeStream, NodeStreams, StreamError};
use crate::link::{self, Link};

/// Most bytes taken from a stream at a time.
const CHUNK: usize = 32 * 1024;

/// Streams through the agents' connections.
#[derive(Debug)]
pub(super) struct LinkStreams(pub(super) Link);

#[async_trait]
impl NodeStreams for LinkStreams {
    async fn logs(&self, node: &str, request: LogsRequest) -> Result<LogStream, StreamError> {
        let node = NodeName::parse(node).map_err(|e| StreamError::Failed(e.to_string()))?;
        // The send half goes with the stream: dropping it early would tell the agent that nobody listens.
        let (send, recv) = self.0.open(&node, StreamRequest::Logs(request)).await.map_err(refused)?;
        let bytes = stream::try_unfold((send, recv), |(send, mut recv)| async move {
            let chunk = recv.read_chunk(CHUNK, true).await.map_err(io::Error::other)?;
            Ok(chunk.map(|c| (c.bytes, (send, recv))))
        });
        Ok(bytes.map(|b: io::Result<Bytes>| b).boxed())
    }

    async fn open(&self, node: &str, request: StreamRequest) -> Result<NodeStream, StreamError> {
        let node = NodeName::parse(node).map_err(|e| StreamError::Failed(e.to_string()))?;
        let (send, recv) = self.0.open(&node, request).await.map_err(refused)?;
        Ok(NodeStream { send: Box::new(send), recv: Box::new(recv) })
    }
}

fn refused(error: link::StreamError) -> StreamError {
    match error {
        link::StreamError::NotConnected(node) => StreamError::NotConnected(node),
        link::StreamError::BadRequest(text) => StreamError::BadRequest(text),
        other @ (link::StreamError::Timeout(_) | link::StreamError::Failed(_) | link::StreamError::Lost { .. }) => {
            StreamError::Failed(Chain(&other).to_string())
        }
    }
}
