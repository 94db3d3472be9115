//! What to do next about one pod: a pure function of what is wanted, what happened and what is there.
//!
//! Kept by the property tests: deciding twice gives the same; acting on decisions comes to rest; a container that
//! ended or runs is never started; of a pod that is being deleted nothing is made or started.

mod action;

use skiff_shared::pod::{Container, HookKind, Namespace, Pod, Probe, RestartOnResize};

pub use action::Action;

use super::build;
use super::env::needs_pod_ip;
use super::history::{EVICTED, deadline_ms, finished, init_done, initialized, next_attempt, restart_wait, restarts};
use super::probes::{self, Why};
use super::view::{ImageState, ObservedPod, Progress, Role, Sandbox, Seen, roles};
use crate::ledger::facts::{ContainerFacts, PodFacts};
use crate::podman::RunState;
use crate::volumes::usage;

/// A kill that did not help is repeated after this long, milliseconds.
const KILL_AGAIN_MS: i64 = 10_000;
/// A sidecar whose turn to stop comes late has at least this long, milliseconds (kubelet: 2 s).
const LEAST_GRACE_MS: i64 = 2_000;
/// The containers of a pod that is evicted have so long to stop (kubelet: 1 s).
const EVICTION_GRACE_SECONDS: u32 = 1;
/// A sandbox that cannot be started so often in a row is made anew.
const SANDBOX_TRIES: u32 = 3;

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What is wanted, with the resources that it was given.
    pub pod: &'a Pod,
    /// What happened, observations included (see `history::absorb`).
    pub facts: &'a PodFacts,
    /// What is there.
    pub observed: &'a ObservedPod,
    /// What is going on.
    pub progress: &'a Progress,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
}

/// What to do now and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Independent of each other: they may run at the same time.
    pub actions: Vec<Action>,
    /// When something is due without any event, Unix milliseconds.
    pub wake_ms: Option<i64>,
    /// Containers that wait out a restart delay.
    pub backing_off: Vec<String>,
    /// The pod was to be deleted and nothing of it is left.
    pub gone: bool,
}

impl Decision {
    fn wake(&mut self, at_ms: i64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |have| have.min(at_ms)));
    }
}

/// Decides what to do next.
pub fn decide(input: &Input<'_>) -> Decision {
    let mut decision = Decision::default();
    if let Some(deletion) = input.pod.deletion {
        tear_down(input, deletion.grace_seconds, &mut decision);
    } else if input.facts.failed.is_some() || finished(input.pod, input.facts) {
        wind_down(input, &mut decision);
    } else {
        run(input, &mut decision);
    }
    probe(input, &mut decision);
    decision
}

/// Asks the containers whose probes are due.
fn probe(input: &Input<'_>, decision: &mut Decision) {
    let ending = input.pod.deletion.is_some() || input.facts.failed.is_some();
    let (now, next) = probes::due(input.pod, &input.progress.checks, input.observed, ending, input.now_ms);
    let ask =
        |(probe, id): (&Probe, String)| Action::Probe { container: probe.container.clone(), id, kind: probe.kind };
    decision.actions.extend(now.into_iter().map(ask));
    if let Some(at) = next {
        decision.wake(at);
    }
}

/// The pod is being deleted: stop everything, remove everything, then it is gone.
fn tear_down(input: &Input<'_>, grace_seconds: u32, decision: &mut Decision) {
    let observed = input.observed;
    if stop_alive(input, grace_seconds, decision) {
        return;
    }
    match &observed.sandbox {
        Some(sandbox) => decision.actions.push(Action::RemoveSandbox { pod_id: sandbox.pod_id.clone() }),
        None => {
            let remove = |c: &Seen| Action::Remove { id: c.id.clone() };
            decision.actions.extend(observed.containers.iter().map(remove));
        }
    }
    decision.gone = observed.is_empty();
}

