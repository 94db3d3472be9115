//! The consistent store: keys to JSON objects under one global, increasing revision.
//!
//! The store knows nothing of kinds. It keeps every current object in memory as its encoded JSON (what a GET
//! answers, byte for byte), in persistent maps, so that a [`Snapshot`] is a constant-time clone; the backend
//! makes each commit durable before it is acknowledged or seen.

mod compaction;
#[cfg(test)]
mod contract;
mod database;
pub mod lock;
mod log;
mod memory;
mod metadata;
mod sqlite;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

pub use compaction::compact_regularly;
pub use database::OpenError;
pub use log::LogLimits;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// A revision: what Kubernetes calls a resourceVersion. One global counter; every write of an object takes the next.
pub type Revision = u64;

/// Names of resources as RBAC and discovery know them: `pods`, `deployments.apps`. Cheap to clone.
pub type Resource = Arc<str>;

/// Where an object is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `pods`, `deployments.apps`, ….
    pub resource: Resource,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A stored object.
#[derive(Debug)]
pub struct Object {
    /// Where it is kept.
    pub key: Key,
    /// Its `metadata.resourceVersion`.
    pub revision: Revision,
    /// The whole object as JSON, `metadata.resourceVersion` included.
    pub json: Bytes,
    /// What is asked for often, taken from `metadata` once.
    pub meta: Meta,
}

/// The often-read part of `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `uid`.
    pub uid: Box<str>,
    /// `generation`.
    pub generation: i64,
    /// `labels`, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `ownerReferences`.
    pub owners: Box<[Owner]>,
    /// `finalizers`.
    pub finalizers: Box<[Box<str>]>,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
}

/// One owner reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion`.
    pub api_version: Box<str>,
    /// `kind`.
    pub kind: Box<str>,
    /// `name`.
    pub name: Box<str>,
    /// `uid`.
    pub uid: Box<str>,
    /// `controller`.
    pub controller: bool,
    /// `blockOwnerDeletion`.
    pub block_owner_deletion: bool,
}

impl Object {
    /// Parses the object into a typed view (e.g. `k8s_openapi::api::core::v1::Pod`).
    ///
    /// # Errors
    /// When the stored JSON does not fit `T`.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }

    /// The controlling owner, if any.
    pub fn controller(&self) -> Option<&Owner> {
        self.meta.owners.iter().find(|o| o.controller)
    }
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No object under the key.
    Absent,
    /// The object at exactly this revision.
    At(Revision),
}

/// One write of a batch.
#[derive(Debug)]
pub struct Write {
    /// Where.
    pub key: Key,
    /// What must be there now.
    pub expected: Expected,
    /// What to do.
    pub op: Op,
}

/// What a write does.
#[derive(Debug)]
pub enum Op {
    /// Store this object. The store sets `metadata.resourceVersion` to the revision it assigns.
    Put(Value),
    /// Remove the object. The deletion takes a revision of its own, and watchers see the last state at that revision: this
    /// one, else the one that is stored.
    Delete(Option<Value>),
}

/// One committed write, as watchers see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision of this write.
    pub revision: Revision,
    /// Created, changed or removed.
    pub kind: EventKind,
    /// The object after the write; for a deletion its last state, with the deletion's revision as resourceVersion.
    pub object: Arc<Object>,
    /// The object before the write (`None` for a creation): selectors need it to tell transitions.
    pub previous: Option<Arc<Object>>,
}

/// Kind of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `ADDED`.
    Added,
    /// `MODIFIED`.
    Modified,
    /// `DELETED`.
    Deleted,
}

/// Why the store refuses.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `Expected::Absent`, but there is an object.
    #[error("{0:?} already exists")]
    Exists(Key),
    /// `Expected::At`, but there is no object.
    #[error("{0:?} not found")]
    Missing(Key),
    /// `Expected::At`, but the object is at another revision.
    #[error("{key:?} is at revision {actual}")]
    Conflict {
        /// The key.
        key: Key,
        /// The revision it is at.
        actual: Revision,
    },
    /// The revision asked for is no longer retained; `oldest` is the oldest from which changes can be read.
    #[error("revision {asked} is no longer retained, the oldest is {oldest}")]
    Compacted {
        /// Asked for.
        asked: Revision,
        /// Oldest retained.
        oldest: Revision,
    },
    /// The backend failed; nothing was written.
    #[error("the store failed to {operation}")]
    Backend {
        /// What it was doing.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is shut down.
    #[error("the store is closed")]
    Closed,
}

/// A consistent view of every object at one revision. Cloning is cheap; it pins the objects it shows.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    objects: imbl::OrdMap<Key, Arc<Object>>,
}

impl Snapshot {
    /// Its revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// This state as it was at an earlier revision. `later` are the events after that revision, oldest first; those
    /// that this state does not know of yet are passed over.
    #[must_use]
    pub fn rewound(&self, revision: Revision, later: &[Event]) -> Self {
        let mut objects = self.objects.clone();
        for event in later.iter().rev().filter(|event| event.revision <= self.revision) {
            let key = &event.object.key;
            match &event.previous {
                Some(previous) => drop(objects.insert(key.clone(), previous.clone())),
                None => drop(objects.remove(key)),
            }
        }
        Self { revision, objects }
    }

    /// The objects of a resource, ordered by namespace and name; of one namespace only where it is given and not empty.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let namespace = namespace.filter(|n| !n.is_empty());
        let resource = resource.clone();
        let start = Key { resource: resource.clone(), namespace: namespace.unwrap_or("").into(), name: "".into() };
        self.objects
            .range(start..)
            .map(|(_, object)| object)
            .take_while(move |o| o.key.resource == resource && namespace.is_none_or(|n| &*o.key.namespace == n))
    }
}

/// A store of objects. Every implementation passes the same contract suite (`store::contract`).
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The newest committed state.
    fn snapshot(&self) -> Snapshot;

    /// Commits all writes or none. On success every write is durable, visible in [`Store::snapshot`] and published to
    /// watchers; the new states come back in order (for a deletion the last state, with the deletion's revision).
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Missing`], [`StoreError::Conflict`] for the first write that does not find
    /// what it expects; [`StoreError::Backend`] when the write could not be made durable.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, StoreError>;

    /// The committed events after `revision`, at most `max` of them, oldest first; empty when there are none yet.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when events after `revision` are no longer all retained.
    fn changes(&self, revision: Revision, max: usize) -> Result<Vec<Event>, StoreError>;

    /// A channel that holds the newest revision: a wake-up without data.
    fn revisions(&self) -> tokio::sync::watch::Receiver<Revision>;

    /// Drops retained events up to `revision`.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
}
