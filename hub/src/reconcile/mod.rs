//! One driver for all controllers: a change marks keys dirty, a worker reconciles each key against a snapshot and
//! applies the plan. One key never runs twice at once; failures back off per key; a slow full resync always runs.

mod apply;
pub mod bounded;
pub mod events;
pub mod liveness;
pub mod memo;
pub mod pulse;
pub mod queue;
mod recorder;
mod runner;
#[cfg(test)]
mod tests;
pub mod view;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub use liveness::Liveness;
pub use memo::Memo;
pub use pulse::Pulse;
pub use recorder::{Recorder, RecorderTask};
pub use runner::run;

use crate::objects::Propagation;
use crate::store::{Event, Key, Revision, Snapshot};

/// A controller: pure functions of the state of the world.
pub trait Controller: Send + Sync + 'static {
    /// E.g. `deployment-controller`: the source of its events and its user name.
    fn name(&self) -> &'static str;

    /// The keys to reconcile because of this change (usually the object itself or its owner).
    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key>;

    /// Every key, for start-up and the full resync.
    fn all(&self, snapshot: &Snapshot) -> Vec<Key>;

    /// What to do about one key. Level-triggered: the plan follows from the snapshot alone.
    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan;

    /// The sessions of nodes, where the controller depends on them: every key is reconciled when one changes.
    fn liveness(&self) -> Option<&Arc<Liveness>> {
        None
    }
}

/// What a controller wants done, and why.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes, in order; the first failure ends the plan, and the key is tried again with back-off (at once on a conflict).
    pub writes: Vec<PlannedWrite>,
    /// Events about objects, recorded once the writes before them have been done.
    pub events: Vec<EventDraft>,
    /// Reconcile again at this time even if nothing changes.
    pub requeue_at: Option<Timestamp>,
    /// A patch to make when a write fails (not on a conflict), to show it on the object; `{error}` in its texts becomes
    /// the error.
    pub on_failure: Option<Box<PlannedWrite>>,
    /// One line for the log (at debug level); empty when there is nothing to do.
    pub why: String,
}

/// One write of a plan.
#[derive(Debug)]
pub enum PlannedWrite {
    /// Create an object (`apiVersion`, `kind`, `metadata.namespace` and name or generateName are in the value).
    /// An `AlreadyExists` is a failure unless `tolerate_exists`.
    Create {
        /// The object.
        object: Value,
        /// Whether an existing object of that name is fine.
        tolerate_exists: bool,
        /// Recorded once it is done; `{name}` in the message is replaced by the name it was given.
        event: Option<EventDraft>,
        /// Recorded when it fails; `{error}` in the message becomes the error.
        failed: Option<EventDraft>,
    },
    /// Replace an object (or, with `subresource`, a part of it) that is still at `revision`.
    Update {
        /// Where.
        key: Key,
        /// The revision the plan is based on.
        revision: Revision,
        /// E.g. `status`; empty for the object.
        subresource: &'static str,
        /// The whole object.
        object: Value,
    },
    /// JSON merge patch. A missing object is fine. With `metadata.resourceVersion` in it, it is a precondition.
    Patch {
        /// Where.
        key: Key,
        /// E.g. `status`; empty for the object.
        subresource: &'static str,
        /// The patch.
        patch: Value,
    },
    /// Delete, with a uid precondition. A missing object is fine.
    Delete {
        /// Where.
        key: Key,
        /// The uid it must have.
        uid: String,
        /// `gracePeriodSeconds`.
        grace_seconds: Option<i64>,
        /// `propagationPolicy`; the kind's default for `None`.
        propagation: Option<Propagation>,
        /// Recorded once it is done.
        event: Option<EventDraft>,
    },
    /// Bind a pod to a node. A pod that is gone or bound already is fine.
    Bind {
        /// The pod.
        pod: Key,
        /// The uid it must have.
        uid: String,
        /// The node.
        node: String,
        /// Recorded once it is done.
        event: Option<EventDraft>,
    },
}

impl PlannedWrite {
    /// Whether the next write may go out before this one is done. A status only reports.
    fn is_independent(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Delete { .. } | Self::Bind { .. } => true,
            Self::Patch { subresource, .. } => *subresource == "status",
            Self::Update { .. } => false,
        }
    }
}

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Makes sure that the key is reconciled again at `at` or earlier.
    pub fn requeue(&mut self, at: Timestamp) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// An event to record about an object. The recorder counts repeats up instead of writing new objects.
#[derive(Debug, Clone)]
pub struct EventDraft {
    /// About what.
    pub about: Key,
    /// Its uid.
    pub uid: String,
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// E.g. `ScalingReplicaSet`.
    pub reason: &'static str,
    /// E.g. `Scaled up replica set web-5d to 3`.
    pub message: String,
}