/// The pod came to its end: stop what still runs, keep the dead containers for their logs.
fn wind_down(input: &Input<'_>, decision: &mut Decision) {
    let evicted = input.facts.failed.as_ref().is_some_and(|failure| failure.reason == EVICTED);
    let grace_seconds = if evicted { EVICTION_GRACE_SECONDS } else { input.pod.termination_grace_seconds };
    if stop_alive(input, grace_seconds, decision) {
        return;
    }
    if let Some(Sandbox { infra: Some(infra), state: RunState::Running, .. }) = &input.observed.sandbox {
        decision.actions.push(Action::StopSandbox { infra: infra.clone() });
    }
    prune(input, decision);
}

/// The pod is to run.
fn run(input: &Input<'_>, decision: &mut Decision) {
    if let Some(at) = deadline_ms(input.pod, input.facts) {
        decision.wake(at);
    }
    if let Some(at) = input.progress.resize.as_ref().and_then(|pending| pending.retry_ms) {
        decision.wake(at);
    }
    mount_volumes(input, decision);
    measure_volumes(input, decision);
    // Containers of a dead sandbox have lost their network: they go before a new one comes.
    let usable = input
        .observed
        .sandbox
        .as_ref()
        .is_some_and(|s| s.infra.is_some() && matches!(s.state, RunState::Created | RunState::Running));
    if !usable && stop_alive(input, input.pod.termination_grace_seconds, decision) {
        return;
    }
    if advance_sandbox(input, decision) {
        for (container, role) in candidates(input) {
            advance(input, container, role, decision);
        }
    }
    prune(input, decision);
}

/// Sets up volumes while the sandbox is made; they are brought up to date for as long as the pod runs.
fn mount_volumes(input: &Input<'_>, decision: &mut Decision) {
    if input.pod.volumes().next().is_none() {
        return;
    }
    let volumes = &input.progress.volumes;
    let due_ms = match &volumes.problem {
        _ if volumes.asked => None,
        Some(problem) => Some(problem.retry_ms),
        None if volumes.stale || !volumes.ready => Some(input.now_ms),
        None => volumes.refresh_ms,
    };
    match due_ms {
        Some(at) if at > input.now_ms => decision.wake(at),
        Some(_) => decision.actions.push(Action::MountVolumes),
        None => {}
    }
}

/// Measures volumes of limited size from time to time.
fn measure_volumes(input: &Input<'_>, decision: &mut Decision) {
    let volumes = &input.progress.volumes;
    if volumes.ready && input.pod.volumes().any(|volume| usage::limited(volume).is_some()) {
        match volumes.measure_ms {
            Some(at) if at > input.now_ms => decision.wake(at),
            Some(_) | None => decision.actions.push(Action::MeasureVolumes),
        }
    }
}

/// Whether containers can be made as far as the volumes are concerned.
fn has_volumes(input: &Input<'_>) -> bool {
    input.progress.volumes.ready || input.pod.volumes().next().is_none()
}

/// Number of the sandbox that a container made now belongs to.
fn generation(input: &Input<'_>) -> u32 {
    if input.observed.sandbox_runs() { input.facts.sandbox } else { input.facts.sandbox.saturating_add(1) }
}

/// Containers whose turn it is: init containers one by one, then all of the others; ephemeral ones at any time.
fn candidates<'a>(input: &Input<'a>) -> Vec<(&'a Container, Role)> {
    let (pod, facts) = (input.pod, input.facts);
    let sandbox = generation(input);
    if initialized(pod, facts, sandbox) {
        return roles(pod).filter(|(_, role)| *role != Role::Init).collect();
    }
    let mut turn: Vec<_> = roles(pod).filter(|(_, role)| *role == Role::Ephemeral).collect();
    for (container, role) in roles(pod).filter(|(_, role)| *role != Role::Ephemeral) {
        let passed = match role {
            Role::Init => init_done(facts, &container.name, sandbox),
            Role::Sidecar => {
                turn.push((container, role));
                let running = input.observed.newest(&container.name).filter(|c| c.state == RunState::Running);
                running.is_some_and(|c| probes::started(pod, &input.progress.checks, c))
            }
            Role::Main | Role::Ephemeral => true,
        };
        if role == Role::Main || (role == Role::Init && !passed) {
            turn.push((container, role));
        }
        if !passed {
            break;
        }
    }
    turn
}

