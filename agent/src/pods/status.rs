//! A pod's status as a kubelet would report it: pure.

use skiff_shared::pod::{Container, Pod, Resources, RestartPolicy};
use skiff_shared::report::{
    ContainerReport, ContainerResources, ContainerState, Phase, PodCondition, PodReport, Terminated,
};

use super::allocation;
use super::history::{STATUS_UNKNOWN, restart_wait, restarts};
use super::probes;
use super::view::{ImageFailure, ImageState, ObservedPod, Problem, Progress, Role, Seen, roles};
use crate::ledger::facts::PodFacts;
use crate::podman::RunState;

/// The reason of a [`Problem`] of a container that could not be given other limits.
pub const RESIZE_ERROR: &str = "ResizeError";
/// How long a failed pull is shown as what it was before it is shown as waiting, milliseconds.
pub const PULL_ERROR_SHOWN_MS: i64 = 5_000;

/// Everything a status depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What is wanted, with the resources that it was given.
    pub pod: &'a Pod,
    /// What happened.
    pub facts: &'a PodFacts,
    /// What is there.
    pub observed: &'a ObservedPod,
    /// What is going on.
    pub progress: &'a Progress,
    /// The node's address.
    pub host_ip: &'a str,
    /// Nothing of a deleted pod is left.
    pub gone: bool,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
}

/// The status.
pub fn report(input: &Input<'_>) -> PodReport {
    let (pod, facts) = (input.pod, input.facts);
    let statuses = |wanted: fn(Role) -> bool| {
        roles(pod).filter(|(_, role)| wanted(*role)).map(|(c, role)| container(input, c, role)).collect::<Vec<_>>()
    };
    let mut init_containers = statuses(|role| matches!(role, Role::Init | Role::Sidecar));
    let mut containers = statuses(|role| role == Role::Main);
    let phase = phase(input, &init_containers, &containers);
    if matches!(phase, Phase::Succeeded | Phase::Failed) {
        end_all(pod, &mut init_containers, &mut containers);
    }
    let failure = facts.failed.as_ref().filter(|_| phase == Phase::Failed);
    let (reason, message) = failure.map(|f| (f.reason.clone(), f.message.clone())).unwrap_or_default();
    let conditions = conditions(input, phase, &init_containers, &containers);
    let sandbox_ip = input.observed.sandbox.as_ref().filter(|s| s.state == RunState::Running).map(|s| s.ip.clone());
    // The hub knows them by their names.
    containers.extend(statuses(|role| role == Role::Ephemeral));
    PodReport {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        phase,
        reason,
        message,
        pod_ip: if pod.host_network { input.host_ip.to_owned() } else { sandbox_ip.unwrap_or_default() },
        host_ip: input.host_ip.to_owned(),
        start_ms: facts.start_ms,
        conditions,
        init_containers,
        containers,
        gone: input.gone,
        resources: resources(input),
    }
}

/// In a pod that came to its end every container has ended: one that never ran, or was lost, is taken for failed. Init
/// containers whose turn never came, and containers that they held back, go on waiting.
fn end_all(pod: &Pod, init: &mut [ContainerReport], containers: &mut [ContainerReport]) {
    let begun = |c: &ContainerReport| !matches!(c.state, ContainerState::Waiting { .. }) || c.last.is_some();
    let passed = |(spec, c): (&Container, &ContainerReport)| if spec.sidecar { begun(c) } else { c.ready };
    let initialized = has_begun(containers) || pod.init_containers.iter().zip(&*init).all(passed);
    let turns = init.iter().rposition(begun).map_or(0, |last| last + 1);
    let main = if initialized { containers } else { &mut [] };
    for c in init[..turns].iter_mut().chain(main) {
        if matches!(c.state, ContainerState::Waiting { .. }) {
            c.state = ContainerState::Terminated(Terminated {
                exit_code: 137,
                reason: STATUS_UNKNOWN.to_owned(),
                message: "The container could not be located when the pod was terminated".to_owned(),
                started_ms: 0,
                finished_ms: 0,
                container_id: String::new(),
            });
        }
    }
}

