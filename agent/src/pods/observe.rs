//! Looking at a pod: one listing, and a closer look at what ended or is not known yet.

use std::io::Read;

use futures_util::StreamExt;
use skiff_shared::pod::{Container, Pod};
use skiff_shared::report::Terminated;

use super::build;
use super::context::Context;
use super::view::{ObservedPod, Sandbox, Seen};
use crate::podman::frames::Frames;
use crate::podman::{Inspected, Listed, LogOptions, Result, RunState};

/// Longest termination message (kubelet: 4096 bytes).
const MESSAGE_MAX: u64 = 4096;
/// From the log, a message takes at most so many bytes and lines (kubelet: 2048 and 80).
const MESSAGE_LOG_MAX: usize = 2048;
const MESSAGE_LOG_LINES: usize = 80;
/// Two times of a start that are no further apart mean the same start, milliseconds.
const SAME_START_MS: u64 = 2_000;

/// What Podman has of a pod now. `before` is what was seen last time: ends do not change, so they are not looked up again.
pub(super) async fn observe(ctx: &Context, pod: &Pod, before: &ObservedPod) -> Result<ObservedPod> {
    let mut listed = ctx.podman.list(Some(&pod.uid)).await?;
    listed.sort_by_key(|c| c.labels.attempt);
    let mut observed = ObservedPod::default();
    for container in listed {
        if container.infra {
            observed.sandbox = Some(sandbox(ctx, pod, &container, before).await?);
        } else if !container.labels.container.is_empty() {
            let seen = seen(ctx, pod, &container, before).await?;
            observed.containers.push(seen);
            if observed.sandbox.is_none() {
                // Without its infra container the pod is only something to remove.
                let (pod_id, state) = (container.pod_id, RunState::Exited);
                observed.sandbox = Some(Sandbox { pod_id, infra: None, state, ip: String::new() });
            }
        }
    }
    Ok(observed)
}

async fn sandbox(ctx: &Context, pod: &Pod, infra: &Listed, before: &ObservedPod) -> Result<Sandbox> {
    let known = before.sandbox.as_ref().filter(|s| s.pod_id == infra.pod_id && s.state == infra.state);
    let ip = match known.map(|s| s.ip.as_str()).filter(|ip| !ip.is_empty()) {
        Some(ip) => ip.to_owned(),
        None if infra.state == RunState::Running && !pod.host_network => ctx.podman.inspect(&infra.id).await?.ip,
        None => String::new(),
    };
    Ok(Sandbox { pod_id: infra.pod_id.clone(), infra: Some(infra.id.clone()), state: infra.state, ip })
}

async fn seen(ctx: &Context, pod: &Pod, listed: &Listed, before: &ObservedPod) -> Result<Seen> {
    let known = before.containers.iter().find(|c| c.id == listed.id);
    let ended = match known.and_then(|c| c.ended.clone()) {
        Some(ended) => Some(ended),
        None if listed.state == RunState::Exited => Some(look_at_end(ctx, pod, listed).await?),
        None => None,
    };
    // Listings know whole seconds only; what was known better, or was told already, stays.
    let same_start = |c: &&Seen| c.started_ms.abs_diff(listed.started_ms) < SAME_START_MS;
    Ok(Seen {
        id: listed.id.clone(),
        name: listed.labels.container.clone(),
        attempt: listed.labels.attempt,
        image: listed.labels.image.clone(),
        stop_signal: listed.labels.stop_signal.clone(),
        joins: listed.labels.joins.clone(),
        limits: known.map_or(listed.labels.limits, |c| c.limits),
        state: listed.state,
        started_ms: known.filter(same_start).map_or(listed.started_ms, |c| c.started_ms),
        ended,
    })
}

async fn look_at_end(ctx: &Context, pod: &Pod, listed: &Listed) -> Result<Terminated> {
    let name = &listed.labels.container;
    let inspected = ctx.podman.inspect(&listed.id).await?;
    let mut end = terminated(&inspected, &listed.id, ctx.clock.now_ms());
    let spec = pod.every_container().find(|c| c.name == *name);
    if let Some(message) = message(ctx, pod, spec, listed, end.exit_code).await {
        end.message = message;
    }
    Ok(end)
}

