//! A pod as it is on this machine, and what its worker knows of things in progress.

use std::collections::BTreeMap;

use skiff_shared::pod::{Container, Pod};
use skiff_shared::report::Terminated;

use super::allocation::Pending;
use super::probes::Checks;
use crate::podman::{Limits, RunState};

/// What Podman has of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its sandbox: Podman's pod with the infra container that holds the network.
    pub sandbox: Option<Sandbox>,
    /// Its containers, dead ones too, in no order.
    pub containers: Vec<Seen>,
}

/// A pod's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Id of Podman's pod.
    pub pod_id: String,
    /// Id or name of the infra container; `None` where it was removed and the rest is useless.
    pub infra: Option<String>,
    /// The infra container's state.
    pub state: RunState,
    /// Address of the pod; empty before it runs or on the host's network.
    pub ip: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Podman's id.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// The image as the spec had it when it was made.
    pub image: String,
    /// Signal that stops it gently; empty for SIGTERM.
    pub stop_signal: String,
    /// Id of the container whose process namespace it joins; empty for none.
    pub joins: String,
    /// What it may use, as far as this agent knows: as it was made or last changed. An agent that was restarted sets
    /// what was changed once more.
    pub limits: Option<Limits>,
    /// State.
    pub state: RunState,
    /// When it started, Unix milliseconds; 0 where it did not.
    pub started_ms: i64,
    /// How it ended, once it did and was looked at.
    pub ended: Option<Terminated>,
}

impl ObservedPod {
    /// The newest attempt of a container.
    pub fn newest(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().filter(|c| c.name == name).max_by_key(|c| c.attempt)
    }

    /// Containers that run or are just being stopped.
    pub fn alive(&self) -> impl Iterator<Item = &Seen> {
        self.containers.iter().filter(|c| matches!(c.state, RunState::Running | RunState::Stopping))
    }

    /// Whether the sandbox runs.
    pub fn sandbox_runs(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|s| s.state == RunState::Running)
    }

    /// Whether nothing of the pod is left.
    pub fn is_empty(&self) -> bool {
        self.sandbox.is_none() && self.containers.is_empty()
    }
}

/// What a worker knows that Podman does not and that need not outlive it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Images by container name, for the next attempt.
    pub images: BTreeMap<String, ImageState>,
    /// Containers that could not be made or started, by name.
    pub problems: BTreeMap<String, Problem>,
    /// The pod needs the node's network, whose subnet the hub has not told yet.
    pub awaits_network: bool,
    /// How far its volumes are.
    pub volumes: VolumeProgress,
    /// A resize that the node has no room for.
    pub resize: Option<Pending>,
    /// The sandbox could not be made or started.
    pub sandbox_problem: Option<Problem>,
    /// When a container was told to stop, by id, Unix milliseconds.
    pub signalled: BTreeMap<String, i64>,
    /// When a container was killed, by id, Unix milliseconds.
    pub killed: BTreeMap<String, i64>,
    /// Its probes and hooks.
    pub checks: Checks,
}

/// How far a pod's volumes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeProgress {
    /// All were set up since the agent started: containers can be made.
    pub ready: bool,
    /// What their files follow may have changed.
    pub stale: bool,
    /// A token was asked for: its answer makes them stale.
    pub asked: bool,
    /// When a token is due, Unix milliseconds.
    pub refresh_ms: Option<i64>,
    /// Some could not be set up.
    pub problem: Option<Problem>,
    /// When those of limited size are to be measured next, Unix milliseconds.
    pub measure_ms: Option<i64>,
}

/// The image of a container's next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Being looked for or pulled: wait for the task that does. Why it was not to be had the last time.
    Busy(Option<ImageFailure>),
    /// Here: the container can be made.
    Ready,
    /// Not to be had: try again at `retry_ms`.
    Failed(ImageFailure),
}

/// Why an image is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFailure {
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`, `ImageInspectError`.
    pub reason: String,
    /// The cause.
    pub message: String,
    /// When it failed, Unix milliseconds.
    pub at_ms: i64,
    /// When to try again, Unix milliseconds.
    pub retry_ms: i64,
    /// How often in a row.
    pub failures: u32,
}

/// Why a container or sandbox is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// E.g. `CreateContainerConfigError`.
    pub reason: String,
    /// The cause.
    pub message: String,
    /// When to try again, Unix milliseconds.
    pub retry_ms: i64,
    /// How often in a row.
    pub failures: u32,
}

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
    /// One of the pod's own containers.
    Main,
    /// Added to the running pod: runs once, and counts for nothing.
    Ephemeral,
}

/// Every container of a pod with its role, in the order they start.
pub fn roles(pod: &Pod) -> impl Iterator<Item = (&Container, Role)> {
    let init = pod.init_containers.iter().map(|c| (c, if c.sidecar { Role::Sidecar } else { Role::Init }));
    let ephemeral = pod.ephemeral().map(|e| (&e.container, Role::Ephemeral));
    init.chain(pod.containers.iter().map(|c| (c, Role::Main))).chain(ephemeral)
}