/// Takes the sandbox one step further; `false` where nothing can be done about containers meanwhile.
fn advance_sandbox(input: &Input<'_>, decision: &mut Decision) -> bool {
    let problem = input.progress.sandbox_problem.as_ref();
    if let Some(problem) = problem.filter(|p| p.retry_ms > input.now_ms)
        && !input.observed.sandbox_runs()
    {
        decision.wake(problem.retry_ms);
        return false;
    }
    let hopeless = problem.is_some_and(|p| p.failures >= SANDBOX_TRIES);
    match &input.observed.sandbox {
        None if input.progress.awaits_network => return false,
        None => decision.actions.push(Action::CreateSandbox),
        Some(Sandbox { state: RunState::Running, infra: Some(infra), .. }) => {
            if lacks_address(input) {
                decision.actions.push(Action::FindAddress { infra: infra.clone() });
            }
        }
        Some(Sandbox { state: RunState::Stopping, .. }) => return false,
        Some(Sandbox { infra: Some(infra), .. }) if !hopeless => {
            decision.actions.push(Action::StartSandbox { infra: infra.clone() });
        }
        Some(sandbox) => {
            decision.actions.push(Action::RemoveSandbox { pod_id: sandbox.pod_id.clone() });
            return false;
        }
    }
    true
}

/// Whether the pod's own address is not known yet.
fn lacks_address(input: &Input<'_>) -> bool {
    let address = input.observed.sandbox.as_ref().map_or("", |s| &s.ip);
    !input.pod.host_network && (address.is_empty() || !input.observed.sandbox_runs())
}

/// Takes one container a step further.
fn advance(input: &Input<'_>, container: &Container, role: Role, decision: &mut Decision) {
    let facts = input.facts.containers.get(&container.name);
    let attempt = facts.and_then(|f| f.attempt);
    let newest = input.observed.newest(&container.name).filter(|c| Some(c.attempt) == attempt);
    match newest.map(|c| (c, c.state)) {
        Some((seen, RunState::Running)) => match fault(input, container, seen) {
            Some((why, grace_seconds)) => stop(input, seen, grace_seconds, why, decision),
            None => resize(input, container, seen, decision),
        },
        Some((_, RunState::Stopping)) => {}
        Some((seen, RunState::Created)) if facts.is_some_and(|f| f.ended.is_none()) => {
            if !seen.joins.is_empty() && !runs(input, &seen.joins) {
                // Starting it would make Podman start what it joins, which has ended.
                decision.actions.push(Action::Remove { id: seen.id.clone() });
            } else if input.observed.sandbox_runs() && !lacks_address(input) && !held_back(input, container, role) {
                // Its hosts file names the pod's address.
                decision.actions.push(Action::Start { container: container.name.clone(), id: seen.id.clone() });
            }
        }
        Some((_, RunState::Created | RunState::Exited)) | None => {
            if may_start(input, container, role, facts, decision) {
                make(input, container, decision);
            }
        }
    }
}

/// Whether a container waits for the `postStart` hook of one before it: a kubelet starts them one by one.
fn held_back(input: &Input<'_>, container: &Container, role: Role) -> bool {
    let before = input.pod.containers.iter().take_while(|c| c.name != container.name);
    let hooked = |c: &&Container| input.pod.hook(&c.name, HookKind::PostStart).is_some();
    let pending = |c: &Container| {
        let facts = input.facts.containers.get(&c.name);
        let fails = input.progress.problems.contains_key(&c.name)
            || matches!(input.progress.images.get(&c.name), Some(ImageState::Failed(_) | ImageState::Busy(Some(_))));
        match input.observed.newest(&c.name) {
            Some(seen) if seen.state == RunState::Running => input.progress.checks.post_start(&seen.id) == Some(false),
            Some(seen) => seen.state == RunState::Created && !fails && facts.is_none_or(|f| f.ended.is_none()),
            None => !fails && facts.is_none_or(|f| f.ended.is_none()),
        }
    };
    role == Role::Main && before.filter(hooked).any(pending)
}

