//! Watches: the events of a scope after a revision, as Kubernetes defines them.
//!
//! A watch is a cursor into the store's log of events. It owns no copy of it and no task: whoever wants the next item
//! reads from where the cursor stands. A watch that is read too slowly falls off the log and ends with
//! [`StoreError::Compacted`]; it never makes a writer wait.

mod scope;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::registry::Registry;
use crate::store::{Event, EventKind, Object, Resource, Revision, Store, StoreError};

pub use scope::Scope;

/// Time between bookmarks, as kube-apiserver's watch cache has it.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long before a watch's end its last bookmark comes.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Events taken from the log at once: few locks, and little that a stalled watch keeps alive.
const BATCH: usize = 64;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the events after this revision. One that is not reached yet is waited for.
    After(Revision),
    /// With an `ADDED` event for each object there is now.
    Initial {
        /// Whether a bookmark marks the end of these events (`sendInitialEvents`).
        end_mark: bool,
    },
}

/// What a watch gives.
#[derive(Debug, Clone)]
pub enum Item {
    /// Something in the scope changed.
    Event {
        /// As seen through the selectors: an object that begins to match is added, one that ceases to match is deleted.
        kind: EventKind,
        /// The new state; for a deletion the last state that matched, with the revision of the event.
        object: Arc<Object>,
    },
    /// Everything in the scope up to this revision has been given.
    Bookmark {
        /// From here the watch can be resumed.
        revision: Revision,
        /// This marks the end of the initial events.
        initial_events_end: bool,
    },
}

type Filter = Box<dyn Fn(&Object) -> bool + Send + Sync>;

/// A running watch.
pub struct Watch {
    store: Arc<dyn Store>,
    resource: Resource,
    matches: Filter,
    revisions: watch::Receiver<Revision>,
    /// Initial events that are still to be given.
    initial: vec::IntoIter<Arc<Object>>,
    /// The mark of their end is still to be given.
    end_mark: bool,
    /// Taken from the log, not yet looked at.
    batch: vec::IntoIter<Event>,
    /// Everything up to here has been looked at.
    seen: Revision,
    /// When the next bookmark is due.
    bookmark_at: Option<Instant>,
    /// When the last one is due, where the watch's end is known.
    last_bookmark: Option<Instant>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("resource", &self.resource).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts a watch; with `bookmarks`, one comes about every minute.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the events after the revision are no longer all there.
    pub fn start(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        scope: Scope,
        start: Start,
        bookmarks: bool,
    ) -> Result<Self, StoreError> {
        let (resource, namespace) = (scope.kind.storage.clone(), scope.namespace.clone());
        let matches = Box::new(move |object: &Object| scope.matches(&registry, object));
        Self::with_filter(store, resource, namespace.as_deref(), matches, start, bookmarks)
    }

    fn with_filter(
        store: Arc<dyn Store>,
        resource: Resource,
        namespace: Option<&str>,
        matches: Filter,
        start: Start,
        bookmarks: bool,
    ) -> Result<Self, StoreError> {
        let revisions = store.revisions();
        let (seen, initial, end_mark) = match start {
            Start::After(revision) => (revision, Vec::new(), false),
            Start::Initial { end_mark } => {
                let snapshot = store.snapshot();
                let objects = snapshot.list(&resource, namespace).filter(|object| matches(object)).cloned().collect();
                (snapshot.revision(), objects, end_mark)
            }
        };
        let batch = store.changes(seen, BATCH)?.into_iter();
        let bookmark_at = bookmarks.then(|| Instant::now() + BOOKMARK_EVERY);
        let initial = initial.into_iter();
        Ok(Self {
            store,
            resource,
            matches,
            revisions,
            initial,
            end_mark,
            batch,
            seen,
            bookmark_at,
            last_bookmark: None,
        })
    }

    /// Says when the watch will end: with bookmarks, one comes shortly before, so that its client can resume close by.
    pub fn ends_at(&mut self, end: Instant) {
        let now = Instant::now();
        self.last_bookmark = end.checked_sub(BOOKMARK_BEFORE_END);
        self.bookmark_at = self.bookmark_at.map(|_| self.next_bookmark(now));
    }

    fn next_bookmark(&self, now: Instant) -> Instant {
        let regular = now + BOOKMARK_EVERY;
        self.last_bookmark.filter(|last| *last > now && *last < regular).unwrap_or(regular)
    }

    /// The next item. Dropping the future loses nothing: what was taken from the log stays in the watch.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the watch was read too slowly, [`StoreError::Closed`] when the store shuts down;
    /// the watch is over then.
    pub async fn next(&mut self) -> Result<Item, StoreError> {
        loop {
            if let Some(item) = self.ready()? {
                return Ok(item);
            }
            self.refill().await?;
        }
    }

    /// What can be given without reading on in the log.
    fn ready(&mut self) -> Result<Option<Item>, StoreError> {
        if let Some(object) = self.initial.next() {
            return Ok(Some(Item::Event { kind: EventKind::Added, object }));
        }
        if std::mem::take(&mut self.end_mark) {
            return Ok(Some(Item::Bookmark { revision: self.seen, initial_events_end: true }));
        }
        for event in self.batch.by_ref() {
            self.seen = event.revision;
            if let Some(item) = translate(event, &self.resource, &self.matches)? {
                return Ok(Some(item));
            }
        }
        let due = self.bookmark_at.is_some_and(|at| Instant::now() >= at);
        Ok(due.then(|| {
            self.bookmark_at = Some(self.next_bookmark(Instant::now()));
            Item::Bookmark { revision: self.seen, initial_events_end: false }
        }))
    }

    /// Reads on in the log, or waits until there is more or a bookmark is due.
    async fn refill(&mut self) -> Result<(), StoreError> {
        // Marked as seen before the log is read: what comes in between wakes us.
        self.revisions.borrow_and_update();
        self.batch = self.store.changes(self.seen, BATCH)?.into_iter();
        if self.batch.len() > 0 {
            // A long run of events that match nothing must not keep a worker from others.
            tokio::task::consume_budget().await;
            return Ok(());
        }
        let bookmark = async {
            match self.bookmark_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.revisions.changed() => changed.map_err(|_| StoreError::Closed),
            () = bookmark => Ok(()),
        }
    }
}

/// An event as it shows through a filter.
fn translate(event: Event, resource: &Resource, matches: &Filter) -> Result<Option<Item>, StoreError> {
    if event.object.key.resource != *resource {
        return Ok(None);
    }
    let before = event.previous.filter(|object| matches(object));
    let now = event.kind != EventKind::Deleted && matches(&event.object);
    let item = |kind, object| Ok(Some(Item::Event { kind, object }));
    match (before, now) {
        (None, false) => Ok(None),
        (None, true) => item(EventKind::Added, event.object),
        (Some(_), true) => item(EventKind::Modified, event.object),
        (Some(_), false) if event.kind == EventKind::Deleted => item(EventKind::Deleted, event.object),
        // Kubernetes shows the state that still matched, at the revision of the change.
        (Some(last), false) => item(EventKind::Deleted, last.at_revision(event.revision)?),
    }
}

#[cfg(test)]
mod tests;
