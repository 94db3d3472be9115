//! A store that keeps nothing: for tests of whatever stands on a store. It uses no thread, so paused time works.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::log::{EventLog, LogLimits, Published};
use super::state::State;
use super::{Event, Object, Revision, Snapshot, Store, StoreError, Write};

/// The volatile implementation of [`Store`]. A commit completes without waiting.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    published: Published,
    wake: watch::Sender<Revision>,
}

impl MemoryStore {
    /// An empty store with the default log limits.
    #[expect(clippy::new_ret_no_self, reason = "a store is only ever shared")]
    pub fn new() -> Arc<Self> {
        Self::with_limits(LogLimits::default())
    }

    /// An empty store.
    pub fn with_limits(limits: LogLimits) -> Arc<Self> {
        let published = Published::new(Snapshot::default(), EventLog::new(0, limits));
        Arc::new(Self { state: Mutex::default(), published, wake: watch::Sender::new(0) })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn snapshot(&self) -> Snapshot {
        self.published.snapshot()
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let events = state.apply(writes)?;
        let objects = events.iter().map(|e| e.object.clone()).collect();
        self.published.publish(state.snapshot.clone(), events, &self.wake);
        Ok(objects)
    }

    fn changes(&self, revision: Revision, max: usize) -> Result<Vec<Event>, StoreError> {
        self.published.changes(revision, max)
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.wake.subscribe()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.published.compact(revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;

    crate::store::contract::contract_tests!(MemoryStore::new());
}