/// Why a running container is to make way for its next attempt, and with how much grace, seconds.
fn fault(input: &Input<'_>, container: &Container, seen: &Seen) -> Option<(Why, u32)> {
    let (pod, checks) = (input.pod, &input.progress.checks);
    let grace_seconds = pod.termination_grace_seconds;
    if seen.image != container.image {
        return Some((Why::Changed, grace_seconds));
    }
    if checks.post_start(&seen.id) == Some(true) {
        return Some((Why::PostStart, grace_seconds));
    }
    let probe = probes::failed(pod, checks, seen)?;
    Some((Why::Probe(probe.kind), probe.grace_seconds.unwrap_or(grace_seconds)))
}

/// Brings what a running container may use up to date, by a restart where its policy says so.
fn resize(input: &Input<'_>, container: &Container, seen: &Seen, decision: &mut Decision) {
    let limits = build::limits(&container.resources);
    if seen.limits == Some(limits) {
        return;
    }
    let had = seen.limits.unwrap_or(limits);
    let cpu = (had.cpu_shares, had.cpu_quota_us) != (limits.cpu_shares, limits.cpu_quota_us);
    let memory = had.memory_bytes != limits.memory_bytes;
    let restarts = |policy: &RestartOnResize| (policy.cpu && cpu) || (policy.memory && memory);
    if input.pod.restart_on_resize(&container.name).is_some_and(restarts) {
        return stop(input, seen, input.pod.termination_grace_seconds, Why::Changed, decision);
    }
    match input.progress.problems.get(&container.name) {
        Some(problem) if problem.retry_ms > input.now_ms => decision.wake(problem.retry_ms),
        Some(_) | None => {
            decision.actions.push(Action::Resize { container: container.name.clone(), id: seen.id.clone(), limits })
        }
    }
}

/// Whether a container that does not run is to get a new attempt now.
fn may_start(
    input: &Input<'_>,
    container: &Container,
    role: Role,
    facts: Option<&ContainerFacts>,
    decision: &mut Decision,
) -> bool {
    let Some(facts) = facts.filter(|f| f.attempt.is_some()) else { return true };
    let Some(ended) = &facts.ended else { return false };
    // A new sandbox needs its init containers run again, whatever they did in the last one.
    let again = role == Role::Init && facts.sandbox != generation(input);
    if !again && !restarts(input.pod.restart_policy, role, ended) {
        return false;
    }
    // An end in the future means that the clock was set back: waiting for it could take for ever.
    match restart_wait(facts).filter(|_| ended.finished_ms <= input.now_ms) {
        Some((until, _)) if until > input.now_ms => {
            decision.wake(until);
            decision.backing_off.push(container.name.clone());
            false
        }
        Some(_) | None => true,
    }
}

/// Gets the image, then makes the container.
fn make(input: &Input<'_>, container: &Container, decision: &mut Decision) {
    if let Some(problem) = input.progress.problems.get(&container.name)
        && problem.retry_ms > input.now_ms
    {
        decision.wake(problem.retry_ms);
        return;
    }
    let name = &container.name;
    match input.progress.images.get(name) {
        None => decision.actions.push(Action::EnsureImage { container: name.clone() }),
        Some(ImageState::Busy(_)) => {}
        Some(ImageState::Failed(failure)) if failure.retry_ms > input.now_ms => decision.wake(failure.retry_ms),
        Some(ImageState::Failed(_)) => decision.actions.push(Action::EnsureImage { container: name.clone() }),
        Some(ImageState::Ready) if !has_volumes(input) => {}
        // An environment with the pod's address has to wait for it; everything else is made while the sandbox starts.
        Some(ImageState::Ready) if needs_pod_ip(container) && lacks_address(input) => {}
        Some(ImageState::Ready) if input.observed.sandbox.is_some() => {
            let Some(joins) = joins(input, name) else { return };
            decision.actions.push(Action::Create {
                container: name.clone(),
                attempt: next_attempt(input.facts, name),
                sandbox: generation(input),
                joins,
            });
        }
        Some(ImageState::Ready) => {}
    }
}