/// What containers have of the node, of those that ask for anything.
fn resources(input: &Input<'_>) -> Vec<ContainerResources> {
    let all = input.pod.init_containers.iter().chain(&input.pod.containers);
    all.filter(|c| c.resources != Resources::default())
        .map(|c| ContainerResources {
            container: c.name.clone(),
            allocated: c.resources,
            actual: allocation::actual(&c.resources, running(input, c).and_then(|seen| seen.limits)),
        })
        .collect()
}

/// A container's newest attempt, while it runs.
fn running<'a>(input: &Input<'a>, spec: &Container) -> Option<&'a Seen> {
    input.observed.newest(&spec.name).filter(|seen| seen.state == RunState::Running)
}

/// The conditions of a resize that is not done: type, reason, message.
fn resize(input: &Input<'_>, phase: Phase) -> Vec<(&'static str, &'static str, String)> {
    if matches!(phase, Phase::Succeeded | Phase::Failed) {
        return Vec::new();
    }
    let pending = input.progress.resize.as_ref().map(|p| ("PodResizePending", p.reason, p.message.clone()));
    let mut changing = input.pod.init_containers.iter().filter(|c| c.sidecar).chain(&input.pod.containers);
    let differs = |c: &&Container| running(input, c).is_some_and(|seen| allocation::differs(&c.resources, seen.limits));
    let changing = changing.find(differs).map(|c| {
        let problem = input.progress.problems.get(&c.name).filter(|p| p.reason == RESIZE_ERROR);
        let (reason, message) = problem.map_or(("", String::new()), |p| ("Error", p.message.clone()));
        ("PodResizeInProgress", reason, message)
    });
    pending.into_iter().chain(changing).collect()
}

fn container(input: &Input<'_>, spec: &Container, role: Role) -> ContainerReport {
    let facts = input.facts.containers.get(&spec.name);
    let (state, last) = state(input, spec, role);
    let running = matches!(state, ContainerState::Running { .. });
    let seen = input.observed.newest(&spec.name).filter(|_| running);
    let started = seen.is_some_and(|seen| probes::started(input.pod, &input.progress.checks, seen));
    let completed = matches!(&state, ContainerState::Terminated(t) if t.exit_code == 0);
    let container_id = facts.map(|f| f.container_id.as_str()).filter(|id| !id.is_empty());
    ContainerReport {
        name: spec.name.clone(),
        image: spec.image.clone(),
        image_id: facts.map(|f| f.image_id.clone()).unwrap_or_default(),
        container_id: container_id.map(|id| format!("podman://{id}")).unwrap_or_default(),
        ready: match role {
            Role::Init => completed,
            Role::Sidecar | Role::Main => {
                seen.is_some_and(|seen| probes::ready(input.pod, &input.progress.checks, seen))
            }
            Role::Ephemeral => false,
        },
        started,
        restarts: facts.and_then(|f| f.attempt).unwrap_or(0),
        state,
        last,
    }
}

/// The state of a container, and how the attempt before that state ended.
fn state(input: &Input<'_>, spec: &Container, role: Role) -> (ContainerState, Option<Terminated>) {
    let facts = input.facts.containers.get(&spec.name);
    let ended = facts.and_then(|f| f.ended.clone());
    let last = facts.and_then(|f| f.last.clone());
    let newest = input.observed.newest(&spec.name).filter(|c| Some(c.attempt) == facts.and_then(|f| f.attempt));
    if let Some(seen) = newest
        && matches!(seen.state, RunState::Running | RunState::Stopping)
    {
        // As long as its hook is not through, it is being started.
        match input.progress.checks.post_start(&seen.id) {
            Some(true) => {
                let reason = "PostStartHookError".to_owned();
                return (ContainerState::Waiting { reason, message: "PostStartHook failed".to_owned() }, last);
            }
            Some(false) => return (waiting(input.pod), last),
            None => {}
        }
        return (ContainerState::Running { started_ms: seen.started_ms }, last);
    }
    if input.pod.deletion.is_none()
        && let Some(waiting) = trouble(input, spec, role)
    {
        return (waiting, ended.or(last));
    }
    match ended {
        Some(ended) => (ContainerState::Terminated(ended), last),
        None => (waiting(input.pod), last),
    }
}

