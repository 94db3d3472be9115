//! The agent's side of the link: join once, then one connection to the hub for ever, reopened with jittered back-off.

use std::sync::Arc;

use async_trait::async_trait;
use skiff_shared::report::EventReport;
use skiff_shared::wire::stream::StreamRequest;
use skiff_shared::wire::{Change, Welcome};
use tokio::sync::watch;

use crate::desired::{Desired, Reported};

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

    /// Serves one stream that the hub opened: reply frame first, then bytes.
    async fn stream(&self, request: StreamRequest, send: quinn::SendStream, recv: quinn::RecvStream);
}
