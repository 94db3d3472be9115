//! Pure bookkeeping of what happened to a pod: observations go into its facts, and the facts give restart delays.

use skiff_shared::pod::{Pod, RestartPolicy};
use skiff_shared::report::Terminated;

use super::sysctls;
use super::view::{ObservedPod, Role, Seen, roles};
use crate::ledger::facts::{ContainerFacts, Failure, PodFacts};

/// The reason of a pod that was given up for what it took of its node.
pub const EVICTED: &str = "Evicted";
/// The reason of an end that nobody saw.
pub const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// First delay before a restart, milliseconds (kubelet: 10 s).
const BACKOFF_FIRST_MS: u64 = 10_000;
/// Longest delay before a restart, milliseconds (kubelet: 5 min).
const BACKOFF_MAX_MS: u64 = 300_000;
/// A container that ran this long since its restart starts over with the first delay, milliseconds (kubelet: 10 min).
const BACKOFF_RESET_MS: i64 = 600_000;

/// Puts what was observed into the facts: attempts, ends, lost containers, and a deadline that has passed.
pub fn absorb(pod: &Pod, facts: &mut PodFacts, observed: &ObservedPod, now_ms: i64) {
    if facts.start_ms == 0 {
        facts.start_ms = now_ms;
    }
    let sandbox = facts.sandbox;
    for (container, _) in roles(pod) {
        let newest = observed.newest(&container.name);
        let known = facts.containers.contains_key(&container.name);
        if newest.is_some() || known {
            let entry = facts.containers.entry(container.name.clone()).or_default();
            absorb_container(entry, newest, sandbox, now_ms);
            adopt_previous(entry, observed, &container.name);
        }
    }
    if facts.failed.is_none() && pod.deletion.is_none() {
        facts.failed = sysctls::refusal(pod);
    }
    if facts.failed.is_none() && deadline_ms(pod, facts).is_some_and(|at| at <= now_ms) && !finished(pod, facts) {
        facts.failed = Some(Failure {
            reason: "DeadlineExceeded".to_owned(),
            message: "Pod was active on the node longer than the specified deadline".to_owned(),
        });
    }
}

fn absorb_container(entry: &mut ContainerFacts, newest: Option<&Seen>, sandbox: u32, now_ms: i64) {
    if let Some(seen) = newest
        && entry.attempt.is_none_or(|known| known < seen.attempt)
    {
        // The agent died between making it and writing that down.
        entry.last = entry.ended.take();
        entry.attempt = Some(seen.attempt);
        entry.sandbox = sandbox;
    }
    match newest.filter(|seen| Some(seen.attempt) == entry.attempt) {
        Some(seen) => {
            entry.container_id.clone_from(&seen.id);
            if entry.ended.is_none() {
                entry.ended.clone_from(&seen.ended);
            }
        }
        None if entry.attempt.is_some() && entry.ended.is_none() => entry.ended = Some(lost(entry, now_ms)),
        None => {}
    }
}

fn adopt_previous(entry: &mut ContainerFacts, observed: &ObservedPod, name: &str) {
    if entry.last.is_none()
        && let Some(before) = entry.attempt.and_then(|n| n.checked_sub(1))
    {
        let previous = observed.containers.iter().find(|c| c.name == name && c.attempt == before);
        entry.last = previous.and_then(|c| c.ended.clone());
    }
}

fn lost(entry: &ContainerFacts, now_ms: i64) -> Terminated {
    Terminated {
        exit_code: 137,
        reason: STATUS_UNKNOWN.to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
        started_ms: 0,
        finished_ms: now_ms,
        container_id: format!("podman://{}", entry.container_id),
    }
}

/// When the pod's `activeDeadlineSeconds` have passed, Unix milliseconds.
pub fn deadline_ms(pod: &Pod, facts: &PodFacts) -> Option<i64> {
    let seconds = i64::try_from(pod.active_deadline_seconds?).unwrap_or(i64::MAX / 2000);
    Some(facts.start_ms.saturating_add(seconds.saturating_mul(1000)))
}

