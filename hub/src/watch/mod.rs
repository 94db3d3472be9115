//! Stand-in with the agreed contract; replaced by the real module on integration.

use std::collections::VecDeque;
use std::sync::Arc;

use skiff_shared::selector::{FieldSelector, LabelSelector};

use crate::registry::{Kind, Registry};
use crate::store::{EventKind, Object, Revision, Store, StoreError};

/// What is watched.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Kind.
    pub kind: Arc<Kind>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Labels.
    pub labels: LabelSelector,
    /// Fields.
    pub fields: FieldSelector,
}

impl Scope {
    /// Whether an object is in the scope.
    pub fn matches(&self, registry: &Registry, object: &Object) -> bool {
        let label = |key: &str| object.meta.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v);
        object.key.resource == self.kind.storage
            && self.namespace.as_ref().is_none_or(|n| **n == *object.key.namespace)
            && self.labels.matches(label)
            && self.fields.matches(|p| registry.field(&self.kind, object, p).unwrap_or_default())
    }
}

/// Where to start.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// Changes after a revision.
    After(Revision),
    /// The state, then changes.
    Initial {
        /// Whether a bookmark ends the state.
        end_mark: bool,
    },
}

/// What a watch yields.
#[derive(Debug)]
pub enum Item {
    /// A change.
    Event {
        /// Kind.
        kind: EventKind,
        /// Object.
        object: Arc<Object>,
    },
    /// A bookmark.
    Bookmark {
        /// Revision.
        revision: Revision,
        /// End of the initial state.
        initial_events_end: bool,
    },
}

/// A watch.
#[derive(Debug)]
pub struct Watch {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    scope: Scope,
    after: Revision,
    queue: VecDeque<Item>,
    revisions: tokio::sync::watch::Receiver<Revision>,
}

impl Watch {
    /// Starts.
    ///
    /// # Errors
    /// Compacted.
    pub fn start(store: Arc<dyn Store>, registry: Arc<Registry>, scope: Scope, start: Start, bookmarks: bool) -> Result<Watch, StoreError> {
        let _ = bookmarks;
        let snapshot = store.snapshot();
        let mut queue = VecDeque::new();
        let after = match start {
            Start::After(revision) => revision,
            Start::Initial { end_mark } => {
                for object in snapshot.list(&scope.kind.storage, scope.namespace.as_deref()) {
                    if scope.matches(&registry, object) {
                        queue.push_back(Item::Event { kind: EventKind::Added, object: object.clone() });
                    }
                }
                if end_mark {
                    queue.push_back(Item::Bookmark { revision: snapshot.revision(), initial_events_end: true });
                }
                snapshot.revision()
            }
        };
        store.changes(after, 1)?;
        let revisions = store.revisions();
        Ok(Self { store, registry, scope, after, queue, revisions })
    }

    /// The next item.
    ///
    /// # Errors
    /// Compacted.
    pub async fn next(&mut self) -> Result<Item, StoreError> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Ok(item);
            }
            for event in self.store.changes(self.after, 100)? {
                self.after = event.revision;
                if self.scope.matches(&self.registry, &event.object) {
                    self.queue.push_back(Item::Event { kind: event.kind, object: event.object });
                }
            }
            if self.queue.is_empty() {
                let after = self.after;
                self.revisions.wait_for(|r| *r > after).await.map_err(|_| StoreError::Closed)?;
            }
        }
    }
}
