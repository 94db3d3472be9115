//! Setting up a pod's volumes, and what its containers mount of them.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::backoff::Backoff;
use skiff_shared::pod::{Pod, Projection, VolumeSource};
use skiff_shared::quantity::{Format, Quantity};
use skiff_shared::wire::TokenRequest;

use super::build::{self, ConfigError};
use super::context::Context;
use super::view::{Problem, VolumeProgress};
use super::{env, history};
use crate::ledger::facts::{Failure, PodFacts};
use crate::podman::Bind;
use crate::volumes::content::{self, Tokens};
use crate::volumes::downward::Machine;
use crate::volumes::tokens::Found;
use crate::volumes::{self, Wanted, usage};

/// Delays between tries to set up volumes (kubelet: 0.5 s to 2 min 2 s).
const MOUNT_BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(122) };

/// Time between two looks at what volumes hold, milliseconds (kubelet: 10 s).
const MEASURE_EVERY_MS: i64 = 10_000;

/// What came of setting up a pod's volumes.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// Volumes that could not be had, by name, and why.
    failures: Vec<(String, String)>,
    /// Some wait for a token.
    asked: bool,
    /// When to look again, Unix milliseconds.
    refresh_ms: Option<i64>,
}

/// Sets up all volumes of a pod, or brings them up to date.
pub(super) async fn set_up(ctx: &Context, pod: &Pod) -> Mounted {
    let mut outcome = Mounted::default();
    let mut wanted = Vec::new();
    {
        let desired = ctx.desired.borrow().clone();
        let machine = Machine {
            node: &ctx.node,
            host_ip: &ctx.host_ip,
            pod_ip: "",
            cpu_milli: ctx.cpu_milli,
            memory_bytes: ctx.memory_bytes,
            storage_bytes: ctx.storage_bytes(),
        };
        for volume in pod.volumes() {
            let files = match &volume.source {
                VolumeSource::Projected { mode, sources, .. } => {
                    let Some(tokens) = tokens(ctx, pod, &volume.name, sources, &mut outcome) else { continue };
                    content::files(pod, *mode, sources, &desired, &machine, &tokens)
                }
                VolumeSource::EmptyDir { .. } | VolumeSource::HostPath { .. } | VolumeSource::Unsupported(_) => {
                    Ok(Vec::new())
                }
            };
            match files {
                Ok(files) => wanted.push(Wanted::new(volume, files, memory_bytes(ctx, pod))),
                Err(why) => outcome.failures.push((volume.name.clone(), why)),
            }
        }
    }
    let (dir, fs_group) = (build::pod_dir(&ctx.data_dir, pod.uid.as_str()), pod.fs_group());
    let done = tokio::task::spawn_blocking(move || {
        let one = |w: &Wanted| Some((w.name().to_owned(), volumes::set_up(&dir, w, fs_group).err()?.to_string()));
        wanted.iter().filter_map(one).collect::<Vec<_>>()
    });
    match done.await {
        Ok(failures) => outcome.failures.extend(failures),
        Err(error) => outcome.failures.push((String::new(), error.to_string())),
    }
    outcome
}

/// The tokens that a volume needs; `None` where one is not to be had now.
fn tokens(ctx: &Context, pod: &Pod, volume: &str, sources: &[Projection], outcome: &mut Mounted) -> Option<Tokens> {
    let (now_ms, mut all, mut complete) = (ctx.clock.now_ms(), Tokens::new(), true);
    for source in sources {
        let (audience, expiration_seconds) = match source {
            Projection::Token { audience, expiration_seconds, .. } => (audience.clone(), *expiration_seconds),
            Projection::Object { .. } | Projection::Field { .. } | Projection::Resource { .. } => continue,
        };
        let request = TokenRequest { pod: pod.uid.clone(), audience: audience.clone(), expiration_seconds };
        match ctx.tokens.find(&request, now_ms) {
            Found::Token(token, look_ms) => {
                all.insert((audience, expiration_seconds), token);
                outcome.refresh_ms = Some(outcome.refresh_ms.map_or(look_ms, |at| at.min(look_ms)));
            }
            Found::Asked => (outcome.asked, complete) = (true, false),
            Found::Refused(why) => {
                outcome.failures.push((volume.to_owned(), format!("failed to fetch token: {why}")));
                complete = false;
            }
        }
    }
    complete.then_some(all)
}

/// How much a volume in memory may hold: what the pod's containers may, else what the machine has.
fn memory_bytes(ctx: &Context, pod: &Pod) -> u64 {
    let limits = pod.containers.iter().map(|c| c.resources.memory_limit_bytes);
    limits.sum::<Option<u64>>().map_or(ctx.memory_bytes, |sum| sum.min(ctx.memory_bytes))
}

