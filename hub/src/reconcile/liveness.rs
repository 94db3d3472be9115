//! Which nodes have a session with the hub. The link writes it, the node life cycle reads it; nothing is stored per beat.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use skiff_shared::ids::NodeName;
use tokio::sync::watch;

/// A node's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The agent is connected: its word on its own state counts.
    Connected,
    /// No session since then: past the grace period the node's state is unknown.
    Lost(Timestamp),
}

/// Sessions by node. Shared between the link and the node life cycle.
#[derive(Debug)]
pub struct Liveness {
    started: Timestamp,
    sessions: Mutex<HashMap<String, Session>>,
    changes: watch::Sender<u64>,
}

impl Liveness {
    /// Before any session. `started` is when this hub started: nodes that were never seen count as lost since then, so
    /// that a hub that was itself away does not blame its nodes.
    pub fn new(started: Timestamp) -> Self {
        Self { started, sessions: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// When this hub started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The node's agent has a session.
    pub fn connected(&self, node: &NodeName) {
        self.set(node, Session::Connected);
    }

    /// The node's last session ended at `at`.
    pub fn lost(&self, node: &NodeName, at: Timestamp) {
        self.set(node, Session::Lost(at));
    }

    /// The node was removed from the cluster.
    pub fn forget(&self, node: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    /// The session of a node.
    pub fn state(&self, node: &str) -> Session {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(node).copied().unwrap_or(Session::Lost(self.started))
    }

    /// A wake-up without data for each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set(&self, node: &NodeName, session: Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sessions.insert(node.as_str().to_owned(), session);
        drop(sessions);
        if before != Some(session) {
            self.changes.send_modify(|version| *version += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_nodes_are_lost_since_the_start_and_changes_wake() {
        let (start, later) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(200).unwrap());
        let liveness = Liveness::new(start);
        let node = NodeName::parse("edge-1").unwrap();
        let mut changes = liveness.changes();
        assert_eq!(liveness.state("edge-1"), Session::Lost(start));
        liveness.connected(&node);
        assert_eq!(liveness.state("edge-1"), Session::Connected);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        liveness.connected(&node);
        assert!(!changes.has_changed().unwrap(), "nothing changed");
        liveness.lost(&node, later);
        assert_eq!(liveness.state("edge-1"), Session::Lost(later));
        liveness.forget("edge-1");
        assert_eq!(liveness.state("edge-1"), Session::Lost(start));
    }
}