/// The wait that something gone wrong causes.
fn trouble(input: &Input<'_>, spec: &Container, role: Role) -> Option<ContainerState> {
    let wait = |reason: &str, message: String| ContainerState::Waiting { reason: reason.to_owned(), message };
    if input.facts.failed.is_some() {
        return None;
    }
    if let Some(Problem { reason, message, .. }) = input.progress.problems.get(&spec.name) {
        return Some(wait(reason, message.clone()));
    }
    // A kubelet tells the last failure until a later try succeeded.
    if let Some(ImageState::Failed(failure) | ImageState::Busy(Some(failure))) = input.progress.images.get(&spec.name) {
        return Some(image_wait(failure, &spec.image, input.now_ms));
    }
    let facts = input.facts.containers.get(&spec.name)?;
    let ended = facts.ended.as_ref().filter(|e| restarts(input.pod.restart_policy, role, e))?;
    let (_, delay_ms) = restart_wait(facts).filter(|(until, _)| *until > input.now_ms)?;
    if ended.reason == "StartError" && facts.attempt == Some(0) {
        return Some(wait("RunContainerError", ended.message.clone()));
    }
    let pod = input.pod;
    let message = format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        go_seconds(delay_ms / 1000),
        spec.name,
        pod.name,
        pod.namespace,
        pod.uid
    );
    Some(wait("CrashLoopBackOff", message))
}

fn image_wait(failure: &ImageFailure, image: &str, now_ms: i64) -> ContainerState {
    let ImageFailure { reason, message, at_ms, .. } = failure;
    let shown_ms = now_ms.saturating_sub(*at_ms);
    if reason == "ErrImagePull" && shown_ms >= PULL_ERROR_SHOWN_MS {
        let message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
        return ContainerState::Waiting { reason: "ImagePullBackOff".to_owned(), message };
    }
    ContainerState::Waiting { reason: reason.clone(), message: message.clone() }
}

/// A container of which nothing is known yet.
fn waiting(pod: &Pod) -> ContainerState {
    let reason = if pod.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    ContainerState::Waiting { reason: reason.to_owned(), message: String::new() }
}

/// Go's way to print whole seconds: `10s`, `2m40s`, `5m0s`.
fn go_seconds(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

/// A pod's phase. It comes to its end only when nothing of it runs any more.
fn phase(input: &Input<'_>, init: &[ContainerReport], containers: &[ContainerReport]) -> Phase {
    let stopped = input.observed.alive().next().is_none();
    let failed = input.facts.failed.is_some() && stopped;
    let phase = if failed { Phase::Failed } else { living_phase(input.pod, init, containers, stopped) };
    match phase {
        Phase::Succeeded | Phase::Failed if !stopped && has_begun(containers) => Phase::Running,
        Phase::Succeeded | Phase::Failed if !stopped => Phase::Pending,
        Phase::Pending | Phase::Running | Phase::Succeeded | Phase::Failed => phase,
    }
}

/// Whether one of the pod's own containers ever ran.
fn has_begun(containers: &[ContainerReport]) -> bool {
    let running = |c: &ContainerReport| matches!(c.state, ContainerState::Running { .. });
    containers.iter().any(|c| c.restarts > 0 || end_of(c).is_some() || running(c))
}

/// A pod's phase from its containers' statuses, by the kubelet's rules. `stopped`: nothing of it runs.
fn living_phase(pod: &Pod, init: &[ContainerReport], containers: &[ContainerReport], stopped: bool) -> Phase {
    let mut pending_init = 0;
    for (spec, status) in pod.init_containers.iter().zip(init) {
        let failed = end_of(status).is_some_and(|e| e.exit_code != 0);
        if failed && !spec.sidecar && pod.restart_policy == RestartPolicy::Never {
            return Phase::Failed;
        }
        let passed = if spec.sidecar { status.started } else { status.ready };
        pending_init += usize::from(!passed);
    }
    let never_ran = |c: &&ContainerReport| matches!(c.state, ContainerState::Waiting { .. }) && c.last.is_none();
    if (pending_init > 0 && !has_begun(containers)) || containers.iter().any(|c| never_ran(&c)) {
        return Phase::Pending;
    }
    let running = |c: &ContainerReport| matches!(c.state, ContainerState::Running { .. });
    let succeeded = containers.iter().filter_map(end_of).all(|e| e.exit_code == 0);
    let goes_on = match pod.restart_policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => !succeeded,
        RestartPolicy::Never => false,
    };
    // Nothing is restarted in a pod that is being deleted.
    let over = stopped && pod.deletion.is_some();
    if containers.iter().any(running) || (goes_on && !over) {
        Phase::Running
    } else if succeeded {
        Phase::Succeeded
    } else {
        Phase::Failed
    }
}

