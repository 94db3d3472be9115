//! The probes and hooks of one pod while they are carried out: tasks beside its worker, and what their answers lead to.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::pod::{Handler, Hook, HookKind, Pod, Probe, ProbeKind};
use tokio::task::JoinSet;

use super::context::Context;
use super::decide::Action;
use super::probes::{self, Checks};
use crate::checks::{self, Agent, Answer, Target};

/// How long a `postStart` hook may take; a kubelet waits for ever, and with it the pod.
const POST_START: Duration = Duration::from_secs(24 * 3600);
/// Longest text of an answer in an event.
const MAX_TEXT: usize = 1024;

/// A check that has come to its end.
#[derive(Debug)]
pub(super) struct Done {
    what: What,
    container: String,
    id: String,
    answer: Answer,
}

#[derive(Debug)]
enum What {
    Probe(Probe),
    Hook(HookKind),
}

/// The checks of one pod that are being carried out: at most one of each probe and hook.
#[derive(Debug, Default)]
pub(super) struct Calls {
    tasks: JoinSet<Done>,
}

impl Calls {
    /// The next check that comes to its end; waits for ever where none is being carried out.
    pub(super) async fn next(&mut self) -> Option<Done> {
        match self.tasks.join_next().await {
            Some(done) => done.ok(),
            None => std::future::pending().await,
        }
    }

    /// A check that has come to its end meanwhile.
    pub(super) fn try_next(&mut self) -> Option<Done> {
        self.tasks.try_join_next()?.ok()
    }

    /// Begins the check that a decision asks for; gives back every other action.
    pub(super) fn begin(
        &mut self,
        ctx: &Arc<Context>,
        pod: &Pod,
        pod_ip: &str,
        known: &mut Checks,
        action: Action,
    ) -> Option<Action> {
        let now_ms = ctx.clock.now_ms();
        if let Action::Probe { container, id, kind } = action {
            let probe = pod.probes().find(|p| p.container == container && p.kind == kind)?;
            known.asked(probe, &id, now_ms);
            self.probe(ctx, pod_ip, probe.clone(), id);
            return None;
        }
        let Action::PreStop { container, id, grace_seconds, why } = action else { return Some(action) };
        ctx.pod_event(pod, &container, false, "Killing", why.message(pod, &container));
        known.pre_stop_called(&id, now_ms);
        let hook = pod.hook(&container, HookKind::PreStop)?.clone();
        self.hook(ctx, pod_ip, hook, id, Duration::from_secs(u64::from(grace_seconds)));
        None
    }

    /// Calls the hook of a container that was just started, where it has one.
    pub(super) fn started(
        &mut self,
        ctx: &Arc<Context>,
        pod: &Pod,
        pod_ip: &str,
        known: &mut Checks,
        container: &str,
        id: &str,
    ) {
        if let Some(hook) = pod.hook(container, HookKind::PostStart) {
            known.post_start_called(id);
            self.hook(ctx, pod_ip, hook.clone(), id.to_owned(), POST_START);
        }
    }

    fn probe(&mut self, ctx: &Arc<Context>, pod_ip: &str, probe: Probe, id: String) {
        let (ctx, address) = (Arc::clone(ctx), pod_ip.to_owned());
        self.tasks.spawn(async move {
            // A small machine asks a few at a time; the time of a probe begins with its turn.
            let turn = ctx.checks.acquire().await;
            let within = Duration::from_secs(u64::from(probe.timeout_seconds));
            let answer = call(&ctx, &id, &address, &probe.handler, Agent::Probe, within).await;
            drop(turn);
            Done { container: probe.container.clone(), what: What::Probe(probe), id, answer }
        });
    }

    fn hook(&mut self, ctx: &Arc<Context>, pod_ip: &str, hook: Hook, id: String, within: Duration) {
        let (ctx, address) = (Arc::clone(ctx), pod_ip.to_owned());
        self.tasks.spawn(async move {
            let answer = call(&ctx, &id, &address, &hook.handler, Agent::Lifecycle, within).await;
            Done { what: What::Hook(hook.kind), container: hook.container, id, answer }
        });
    }
}

async fn call(ctx: &Context, id: &str, address: &str, handler: &Handler, agent: Agent, within: Duration) -> Answer {
    checks::run(Target { podman: &*ctx.podman, id, address }, handler, agent, within).await
}

/// Takes in an answer, with the events of a kubelet.
pub(super) fn note(ctx: &Context, pod: &Pod, known: &mut Checks, done: Done) {
    let Done { what, container, id, answer } = done;
    let warn = |reason: &str, message: String| ctx.pod_event(pod, &container, true, reason, message);
    match what {
        What::Probe(probe) => {
            if let Some((reason, message)) = complaint(probe.kind, &answer) {
                warn(reason, message);
            }
            let good = match answer {
                Answer::Good | Answer::Warning(_) => Some(true),
                Answer::Bad(_) => Some(false),
                Answer::Unknown(_) => None,
            };
            known.answered(&probe, &id, good);
        }
        What::Hook(kind) => {
            let good = matches!(answer, Answer::Good | Answer::Warning(_));
            match kind {
                HookKind::PostStart => {
                    known.post_start_ended(&id, good);
                    if !good {
                        warn("FailedPostStartHook", "PostStartHook failed".to_owned());
                    }
                }
                HookKind::PreStop => {
                    known.pre_stop_ended(&id);
                    if !good {
                        warn("FailedPreStopHook", "PreStopHook failed".to_owned());
                    }
                }
            }
            tracing::debug!(pod = %pod.uid, container, ?answer, "a hook was called");
        }
    }
}

/// The event of an answer that is not good: its reason and message.
fn complaint(kind: ProbeKind, answer: &Answer) -> Option<(&'static str, String)> {
    let name = probes::name(kind);
    match answer {
        Answer::Good => None,
        Answer::Warning(text) => Some(("ProbeWarning", format!("{name} probe warning: {}", cut(text)))),
        Answer::Bad(text) => Some(("Unhealthy", format!("{name} probe failed: {}", cut(text)))),
        Answer::Unknown(text) => {
            Some(("Unhealthy", format!("{name} probe errored and resulted in unknown state: {}", cut(text))))
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_a_kubelets_words() {
        for (kind, answer, expected) in [
            (ProbeKind::Liveness, Answer::Good, None),
            (ProbeKind::Liveness, Answer::Bad("x".into()), Some(("Unhealthy", "Liveness probe failed: x"))),
            (ProbeKind::Readiness, Answer::Warning("x".into()), Some(("ProbeWarning", "Readiness probe warning: x"))),
            (
                ProbeKind::Startup,
                Answer::Unknown("x".into()),
                Some(("Unhealthy", "Startup probe errored and resulted in unknown state: x")),
            ),
        ] {
            let found = complaint(kind, &answer);
            assert_eq!(found.as_ref().map(|(reason, message)| (*reason, message.as_str())), expected, "{answer:?}");
        }
        assert_eq!(cut(&"é".repeat(MAX_TEXT)).len(), MAX_TEXT);
    }
}