/// The container whose process namespace a new container joins, if any; `None` while that does not run yet.
fn joins(input: &Input<'_>, name: &str) -> Option<Option<String>> {
    let target = input.pod.ephemeral().find(|e| e.container.name == name).and_then(|e| e.target.as_deref());
    let target = target.filter(|_| input.pod.pids() == Namespace::Container);
    let Some(target) = target else { return Some(None) };
    input.observed.newest(target).filter(|c| c.state == RunState::Running).map(|c| Some(c.id.clone()))
}

/// Whether the container of this id runs.
fn runs(input: &Input<'_>, id: &str) -> bool {
    input.observed.alive().any(|c| c.id == id)
}

/// Stops every container that is alive; `false` where there is none.
fn stop_alive(input: &Input<'_>, grace_seconds: u32, decision: &mut Decision) -> bool {
    let alive: Vec<&Seen> = input.observed.alive().collect();
    for seen in &alive {
        if grace_seconds == 0 || stops_now(input.pod, seen, &alive) {
            stop(input, seen, grace_seconds, Why::End, decision);
        }
    }
    !alive.is_empty()
}

/// Whether it is a container's turn to stop. Sidecars serve the others to their end, and stop in reverse order.
fn stops_now(pod: &Pod, seen: &Seen, alive: &[&Seen]) -> bool {
    let rank = |name: &str| pod.init_containers.iter().position(|c| c.sidecar && c.name == name);
    rank(&seen.name).is_none_or(|own| alive.iter().all(|other| rank(&other.name).is_some_and(|rank| rank <= own)))
}

/// One step of stopping: the hook, the signal, the grace, the kill.
fn stop(input: &Input<'_>, seen: &Seen, grace_seconds: u32, why: Why, decision: &mut Decision) {
    if grace_seconds == 0 {
        return kill(input, seen, input.now_ms, decision);
    }
    let (container, id) = (seen.name.clone(), seen.id.clone());
    let grace_ms = i64::from(grace_seconds) * 1000;
    let hook = input.progress.checks.pre_stop(&seen.id);
    let Some(told) = input.progress.signalled.get(&seen.id).copied() else {
        match hook {
            None if probes::has_pre_stop(input.pod, &seen.name) => {
                return decision.actions.push(Action::PreStop { container, id, grace_seconds, why });
            }
            // It has the time of the whole stop.
            Some(hook) if !hook.done && hook.began_ms.saturating_add(grace_ms) > input.now_ms => {
                return decision.wake(hook.began_ms.saturating_add(grace_ms));
            }
            Some(_) | None => {}
        }
        let signal = if seen.stop_signal.is_empty() { "SIGTERM" } else { &seen.stop_signal };
        return decision.actions.push(Action::Signal { container, id, signal: signal.to_owned(), why });
    };
    let began = hook.map_or(told, |hook| hook.began_ms.min(told));
    // A deletion that began before the agent's last restart goes on from there.
    let first = input.facts.stop_began_ms.filter(|_| why == Why::End);
    let began = first.map_or(began, |first| first.min(began));
    let due_ms = began.saturating_add(grace_ms).max(told.saturating_add(grace_ms.min(LEAST_GRACE_MS)));
    kill(input, seen, due_ms, decision);
}

fn kill(input: &Input<'_>, seen: &Seen, due_ms: i64, decision: &mut Decision) {
    let due_ms = input.progress.killed.get(&seen.id).map_or(due_ms, |at| at.saturating_add(KILL_AGAIN_MS));
    if due_ms > input.now_ms {
        decision.wake(due_ms);
    } else {
        decision.actions.push(Action::Kill { container: seen.name.clone(), id: seen.id.clone() });
    }
}

/// Removes dead containers but the newest attempt and the one before it, whose log `logs --previous` shows.
fn prune(input: &Input<'_>, decision: &mut Decision) {
    for seen in &input.observed.containers {
        let newest = input.facts.containers.get(&seen.name).and_then(|f| f.attempt).unwrap_or(0);
        let dead = matches!(seen.state, RunState::Exited | RunState::Created);
        // Podman keeps a container that another one has joined.
        let joined = || input.observed.containers.iter().any(|c| c.joins == seen.id);
        if dead && seen.attempt.saturating_add(1) < newest && !joined() {
            decision.actions.push(Action::Remove { id: seen.id.clone() });
        }
    }
}
