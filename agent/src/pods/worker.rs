//! One worker a pod: observe, decide, act, report, wait; level-triggered and single-flight.

mod announce;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use skiff_shared::backoff::Backoff;
use skiff_shared::pod::Pod;
use skiff_shared::report::PodReport;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::act::{Outcome, Scene, act};
use super::calling::{self, Calls};
use super::context::Context;
use super::decide::{Action, Decision, Input, decide};
use super::probes::Why;
use super::view::{ImageFailure, ImageState, ObservedPod, Problem, Progress, Sandbox, Seen, roles};
use super::{build, history, images, mounting, observe, status};
use crate::ledger::facts::PodFacts;
use crate::podman::{Image, PodmanError, RunState};
use crate::volumes;

/// Delays between tries while Podman cannot be reached or fails.
const PODMAN_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// Delays between tries to make a container or a sandbox.
const PROBLEM_BACKOFF: Backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(300) };

/// What a worker is told.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The pod as the hub wants it; of a leaving pod, with a deletion.
    pub(super) pod: Arc<Pod>,
    /// The hub no longer knows the pod: forget it once it is gone.
    pub(super) leaving: bool,
    /// Counts up when Podman is to be looked at again.
    pub(super) look: u64,
    /// Counts up when ConfigMaps or Secrets changed.
    pub(super) data: u64,
}

type ImageTask = (String, String, Result<Image, ImageFailure>);

/// The worker's state.
pub(super) struct Worker {
    ctx: Arc<Context>,
    wanted: watch::Receiver<Wanted>,
    facts: PodFacts,
    saved: PodFacts,
    observed: ObservedPod,
    progress: Progress,
    images: BTreeMap<String, Image>,
    tasks: JoinSet<ImageTask>,
    calls: Calls,
    reported: Option<PodReport>,
    /// Restart delays and image delays that an event was recorded for.
    announced: BTreeMap<String, i64>,
    looked: Option<u64>,
    data: u64,
    /// The pod as its volumes know it.
    mounted: Option<Arc<Pod>>,
    podman_failures: u32,
}

impl Worker {
    pub(super) fn new(ctx: Arc<Context>, wanted: watch::Receiver<Wanted>, facts: PodFacts) -> Self {
        Self {
            ctx,
            wanted,
            saved: facts.clone(),
            facts,
            observed: ObservedPod::default(),
            progress: Progress::default(),
            images: BTreeMap::new(),
            tasks: JoinSet::new(),
            calls: Calls::default(),
            reported: None,
            announced: BTreeMap::new(),
            looked: None,
            data: 0,
            mounted: None,
            podman_failures: 0,
        }
    }