/// Number of a container's next attempt.
pub fn next_attempt(facts: &PodFacts, name: &str) -> u32 {
    facts.containers.get(name).and_then(|c| c.attempt).map_or(0, |n| n.saturating_add(1))
}

/// A new attempt of a container was made, in the sandbox of this number.
pub fn began(facts: &mut PodFacts, name: &str, id: &str, image_id: &str, sandbox: u32, now_ms: i64) {
    let attempt = next_attempt(facts, name);
    let entry = facts.containers.entry(name.to_owned()).or_default();
    if let Some(ended) = entry.ended.take() {
        let fresh = entry.backoff_ms == 0 || ended.finished_ms - entry.backoff_set_ms > BACKOFF_RESET_MS;
        entry.backoff_ms = if fresh { BACKOFF_FIRST_MS } else { (entry.backoff_ms * 2).min(BACKOFF_MAX_MS) };
        entry.backoff_set_ms = now_ms;
        entry.last = Some(ended);
    }
    entry.attempt = Some(attempt);
    entry.sandbox = sandbox;
    id.clone_into(&mut entry.container_id);
    image_id.clone_into(&mut entry.image_id);
}

/// The newest attempt could not be started: it counts as ended.
pub fn start_failed(facts: &mut PodFacts, name: &str, message: &str, now_ms: i64) {
    if let Some(entry) = facts.containers.get_mut(name) {
        entry.ended = Some(Terminated {
            exit_code: 128,
            reason: "StartError".to_owned(),
            message: message.to_owned(),
            started_ms: 0,
            finished_ms: now_ms,
            container_id: format!("podman://{}", entry.container_id),
        });
    }
}

/// Until when the next restart has to wait (Unix milliseconds) and the delay (milliseconds); `None` for not at all.
pub fn restart_wait(facts: &ContainerFacts) -> Option<(i64, u64)> {
    let ended = facts.ended.as_ref()?;
    if facts.backoff_ms == 0 || ended.finished_ms - facts.backoff_set_ms > BACKOFF_RESET_MS {
        return None;
    }
    let delay = i64::try_from(facts.backoff_ms).unwrap_or(i64::MAX / 2);
    Some((ended.finished_ms.saturating_add(delay), facts.backoff_ms))
}

/// Whether a container that ended so is to be started again, by policy.
pub fn restarts(policy: RestartPolicy, role: Role, ended: &Terminated) -> bool {
    let failed = ended.exit_code != 0;
    match (role, policy) {
        (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
        (Role::Main, RestartPolicy::OnFailure) => failed,
        (Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure) => failed,
        (Role::Init | Role::Main, RestartPolicy::Never) | (Role::Ephemeral, _) => false,
    }
}

/// Whether an init container has done its work in the sandbox of this number.
pub fn init_done(facts: &PodFacts, name: &str, sandbox: u32) -> bool {
    let entry = facts.containers.get(name);
    entry.is_some_and(|c| c.sandbox == sandbox && c.ended.as_ref().is_some_and(|e| e.exit_code == 0))
}

/// Whether the pod's own containers have begun in the sandbox of this number, so that initialisation is over.
pub fn initialized(pod: &Pod, facts: &PodFacts, sandbox: u32) -> bool {
    let begun = |name: &str| facts.containers.get(name).is_some_and(|c| c.attempt.is_some() && c.sandbox == sandbox);
    pod.init_containers.is_empty() || pod.containers.iter().any(|c| begun(&c.name))
}

/// Whether the pod has come to its end: nothing of it will be started again.
pub fn finished(pod: &Pod, facts: &PodFacts) -> bool {
    let ended = |name: &str| facts.containers.get(name).and_then(|c| c.ended.as_ref());
    let over = |name: &str| ended(name).is_some_and(|e| !restarts(pod.restart_policy, Role::Main, e));
    let init_failed =
        |name: &str| pod.restart_policy == RestartPolicy::Never && ended(name).is_some_and(|e| e.exit_code != 0);
    pod.init_containers.iter().any(|c| !c.sidecar && init_failed(&c.name))
        || pod.containers.iter().all(|c| over(&c.name))
}
