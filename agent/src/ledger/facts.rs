//! What happened to a pod on this node, as far as Podman alone could not tell it after a restart or a reboot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skiff_shared::ids::PodUid;
use skiff_shared::pod::Resources;
use skiff_shared::report::{PodCondition, Terminated};

/// The facts of one pod as they are on disk. Versions are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactsRecord {
    /// First form.
    V1(PodUid, PodFacts),
    /// With `allocated`, which is in no form of the facts themselves; written where there is any.
    V2(PodUid, PodFacts, BTreeMap<String, Resources>),
}

impl FactsRecord {
    /// The record of a pod's facts.
    pub fn new(uid: PodUid, facts: PodFacts) -> Self {
        if facts.allocated.is_empty() {
            return Self::V1(uid, facts);
        }
        let allocated = facts.allocated.clone();
        Self::V2(uid, facts, allocated)
    }

    /// The pod and its facts.
    pub fn facts(self) -> (PodUid, PodFacts) {
        match self {
            Self::V1(uid, facts) => (uid, facts),
            Self::V2(uid, facts, allocated) => (uid, PodFacts { allocated, ..facts }),
        }
    }
}

/// What happened to one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFacts {
    /// When the agent first saw it, Unix milliseconds.
    pub start_ms: i64,
    /// How often its sandbox (infra container) was started: containers of an earlier one have lost their network.
    pub sandbox: u32,
    /// Its containers by name, init containers too.
    pub containers: BTreeMap<String, ContainerFacts>,
    /// The pod was given up for this reason; its containers are never started again.
    pub failed: Option<Failure>,
    /// When its containers were first told to stop, Unix milliseconds.
    pub stop_began_ms: Option<i64>,
    /// Its conditions as last reported: their times of change.
    pub conditions: Vec<PodCondition>,
    /// What its containers were given of the node, by name, of those that ask for anything; init containers too.
    #[serde(skip)]
    pub allocated: BTreeMap<String, Resources>,
}

/// Why a pod was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `status.reason`, e.g. `DeadlineExceeded`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
}

/// What happened to one container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Number of the newest attempt (0 is the first), `None` before there was one.
    pub attempt: Option<u32>,
    /// The sandbox that the newest attempt belongs to.
    pub sandbox: u32,
    /// Id of the newest attempt's container.
    pub container_id: String,
    /// Its image's id or digest.
    pub image_id: String,
    /// How the newest attempt ended, once it did.
    pub ended: Option<Terminated>,
    /// How the attempt before it ended.
    pub last: Option<Terminated>,
    /// Delay that the next restart has to wait for, counted from the end of the newest attempt; 0 for none.
    pub backoff_ms: u64,
    /// When that delay was last set (the time of the restart), Unix milliseconds.
    pub backoff_set_ms: i64,
}