    /// Works until the pod is gone and forgotten, or nobody tells it anything any more.
    pub(super) async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let pod = Arc::clone(&wanted.pod);
            self.take_in(&wanted);
            if self.looked != Some(wanted.look)
                && let Err(error) = self.look(&pod, wanted.look).await
            {
                if !self.pause(&error).await {
                    return;
                }
                continue;
            }
            // From here to the report no other worker has a turn: no two are given the same room.
            let pod = self.ctx.allocate(&pod, &mut self.facts, &mut self.progress);
            let decision = self.decide(&pod);
            self.publish(&pod, decision.gone);
            if decision.gone && wanted.leaving {
                self.forget(&pod).await;
                return;
            }
            self.announce(&pod, &decision);
            if !decision.actions.is_empty() {
                if let Some(error) = self.act(&pod, decision.actions).await
                    && !self.pause(&error).await
                {
                    return;
                }
                continue;
            }
            self.save(&pod).await;
            if !self.wait(decision.wake_ms).await {
                return;
            }
        }
    }

    /// Takes in finished image tasks and changed data.
    fn take_in(&mut self, wanted: &Wanted) {
        if wanted.pod.deletion.is_some() {
            // Nobody waits for its images any more, and other pods may wait for their turn to pull.
            self.tasks.abort_all();
        }
        while let Some(done) = self.tasks.try_join_next() {
            self.image_done(done.ok());
        }
        while let Some(done) = self.calls.try_next() {
            calling::note(&self.ctx, &wanted.pod, &mut self.progress.checks, done);
        }
        if self.data != wanted.data {
            self.data = wanted.data;
            self.volumes_changed();
            self.progress.problems.retain(|_, p| p.reason != "CreateContainerConfigError");
        }
        if self.mounted.as_ref().is_none_or(|pod| !Arc::ptr_eq(pod, &wanted.pod)) {
            self.mounted = Some(Arc::clone(&wanted.pod));
            self.volumes_changed();
        }
        // The image of a container that is still to be made may have been changed.
        let stale = |name: &str, images: &BTreeMap<String, Image>| !images.contains_key(name);
        self.progress.images.retain(|name, state| *state != ImageState::Ready || !stale(name, &self.images));
    }

    /// What the files of volumes follow may have changed.
    fn volumes_changed(&mut self) {
        let volumes = &mut self.progress.volumes;
        (volumes.stale, volumes.asked) = (true, false);
        if let Some(problem) = &mut volumes.problem {
            problem.retry_ms = 0;
        }
    }

    async fn look(&mut self, pod: &Pod, look: u64) -> Result<(), PodmanError> {
        self.observed = observe::observe(&self.ctx, pod, &self.observed).await?;
        if self.looked.is_none() && self.reported.is_none() && self.was_ready() {
            self.progress.checks.adopt(&self.observed);
        }
        self.looked = Some(look);
        self.podman_failures = 0;
        let alive = |id: &String| self.observed.containers.iter().any(|c| c.id == *id);
        self.progress.signalled.retain(|id, _| alive(id));
        self.progress.killed.retain(|id, _| alive(id));
        self.progress.checks.retain(alive);
        Ok(())
    }

    /// Whether the pod was ready when it was last reported.
    fn was_ready(&self) -> bool {
        self.facts.conditions.iter().any(|c| c.kind == "ContainersReady" && c.status)
    }

    fn decide(&mut self, pod: &Pod) -> Decision {
        let now_ms = self.ctx.clock.now_ms();
        self.progress.awaits_network = !pod.host_network && self.ctx.network.is_unknown();
        let failed_before = self.facts.failed.is_some();
        history::absorb(pod, &mut self.facts, &self.observed, now_ms);
        if let Some(failure) = self.facts.failed.as_ref().filter(|_| !failed_before) {
            self.ctx.pod_event(pod, "", false, &failure.reason, failure.message.clone());
        }
        decide(&Input { pod, facts: &self.facts, observed: &self.observed, progress: &self.progress, now_ms })
    }

    fn publish(&mut self, pod: &Pod, gone: bool) {
        let report = status::report(&status::Input {
            pod,
            facts: &self.facts,
            observed: &self.observed,
            progress: &self.progress,
            host_ip: &self.ctx.host_ip,
            gone,
            now_ms: self.ctx.clock.now_ms(),
        });
        if self.reported.as_ref() == Some(&report) {
            return;
        }
        self.facts.conditions.clone_from(&report.conditions);
        self.reported = Some(report.clone());
        self.ctx.reported.send_modify(|all| {
            Arc::make_mut(all).pods.insert(pod.uid.clone(), Arc::new(report));
        });
    }

    /// Carries out what was decided, all at once; gives the error after which to pause.
    async fn act(&mut self, pod: &Arc<Pod>, actions: Vec<Action>) -> Option<PodmanError> {
        let address = self.address(pod);
        let mut now = Vec::new();
        for action in actions {
            if let Action::EnsureImage { container } = &action {
                self.fetch_image(pod, container);
            } else {
                now.extend(self.calls.begin(&self.ctx, pod, &address, &mut self.progress.checks, action));
            }
        }
        let sandbox = self.observed.sandbox.as_ref().map(|s| s.pod_id.clone());
        let scene = Scene { ctx: &self.ctx, pod, pod_ip: &address, sandbox_id: sandbox.as_deref() };
        let calls = now.into_iter().map(|action| {
            let image =
                if let Action::Create { container, .. } = &action { self.images.get(container).cloned() } else { None };
            act(scene, action, image)
        });
        let outcomes = join_all(calls).await;
        let mut pause = None;
        for outcome in outcomes {
            if let Some(error) = self.apply(pod, outcome).await {
                pause = Some(error);
            }
        }
        pause
    }

    /// The pod's address; empty where it is not known yet.
    fn address(&self, pod: &Pod) -> String {
        if pod.host_network {
            return self.ctx.host_ip.clone();
        }
        self.observed.sandbox.as_ref().map_or(String::new(), |s| s.ip.clone())
    }

    fn fetch_image(&mut self, pod: &Arc<Pod>, name: &str) {
        let before = match self.progress.images.remove(name) {
            Some(ImageState::Failed(failure)) => Some(failure),
            Some(ImageState::Busy(_) | ImageState::Ready) | None => None,
        };
        let failures = before.as_ref().map_or(0, |failure| failure.failures);
        let Some(container) = roles(pod).map(|(c, _)| c).find(|c| c.name == name).cloned() else { return };
        let (ctx, pod) = (Arc::clone(&self.ctx), Arc::clone(pod));
        self.progress.images.insert(name.to_owned(), ImageState::Busy(before));
        self.tasks.spawn(async move {
            let result = images::ensure(&ctx, &pod, &container, failures).await;
            (container.name, container.image, result)
        });
    }

    fn image_done(&mut self, done: Option<ImageTask>) {
        // A task that broke leaves its image busy only until here.
        let Some((name, reference, result)) = done else {
            self.progress.images.retain(|_, state| !matches!(state, ImageState::Busy(_)));
            return;
        };
        let wanted = self.wanted.borrow();
        if !roles(&wanted.pod).any(|(c, _)| c.name == name && c.image == reference) {
            self.progress.images.remove(&name);
            return;
        }
        let state = match result {
            Ok(image) => {
                self.images.insert(name.clone(), image);
                ImageState::Ready
            }
            Err(failure) => ImageState::Failed(failure),
        };
        self.progress.images.insert(name, state);
    }

    /// Applies an outcome to what is known; gives the error after which to pause.
    async fn apply(&mut self, pod: &Pod, outcome: Outcome) -> Option<PodmanError> {
        let ctx = Arc::clone(&self.ctx);
        let now_ms = ctx.clock.now_ms();
        match outcome {
            Outcome::Mounted(mounted) => mounting::note(&ctx, pod, &mut self.progress.volumes, mounted),
            Outcome::Measured(failure) => {
                mounting::measured(&ctx, pod, &mut self.progress.volumes, &mut self.facts, failure);
            }
            Outcome::SandboxCreated { pod_id, infra } => {
                let (state, ip) = (RunState::Created, String::new());
                self.observed.sandbox = Some(Sandbox { pod_id, infra: Some(infra), state, ip });
            }
            Outcome::SandboxStarted => self.sandbox_started(pod),
            Outcome::AddressFound { ip } => {
                if let Some(sandbox) = &mut self.observed.sandbox {
                    sandbox.ip = ip;
                }
            }
            Outcome::SandboxChanged => self.looked = None,
            Outcome::SandboxFailed(error) => {
                ctx.network.doubt().await;
                self.sandbox_failed(pod, &error, now_ms);
            }
            Outcome::Created { sandbox, image, seen } => self.created(pod, sandbox, &image, *seen, now_ms),
            Outcome::Misconfigured { container, error } => {
                self.problem(pod, container, "CreateContainerConfigError", &error.to_string(), now_ms);
            }
            Outcome::NotCreated { container, error } => {
                if error.is_not_found() {
                    self.progress.images.remove(&container);
                    self.looked = None;
                }
                self.problem(pod, container, "CreateContainerError", &error.chain(), now_ms);
            }
            Outcome::Started { container, id } => {
                ctx.pod_event(pod, &container, false, "Started", format!("Started container {container}"));
                if let Some(seen) = self.observed.containers.iter_mut().find(|c| c.id == id) {
                    (seen.state, seen.started_ms) = (RunState::Running, now_ms);
                }
                let address = self.address(pod);
                self.calls.started(&ctx, pod, &address, &mut self.progress.checks, &container, &id);
            }
            Outcome::NotStarted { container, id, error } => {
                self.not_started(pod, &container, &id, &error, now_ms).await;
            }
            Outcome::Resized { container, id, limits } => {
                self.progress.problems.remove(&container);
                if let Some(seen) = self.observed.containers.iter_mut().find(|c| c.id == id) {
                    seen.limits = Some(limits);
                }
            }
            Outcome::NotResized { container, error } => {
                self.looked = None;
                self.problem(pod, container, status::RESIZE_ERROR, &error.chain(), now_ms);
            }
            Outcome::Signalled { container, id, why } => self.signalled(pod, &container, id, why, now_ms),
            Outcome::Killed { id } => {
                self.progress.killed.insert(id, now_ms);
                self.looked = None;
            }
            Outcome::Removed { id } => self.observed.containers.retain(|c| c.id != id),
            Outcome::Failed(error) => return Some(error),
        }
        None
    }

    fn sandbox_started(&mut self, pod: &Pod) {
        if self.facts.sandbox > 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.ctx.pod_event(pod, "", false, "SandboxChanged", message);
        }
        self.facts.sandbox = self.facts.sandbox.saturating_add(1);
        self.progress.sandbox_problem = None;
        if let Some(sandbox) = &mut self.observed.sandbox {
            (sandbox.state, sandbox.ip) = (RunState::Running, String::new());
        }
    }

    fn created(&mut self, pod: &Pod, sandbox: u32, image: &Image, seen: Seen, now_ms: i64) {
        let container = &seen.name;
        let digest = if image.repo_digest.is_empty() { &image.id } else { &image.repo_digest };
        history::began(&mut self.facts, container, &seen.id, digest, sandbox, now_ms);
        self.ctx.pod_event(pod, container, false, "Created", format!("Created container: {container}"));
        // The next attempt asks for its image again.
        self.images.remove(container);
        self.progress.images.remove(container);
        self.progress.problems.remove(container);
        self.observed.containers.push(seen);
    }

    fn signalled(&mut self, pod: &Pod, container: &str, id: String, why: Why, now_ms: i64) {
        // One whose hook was called before has its event.
        if self.progress.checks.pre_stop(&id).is_none() {
            self.ctx.pod_event(pod, container, false, "Killing", why.message(pod, container));
        }
        self.progress.signalled.insert(id, now_ms);
        if pod.deletion.is_some() && self.facts.stop_began_ms.is_none() {
            self.facts.stop_began_ms = Some(now_ms);
        }
    }

    fn sandbox_failed(&mut self, pod: &Pod, error: &PodmanError, now_ms: i64) {
        let failures = self.progress.sandbox_problem.as_ref().map_or(0, |p| p.failures).saturating_add(1);
        let message = format!("Failed to create pod sandbox: {}", error.chain());
        self.ctx.pod_event(pod, "", true, "FailedCreatePodSandBox", message.clone());
        self.progress.sandbox_problem = Some(Problem {
            reason: "FailedCreatePodSandBox".to_owned(),
            message,
            retry_ms: now_ms.saturating_add(delay_ms(PODMAN_BACKOFF, failures)),
            failures,
        });
        self.looked = None;
    }

    fn problem(&mut self, pod: &Pod, container: String, reason: &str, message: &str, now_ms: i64) {
        let failures = self.progress.problems.get(&container).map_or(0, |p| p.failures).saturating_add(1);
        self.ctx.pod_event(pod, &container, true, "Failed", format!("Error: {message}"));
        let retry_ms = now_ms.saturating_add(delay_ms(PROBLEM_BACKOFF, failures));
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.progress.problems.insert(container, Problem { reason, message, retry_ms, failures });
    }

    async fn not_started(&mut self, pod: &Pod, container: &str, id: &str, error: &PodmanError, now_ms: i64) {
        let message = error.chain();
        self.ctx.pod_event(pod, container, true, "Failed", format!("Error: {message}"));
        history::start_failed(&mut self.facts, container, &message, now_ms);
        // What could not be started once is never started again; its next attempt is another container.
        if let Err(error) = self.ctx.podman.remove(id).await {
            tracing::debug!(%error, id, "a container that did not start is left for later removal");
        }
        self.looked = None;
    }

    async fn save(&mut self, pod: &Pod) {
        if self.saved == self.facts {
            return;
        }
        let (uid, facts) = (pod.uid.clone(), self.facts.clone());
        match self.ctx.on_disk(move |ledger| ledger.put_facts(&uid, &facts)).await {
            Ok(Ok(())) => self.saved = self.facts.clone(),
            Ok(Err(error)) => tracing::warn!(%error, pod = %pod.uid, "a pod's history may be lost in a restart"),
            Err(error) => tracing::warn!(%error, pod = %pod.uid, "a pod's history may be lost in a restart"),
        }
    }

    async fn forget(&mut self, pod: &Pod) {
        let uid = pod.uid.clone();
        let dir = build::pod_dir(&self.ctx.data_dir, uid.as_str());
        self.ctx.tokens.forget(&uid);
        let cleaned = self.ctx.on_disk(move |ledger| {
            if let Err(error) = volumes::tear_down(&dir) {
                // The next start of the agent tries again.
                tracing::warn!(%error, pod = %uid, "files of a pod that is gone stay for now");
            }
            ledger.forget(&uid)
        });
        if let Ok(Err(error)) = cleaned.await {
            tracing::warn!(%error, pod = %pod.uid, "a pod that is gone stays in the ledger");
        }
        self.ctx.reported.send_modify(|all| {
            Arc::make_mut(all).pods.remove(&pod.uid);
        });
    }

    /// Waits after a failure of Podman; `false` when the worker is to end.
    async fn pause(&mut self, error: &PodmanError) -> bool {
        self.podman_failures = self.podman_failures.saturating_add(1);
        self.looked = None;
        tracing::warn!(error = error.chain(), failures = self.podman_failures, "a call to Podman failed");
        let delay = PODMAN_BACKOFF.delay(self.podman_failures);
        tokio::select! {
            biased;
            changed = self.wanted.changed() => changed.is_ok(),
            () = tokio::time::sleep(delay) => true,
        }
    }

    /// Waits for something to do; `false` when the worker is to end.
    async fn wait(&mut self, wake_ms: Option<i64>) -> bool {
        let now_ms = self.ctx.clock.now_ms();
        let shown = self.progress.images.values().filter_map(|state| match state {
            ImageState::Failed(failure) => Some(failure.at_ms.saturating_add(status::PULL_ERROR_SHOWN_MS)),
            ImageState::Busy(_) | ImageState::Ready => None,
        });
        let wake_ms = shown.filter(|at| *at > now_ms).chain(wake_ms).min();
        let sleep = wake_ms.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms)).unwrap_or(0)));
        let done = tokio::select! {
            biased;
            changed = self.wanted.changed() => return changed.is_ok(),
            Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => done,
            done = self.calls.next() => {
                let pod = Arc::clone(&self.wanted.borrow().pod);
                if let Some(done) = done {
                    calling::note(&self.ctx, &pod, &mut self.progress.checks, done);
                }
                return true;
            }
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => return true,
        };
        self.image_done(done.ok());
        true
    }
}

fn delay_ms(backoff: Backoff, failures: u32) -> i64 {
    i64::try_from(backoff.delay(failures).as_millis()).unwrap_or(i64::MAX)
}