/// How a container that does not run ended last.
fn end_of(status: &ContainerReport) -> Option<&Terminated> {
    match &status.state {
        ContainerState::Terminated(end) => Some(end),
        ContainerState::Waiting { .. } => status.last.as_ref(),
        ContainerState::Running { .. } => None,
    }
}

/// The conditions, each with the time of its last change.
fn conditions(
    input: &Input<'_>,
    phase: Phase,
    init: &[ContainerReport],
    containers: &[ContainerReport],
) -> Vec<PodCondition> {
    let pod = input.pod;
    let sandbox_ready = input.observed.sandbox_runs();
    let names = |list: Vec<&str>| format!("[{}]", list.join(" "));
    let begun = has_begun(containers);
    let incomplete: Vec<&str> = pod
        .init_containers
        .iter()
        .zip(init)
        .filter(|(spec, status)| !begun && !(if spec.sidecar { status.started } else { status.ready }))
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    let sidecars = pod.init_containers.iter().zip(init).filter(|(spec, _)| spec.sidecar).map(|(_, status)| status);
    let unready: Vec<&str> = sidecars.chain(containers).filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    let initialized = match phase {
        Phase::Succeeded => (true, "PodCompleted", String::new()),
        Phase::Pending | Phase::Running | Phase::Failed if !incomplete.is_empty() => {
            let message = format!("containers with incomplete status: {}", names(incomplete));
            (false, "ContainersNotInitialized", message)
        }
        Phase::Pending | Phase::Running | Phase::Failed => (true, "", String::new()),
    };
    let ready = match phase {
        Phase::Succeeded => (false, "PodCompleted", String::new()),
        Phase::Failed => (false, "PodFailed", String::new()),
        Phase::Pending | Phase::Running if !unready.is_empty() => {
            (false, "ContainersNotReady", format!("containers with unready status: {}", names(unready)))
        }
        Phase::Pending | Phase::Running => (true, "", String::new()),
    };
    let containers_ready = ready.clone();
    let closed = closed_gates(pod);
    let ready = if ready.0 && !closed.is_empty() { (false, "ReadinessGatesNotReady", closed) } else { ready };
    [
        ("PodReadyToStartContainers", (sandbox_ready, "", String::new())),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
    ]
    .into_iter()
    .map(|(kind, (status, reason, message))| PodCondition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        since_ms: since(input, kind, status),
    })
    .chain(resize(input, phase).into_iter().map(|(kind, reason, message)| {
        let before = input.facts.conditions.iter().find(|c| c.kind == kind && c.reason == reason);
        let since_ms = before.map_or(input.now_ms, |c| c.since_ms);
        PodCondition { kind: kind.to_owned(), status: true, reason: reason.to_owned(), message, since_ms }
    }))
    .collect()
}

/// What a kubelet says of the readiness gates that are not open; empty for none.
fn closed_gates(pod: &Pod) -> String {
    let closed = pod.readiness_gates().filter_map(|gate| match (gate.condition.as_str(), gate.status.as_str()) {
        (_, "True") => None,
        (name, "") => Some(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
        (name, status) => Some(format!("the status of pod readiness gate {name:?} is not \"True\", but {status}")),
    });
    closed.collect::<Vec<_>>().join(", ")
}

fn since(input: &Input<'_>, kind: &str, status: bool) -> i64 {
    let before = input.facts.conditions.iter().find(|c| c.kind == kind && c.status == status);
    before.map_or(input.now_ms, |c| c.since_ms)
}
