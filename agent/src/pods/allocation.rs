//! What a pod's containers are given of the node: what the spec asks for, once the node has room for it. Pure.
//!
//! A pod that comes to the node is given what it asks for, since the scheduler has looked for room. When that is changed
//! (`resize`), the pod keeps what it was given until the node has room for what it asks for now.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_shared::pod::{Container, Pod, Resources};

use super::build;
use crate::podman::Limits;

/// A resize that waits for room is tried again this often, milliseconds.
pub const RETRY_MS: i64 = 5_000;

/// What containers were given, by name, of those that ask for anything.
pub type Allocated = BTreeMap<String, Resources>;

/// CPU and memory: of a node, or what pods take from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// A resize that the node has no room for: the `PodResizePending` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred`, or `Infeasible` where the node will never have the room.
    pub reason: &'static str,
    /// Why.
    pub message: String,
    /// When to try again, Unix milliseconds.
    pub retry_ms: Option<i64>,
}

impl Room {
    fn and(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn or(self, other: Self) -> Self {
        Self { cpu_milli: self.cpu_milli.max(other.cpu_milli), memory_bytes: self.memory_bytes.max(other.memory_bytes) }
    }

    /// What all of these take.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), Self::and)
    }
}

/// What a pod's containers ask for.
pub fn asked(pod: &Pod) -> Allocated {
    let all = pod.init_containers.iter().chain(&pod.containers);
    all.filter(|c| c.resources != Resources::default()).map(|c| (c.name.clone(), c.resources)).collect()
}

/// What a pod needs at its neediest moment, with these resources: all containers and sidecars together, or an init
/// container beside the sidecars started before it.
pub fn needs(pod: &Pod, given: &Allocated) -> Room {
    let of = |c: &Container| {
        let resources = given.get(&c.name).copied().unwrap_or_default();
        Room {
            cpu_milli: resources.cpu_request_milli.unwrap_or(0),
            memory_bytes: resources.memory_request_bytes.unwrap_or(0),
        }
    };
    let (mut sidecars, mut peak) = (Room::default(), Room::default());
    for init in &pod.init_containers {
        if init.sidecar {
            sidecars = sidecars.and(of(init));
        } else {
            peak = peak.or(sidecars.and(of(init)));
        }
    }
    sidecars.and(Room::sum(pod.containers.iter().map(of))).or(peak)
}

/// What keeps a pod from what it asks for now, where the other pods take `used` of the node's `room`.
pub fn judge(pod: &Pod, used: Room, room: Room, now_ms: i64) -> Option<Pending> {
    let wanted = needs(pod, &asked(pod));
    let resources = [
        ("cpu", wanted.cpu_milli, used.cpu_milli, room.cpu_milli),
        ("memory", wanted.memory_bytes, used.memory_bytes, room.memory_bytes),
    ];
    // Of what the node will never have, Kubernetes names memory first.
    if let Some((name, requested, _, capacity)) = resources.iter().rev().find(|(_, wanted, _, room)| wanted > room) {
        let message = format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
        return Some(Pending { reason: "Infeasible", message, retry_ms: None });
    }
    let lacks = |(_, wanted, used, room): &&(_, u64, u64, u64)| *wanted > 0 && wanted.saturating_add(*used) > *room;
    let (name, requested, used, capacity) = resources.iter().find(lacks)?;
    let message =
        format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
    Some(Pending { reason: "Deferred", message, retry_ms: Some(now_ms.saturating_add(RETRY_MS)) })
}

/// The pod with what it was given instead of what it asks for.
pub fn given(pod: &Arc<Pod>, allocated: &Allocated) -> Arc<Pod> {
    if asked(pod) == *allocated {
        return Arc::clone(pod);
    }
    let mut pod = Pod::clone(pod);
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        container.resources = allocated.get(&container.name).copied().unwrap_or_default();
    }
    Arc::new(pod)
}

/// Whether a container that was given these resources runs with others.
pub fn differs(given: &Resources, limits: Option<Limits>) -> bool {
    limits.is_some_and(|limits| limits != build::limits(given))
}

/// What a container runs with that was given these resources: as the kubelet reads it from the runtime.
pub fn actual(given: &Resources, limits: Option<Limits>) -> Resources {
    let Some(limits) = limits.filter(|_| differs(given, limits)) else { return *given };
    let own = build::limits(given);
    let mut actual = *given;
    if limits.cpu_shares != own.cpu_shares {
        let milli = limits.cpu_shares.saturating_mul(1000).div_ceil(1024);
        actual.cpu_request_milli = given.cpu_request_milli.map(|_| milli);
    }
    if limits.cpu_quota_us != own.cpu_quota_us {
        let milli = limits.cpu_quota_us.and_then(|us| u64::try_from(us / 100).ok());
        actual.cpu_limit_milli = given.cpu_limit_milli.and(milli);
    }
    if limits.memory_bytes != own.memory_bytes {
        let bytes = limits.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        actual.memory_limit_bytes = given.memory_limit_bytes.and(bytes);
    }
    actual
}