/// How a container ended. An end that Podman did not see (a power cut) is what container runtimes call unknown, 255.
fn terminated(inspected: &Inspected, id: &str, now_ms: i64) -> Terminated {
    let unseen = inspected.finished_ms == 0;
    let (exit_code, reason) = match inspected {
        _ if inspected.started_ms == 0 => (128, "StartError"),
        _ if unseen => (255, "Unknown"),
        Inspected { oom_killed: true, exit_code, .. } => (*exit_code, "OOMKilled"),
        Inspected { exit_code: 0, .. } => (0, "Completed"),
        Inspected { exit_code, .. } => (*exit_code, "Error"),
    };
    Terminated {
        exit_code,
        reason: reason.to_owned(),
        message: inspected.error.clone(),
        started_ms: inspected.started_ms,
        // Podman notes the start after the fact: a short-lived process may have ended before it.
        finished_ms: if unseen { now_ms } else { inspected.finished_ms.max(inspected.started_ms) },
        container_id: format!("podman://{id}"),
    }
}

async fn message(ctx: &Context, pod: &Pod, spec: Option<&Container>, listed: &Listed, exit: i32) -> Option<String> {
    let path = build::termination_log(&ctx.data_dir, pod, &listed.labels.container, listed.labels.attempt);
    let written = read_start(&path).filter(|text| !text.is_empty());
    if written.is_none() && exit != 0 && spec.is_some_and(|c| c.termination_message_from_logs) {
        return log_end(ctx, &listed.id).await;
    }
    written
}

/// The start of a file that a container wrote, as text.
fn read_start(path: &std::path::Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MESSAGE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log. All of it is read: asked for its last lines, Podman leaves out one that has no end.
async fn log_end(ctx: &Context, id: &str) -> Option<String> {
    let mut chunks = ctx.podman.logs(id, LogOptions::default()).await.ok()?;
    let (mut frames, mut text) = (Frames::default(), Vec::new());
    while let Some(Ok(chunk)) = chunks.next().await {
        frames.push(&chunk);
        while let Ok(Some(line)) = frames.next_frame() {
            text.extend_from_slice(&line);
            let excess = text.len().saturating_sub(MESSAGE_LOG_MAX);
            text.drain(..excess);
        }
    }
    Some(last_lines(&String::from_utf8_lossy(&text)).to_owned())
}

fn last_lines(text: &str) -> &str {
    let ends = text.rmatch_indices('\n').filter(|(at, _)| at + 1 < text.len());
    let start = ends.map(|(at, _)| at + 1).nth(MESSAGE_LOG_LINES - 1);
    &text[start.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_the_kubelets_reasons() {
        let base = Inspected { started_ms: 1000, finished_ms: 2000, ..Inspected::default() };
        for (inspected, code, reason, finished_ms) in [
            (base.clone(), 0, "Completed", 2000),
            (Inspected { exit_code: 3, ..base.clone() }, 3, "Error", 2000),
            (Inspected { exit_code: 137, oom_killed: true, ..base.clone() }, 137, "OOMKilled", 2000),
            (Inspected { finished_ms: 0, ..base.clone() }, 255, "Unknown", 9000),
            (Inspected { finished_ms: 999, ..base.clone() }, 0, "Completed", 1000),
            (Inspected { started_ms: 0, ..base.clone() }, 128, "StartError", 2000),
        ] {
            let end = terminated(&inspected, "id", 9000);
            assert_eq!(
                (end.exit_code, end.reason.as_str(), end.finished_ms),
                (code, reason, finished_ms),
                "{inspected:?}"
            );
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let lines = |from: usize| (from..100).map(|n| format!("{n}\n")).collect::<String>();
        assert_eq!(last_lines(&lines(0)), lines(20));
        assert_eq!(last_lines(&format!("{}x", lines(0))), format!("{}x", lines(21)));
        assert_eq!((last_lines("a\nb"), last_lines("")), ("a\nb", ""));
    }
}
