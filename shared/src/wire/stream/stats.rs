//! What a node and its pods use, as its agent measures it when it is asked.

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;

/// What a machine uses, and what each of its pods does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStats {
    /// When it was measured, Unix milliseconds.
    pub at_ms: i64,
    /// When the machine was started, Unix milliseconds.
    pub started_ms: i64,
    /// Memory that could be given out without swapping, bytes.
    pub available_bytes: u64,
    /// All of the machine.
    pub usage: Usage,
    /// Running containers.
    pub containers: Vec<ContainerStats>,
}

/// What one container uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// Its pod.
    pub pod: PodUid,
    /// Its name.
    pub name: String,
    /// When it was started, Unix milliseconds.
    pub started_ms: i64,
    /// What it uses.
    pub usage: Usage,
}

/// CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time used so far, nanoseconds.
    pub cpu_ns: u64,
    /// Memory in use, caches included, bytes.
    pub memory_bytes: u64,
    /// Memory in use that cannot be given up at once, bytes.
    pub working_set_bytes: u64,
    /// Anonymous memory, bytes.
    pub rss_bytes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.working_set_bytes = self.working_set_bytes.saturating_add(other.working_set_bytes);
        self.rss_bytes = self.rss_bytes.saturating_add(other.rss_bytes);
    }
}
