//! Probes and hooks of a pod's containers: when each is due, and what came of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use skiff_shared::pod::{HookKind, Pod, Probe, ProbeKind, RestartPolicy};

use super::view::{ObservedPod, Seen};
use crate::podman::RunState;

/// What is known of the probes and hooks of running containers. An agent that was restarted asks anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// By container name and kind.
    probes: BTreeMap<(String, ProbeKind), Probing>,
    /// Containers that ran and were ready before the agent's start, by id: they stay so until a probe says otherwise.
    adopted: BTreeSet<String>,
    /// Containers whose `postStart` hook was called, by id: whether it failed already.
    post_starts: BTreeMap<String, bool>,
    /// Containers whose `preStop` hook was called, by id.
    pre_stops: BTreeMap<String, PreStop>,
}

/// One probe of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Probing {
    /// The container that was asked.
    id: String,
    /// It is being asked.
    busy: bool,
    /// When it is to be asked next, Unix milliseconds.
    due_ms: i64,
    /// The last answer, and how often it came in a row.
    last: Option<bool>,
    run: u32,
    /// What so many answers in a row amount to.
    verdict: Option<bool>,
}

/// A call of a `preStop` hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreStop {
    /// When it was called, Unix milliseconds.
    pub began_ms: i64,
    /// Whether it has come to its end.
    pub done: bool,
}

impl Checks {
    /// These containers were ready before the agent's start.
    pub fn adopt(&mut self, observed: &ObservedPod) {
        self.adopted = observed.alive().map(|c| c.id.clone()).collect();
    }

    /// Forgets containers that are no longer there.
    pub fn retain(&mut self, alive: impl Fn(&String) -> bool) {
        self.probes.retain(|_, probing| alive(&probing.id));
        self.adopted.retain(&alive);
        self.post_starts.retain(|id, _| alive(id));
        self.pre_stops.retain(|id, _| alive(id));
    }

    /// A container is asked from now on.
    pub fn asked(&mut self, probe: &Probe, id: &str, now_ms: i64) {
        let probing = self.probes.entry((probe.container.clone(), probe.kind)).or_default();
        if probing.id != id {
            *probing = Probing { id: id.to_owned(), ..Probing::default() };
        }
        probing.busy = true;
        probing.due_ms = now_ms.saturating_add(seconds_ms(probe.period_seconds));
    }

    /// A container answered; `None` is no answer, which counts for nothing.
    pub fn answered(&mut self, probe: &Probe, id: &str, good: Option<bool>) {
        let Some(probing) = self.probes.get_mut(&(probe.container.clone(), probe.kind)).filter(|p| p.id == id) else {
            return;
        };
        probing.busy = false;
        let Some(good) = good else { return };
        probing.run = if probing.last == Some(good) { probing.run.saturating_add(1) } else { 1 };
        probing.last = Some(good);
        if probing.run >= if good { probe.success_threshold } else { probe.failure_threshold } {
            probing.verdict = Some(good);
        }
    }

    /// A container's `postStart` hook is being called.
    pub fn post_start_called(&mut self, id: &str) {
        self.post_starts.insert(id.to_owned(), false);
    }

    /// A container's `postStart` hook has come to its end.
    pub fn post_start_ended(&mut self, id: &str, good: bool) {
        if good {
            self.post_starts.remove(id);
        } else {
            self.post_starts.insert(id.to_owned(), true);
        }
    }

    /// Whether a container's `postStart` hook is being called (`false`) or failed (`true`).
    pub fn post_start(&self, id: &str) -> Option<bool> {
        self.post_starts.get(id).copied()
    }

    /// A container's `preStop` hook is being called.
    pub fn pre_stop_called(&mut self, id: &str, now_ms: i64) {
        self.pre_stops.insert(id.to_owned(), PreStop { began_ms: now_ms, done: false });
    }

    /// A container's `preStop` hook has come to its end.
    pub fn pre_stop_ended(&mut self, id: &str) {
        if let Some(hook) = self.pre_stops.get_mut(id) {
            hook.done = true;
        }
    }

    /// The call of a container's `preStop` hook, once there was one.
    pub fn pre_stop(&self, id: &str) -> Option<PreStop> {
        self.pre_stops.get(id).copied()
    }

