//! What can be decided to be done.

use skiff_shared::pod::ProbeKind;

use crate::podman::Limits;
use crate::pods::probes::Why;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Set up the volumes, or bring them up to date.
    MountVolumes,
    /// See whether volumes hold more than they may.
    MeasureVolumes,
    /// Make the sandbox.
    CreateSandbox,
    /// Start the sandbox's infra container.
    StartSandbox {
        /// Its id or name.
        infra: String,
    },
    /// Ask for the running sandbox's address.
    FindAddress {
        /// The infra container's id or name.
        infra: String,
    },
    /// Stop the infra container of a pod that came to its end.
    StopSandbox {
        /// Its id or name.
        infra: String,
    },
    /// Remove the sandbox and every container in it.
    RemoveSandbox {
        /// Id of Podman's pod.
        pod_id: String,
    },
    /// Look for a container's image and pull it where needed; goes on in the background.
    EnsureImage {
        /// The container.
        container: String,
    },
    /// Make a new attempt of a container.
    Create {
        /// The container.
        container: String,
        /// Number of the attempt.
        attempt: u32,
        /// Number of the sandbox it is for.
        sandbox: u32,
        /// Id of the container whose process namespace it joins.
        joins: Option<String>,
    },
    /// Start a container that was made and never started.
    Start {
        /// The container.
        container: String,
        /// Its id.
        id: String,
    },
    /// Give a running container other limits.
    Resize {
        /// The container.
        container: String,
        /// Its id.
        id: String,
        /// The limits.
        limits: Limits,
    },
    /// Ask a container, as one of its probes says; goes on in the background.
    Probe {
        /// The container.
        container: String,
        /// Its id.
        id: String,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Call the hook that comes before a container's stop; goes on in the background.
    PreStop {
        /// The container.
        container: String,
        /// Its id.
        id: String,
        /// Seconds that it has, at most.
        grace_seconds: u32,
        /// Why it is to stop.
        why: Why,
    },
    /// Tell a container to stop.
    Signal {
        /// The container.
        container: String,
        /// Its id.
        id: String,
        /// The signal.
        signal: String,
        /// Why.
        why: Why,
    },
    /// End a container that did not stop in its time.
    Kill {
        /// The container.
        container: String,
        /// Its id.
        id: String,
    },
    /// Remove a dead container.
    Remove {
        /// Its id.
        id: String,
    },
}
