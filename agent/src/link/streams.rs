//! Streams that the hub opens: each begins with a request and is then the node's.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::tls::HUB_STREAMS;
use skiff_shared::tls::io::read_one;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Node, SessionError};

/// Largest request: a command of an exec, which came in a URL of at most 32 KiB.
const MAX_REQUEST: usize = 64 * 1024;

/// Time for a stream's request to arrive.
const REQUEST: Duration = Duration::from_secs(10);

/// Serves streams until the connection ends; then those that are left are dropped.
pub(super) async fn serve(connection: &quinn::Connection, node: &Arc<dyn Node>) -> Result<(), SessionError> {
    // quinn bounds open streams, but a finished stream frees its slot before the node is done with it.
    let slots = Arc::new(Semaphore::new(HUB_STREAMS as usize));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let (send, mut recv) = connection.accept_bi().await?;
        while tasks.try_join_next().is_some() {}
        let node = node.clone();
        tasks.spawn(async move {
            match tokio::time::timeout(REQUEST, read_one(&mut recv, MAX_REQUEST)).await {
                Ok(Ok(request)) => node.stream(request, send, recv).await,
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a stream was not understood")
                }
                Err(_) => tracing::warn!("a stream brought no request in time"),
            }
            drop(slot);
        });
    }
}