/// Why a pod is to be given up for the sake of its volumes, if it is.
pub(super) async fn measure(ctx: &Context, pod: &Arc<Pod>) -> Option<Failure> {
    let (dir, pod) = (build::pod_dir(&ctx.data_dir, pod.uid.as_str()), Arc::clone(pod));
    let find = move || usage::exceeded(&dir, pod.volumes()).map(|(volume, limit)| (volume.to_owned(), limit));
    let (volume, limit) = tokio::task::spawn_blocking(find).await.ok().flatten()?;
    let limit = Quantity::of(i64::try_from(limit).unwrap_or(i64::MAX), Format::BinarySi);
    let message = format!("Usage of EmptyDir volume {volume:?} exceeds the limit \"{limit}\". ");
    Some(Failure { reason: history::EVICTED.to_owned(), message })
}

/// Notes what was measured: a pod that holds too much is given up.
pub(super) fn measured(
    ctx: &Context,
    pod: &Pod,
    progress: &mut VolumeProgress,
    facts: &mut PodFacts,
    failure: Option<Failure>,
) {
    progress.measure_ms = Some(ctx.clock.now_ms().saturating_add(MEASURE_EVERY_MS));
    if let Some(failure) = failure.filter(|_| facts.failed.is_none()) {
        ctx.pod_event(pod, "", true, &failure.reason, failure.message.clone());
        facts.failed = Some(failure);
    }
}

/// Notes an outcome: events for what failed, and when to try again.
pub(super) fn note(ctx: &Context, pod: &Pod, progress: &mut VolumeProgress, mounted: Mounted) {
    let now_ms = ctx.clock.now_ms();
    progress.stale = false;
    progress.asked = mounted.asked;
    progress.refresh_ms = mounted.refresh_ms;
    for (volume, why) in &mounted.failures {
        let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
        ctx.pod_event(pod, "", true, "FailedMount", message);
    }
    if let Some((_, why)) = mounted.failures.first() {
        let failures = progress.problem.as_ref().map_or(0, |p| p.failures).saturating_add(1);
        let delay = i64::try_from(MOUNT_BACKOFF.delay(failures).as_millis()).unwrap_or(i64::MAX);
        progress.problem = Some(Problem {
            reason: "FailedMount".to_owned(),
            message: why.clone(),
            retry_ms: now_ms.saturating_add(delay),
            failures,
        });
    } else if !mounted.asked {
        (progress.ready, progress.problem) = (true, None);
    }
}

/// What a container mounts. Parts of volumes are mounted apart first, so that it sees them whatever becomes of links.
///
/// # Errors
/// [`ConfigError::Mount`].
pub(super) async fn binds(
    ctx: &Context,
    pod: &Arc<Pod>,
    container: &str,
    env: &[(String, String)],
) -> Result<Vec<Bind>, ConfigError> {
    let mut sub_paths = Vec::new();
    for mount in pod.mounts(container) {
        let sub_path = if mount.expand { expand(&mount.sub_path, env)? } else { mount.sub_path.clone() };
        sub_paths.push(sub_path);
    }
    let dir = build::pod_dir(&ctx.data_dir, pod.uid.as_str());
    let whole = sub_paths.iter().all(String::is_empty);
    let (pod, container) = (Arc::clone(pod), container.to_owned());
    let work = move || volumes::binds(&dir, &pod, &container, &sub_paths);
    let bound = if whole {
        work()
    } else {
        let failed = |error: tokio::task::JoinError| ConfigError::Mount(error.to_string());
        tokio::task::spawn_blocking(work).await.map_err(failed)?
    };
    bound.map_err(|error| ConfigError::Mount(error.to_string()))
}

/// `subPathExpr`, with the words of a kubelet for what is wrong with it.
fn expand(expression: &str, env: &[(String, String)]) -> Result<String, ConfigError> {
    let path =
        env::expand_known(expression, env).map_err(|name| ConfigError::Mount(format!("missing value for {name:?}")))?;
    if path.starts_with('/') {
        return Err(ConfigError::Mount(format!("error SubPath `{path}` must not be an absolute path")));
    }
    if path.split('/').any(|step| step == "..") {
        return Err(ConfigError::Mount(format!("unable to provision SubPath `{path}`: must not contain '..'")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_paths_below_the_volume() {
        let env = [("A".to_owned(), "x".to_owned()), ("UP".to_owned(), "..".to_owned())];
        for (expression, expected) in [
            ("logs/$(A)", Ok("logs/x")),
            ("$$(A)", Ok("$(A)")),
            ("$(B)", Err("missing value for \"B\"")),
            ("/$(A)", Err("error SubPath `/x` must not be an absolute path")),
            ("a/$(UP)/b", Err("unable to provision SubPath `a/../b`: must not contain '..'")),
        ] {
            let found = expand(expression, &env).map_err(|e| e.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{expression}");
        }
    }
}