    fn probing(&self, container: &str, kind: ProbeKind, id: &str) -> Option<&Probing> {
        self.probes.get(&(container.to_owned(), kind)).filter(|probing| probing.id == id)
    }

    fn verdict(&self, kind: ProbeKind, seen: &Seen) -> Option<bool> {
        let said = self.probing(&seen.name, kind, &seen.id).and_then(|probing| probing.verdict);
        said.or_else(|| self.adopted.contains(&seen.id).then_some(true))
    }
}

fn seconds_ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

fn probe_of<'a>(pod: &'a Pod, container: &str, kind: ProbeKind) -> Option<&'a Probe> {
    pod.probes().find(|probe| probe.container == container && probe.kind == kind)
}

/// Whether a running container has started, as its `postStart` hook and startup probe say.
pub fn started(pod: &Pod, checks: &Checks, seen: &Seen) -> bool {
    checks.post_start(&seen.id).is_none()
        && (probe_of(pod, &seen.name, ProbeKind::Startup).is_none()
            || checks.verdict(ProbeKind::Startup, seen) == Some(true))
}

/// Whether a running container is ready.
pub fn ready(pod: &Pod, checks: &Checks, seen: &Seen) -> bool {
    started(pod, checks, seen)
        && (probe_of(pod, &seen.name, ProbeKind::Readiness).is_none()
            || checks.verdict(ProbeKind::Readiness, seen) == Some(true))
}

/// The probe for whose sake a running container has to be restarted.
pub fn failed<'a>(pod: &'a Pod, checks: &Checks, seen: &Seen) -> Option<&'a Probe> {
    [ProbeKind::Liveness, ProbeKind::Startup]
        .into_iter()
        .filter(|kind| checks.verdict(*kind, seen) == Some(false))
        .find_map(|kind| probe_of(pod, &seen.name, kind))
}

/// Which containers are to be asked now, by id, and when the next ones are (Unix milliseconds). A pod that is `ending`
/// is asked only whether it is ready.
pub fn due<'a>(
    pod: &'a Pod,
    checks: &Checks,
    observed: &ObservedPod,
    ending: bool,
    now_ms: i64,
) -> (Vec<(&'a Probe, String)>, Option<i64>) {
    let (mut now, mut next) = (Vec::new(), None);
    for probe in pod.probes().filter(|probe| !ending || probe.kind == ProbeKind::Readiness) {
        let Some(seen) = observed.newest(&probe.container).filter(|c| c.state == RunState::Running) else { continue };
        let probing = checks.probing(&probe.container, probe.kind, &seen.id);
        let in_turn = (probe.kind == ProbeKind::Startup) != started(pod, checks, seen);
        let held = checks.post_start(&seen.id).is_some() || failed(pod, checks, seen).is_some();
        if !in_turn || held || probing.is_some_and(|p| p.busy) {
            continue;
        }
        let first_ms = seen.started_ms.saturating_add(seconds_ms(probe.initial_delay_seconds));
        match probing.map_or(first_ms, |p| p.due_ms) {
            at if at <= now_ms => now.push((probe, seen.id.clone())),
            at => next = Some(next.map_or(at, |have: i64| have.min(at))),
        }
    }
    (now, next)
}

/// Why a container is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its pod comes to an end.
    End,
    /// Its spec changed.
    Changed,
    /// A probe failed.
    Probe(ProbeKind),
    /// Its `postStart` hook failed.
    PostStart,
}

impl Why {
    /// A kubelet's words for it.
    pub fn message(self, pod: &Pod, container: &str) -> String {
        let then = if pod.restart_policy == RestartPolicy::Never { "" } else { ", will be restarted" };
        match self {
            Self::End => format!("Stopping container {container}"),
            Self::Changed => format!("Container {container} definition changed{then}"),
            Self::Probe(kind) => format!("Container {container} failed {} probe{then}", name(kind).to_lowercase()),
            Self::PostStart => "FailedPostStartHook".to_owned(),
        }
    }
}

/// A kind of probe as events name it.
pub fn name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Readiness => "Readiness",
        ProbeKind::Liveness => "Liveness",
    }
}

/// Whether a container's stop begins with a call of its hook.
pub fn has_pre_stop(pod: &Pod, container: &str) -> bool {
    pod.hook(container, HookKind::PreStop).is_some()
}
