//! Deletion: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::error::MODIFIED;
use super::{DeleteOptions, Error, Objects, Propagation, Target, Written, meta};
use crate::registry::Kind;
use crate::store::Object;

/// Keeps an owner until its blocking dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an owner until its dependents have been let go.
const ORPHAN: &str = "orphan";
/// Namespaces that the cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Grace of a pod that does not say.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Kubernetes' wording of a failed uid precondition.
pub(super) fn uid_mismatch(asked: &str, found: &str) -> String {
    format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}")
}

/// Whether a marked object has nothing left that holds it: no finalizers and no grace to wait for.
pub(super) fn is_released(kind: &Kind, object: &Value) -> bool {
    let waits = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    let namespace_holds = is_namespace(kind) && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    meta::is_deleting(object) && !waits && !namespace_holds && meta::finalizers(object).is_empty()
}

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Namespace"
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

/// What a deletion does to an object.
enum Step {
    /// Nothing: it is already being deleted, and no later than asked.
    Nothing,
    /// Store it with its mark, or remove it if nothing holds it.
    Save(Value),
}

impl Objects {
    /// Deletes an object: gracefully where the kind has it (pods), keeping it while it has finalizers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Written, Error> {
        self.delete_with(target, options, |_| {}).await
    }

    /// Deletes an object, with a change to it in the same write.
    pub(super) async fn delete_with(
        &self,
        target: &Target,
        options: &DeleteOptions,
        change: impl Fn(&mut Value),
    ) -> Result<Written, Error> {
        if is_namespace(&target.kind) && IMMORTAL.contains(&target.name.as_str()) {
            let detail = "this namespace may not be deleted".to_owned();
            return Err(Error::Forbidden { resource: target.kind.plural.into(), name: target.name.clone(), detail });
        }
        loop {
            let current = self.current(target)?;
            preconditions(target, &current, options)?;
            let mut old = target.view(&current)?;
            change(&mut old);
            let marked = match mark(&target.kind, old, options, Timestamp::now()) {
                Step::Nothing => return Ok(Written { object: current, warnings: Vec::new(), removed: false }),
                Step::Save(marked) => marked,
            };
            let saved = self.save(target, &current, marked, options.dry_run).await;
            if matches!(saved, Err(Error::Conflict { .. }))
                && options.resource_version.is_none()
                && self.moved_on(&current)
            {
                continue;
            }
            return saved;
        }
    }
}

fn preconditions(target: &Target, current: &Arc<Object>, options: &DeleteOptions) -> Result<(), Error> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*current.meta.uid) {
        return Err(target.conflict(uid_mismatch(uid, &current.meta.uid)));
    }
    match options.resource_version.as_deref() {
        Some(version) if version != current.revision.to_string() => Err(target.conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}. {MODIFIED}",
            current.revision
        ))),
        _ => Ok(()),
    }
}

/// The object with the marks of its deletion.
fn mark(kind: &Kind, mut object: Value, options: &DeleteOptions, now: Timestamp) -> Step {
    let grace = if is_pod(kind) { pod_grace(&object, options.grace_period_seconds) } else { 0 };
    let before = object.clone();
    match options.propagation {
        Some(Propagation::Foreground) => meta::set_finalizer(&mut object, FOREGROUND, true),
        Some(Propagation::Orphan) => meta::set_finalizer(&mut object, ORPHAN, true),
        Some(Propagation::Background) => {
            meta::set_finalizer(&mut object, FOREGROUND, false);
            meta::set_finalizer(&mut object, ORPHAN, false);
        }
        None if orphans_by_default(kind, &object) => meta::set_finalizer(&mut object, ORPHAN, true),
        None => {}
    }
    if meta::is_deleting(&before) {
        let remaining = before["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        let shorter = grace < remaining;
        if shorter {
            meta::mark_deleted(&mut object, later(now, grace), grace);
        }
        // A repeated deletion only acts if it shortens the grace or changes what holds the object.
        let acts = shorter || object != before || is_released(kind, &object);
        return if acts { Step::Save(object) } else { Step::Nothing };
    }
    meta::mark_deleted(&mut object, later(now, grace), grace);
    if kind.hooks.has_generation && (grace > 0 || !meta::finalizers(&object).is_empty()) {
        meta::bump_generation(&mut object);
    }
    if is_namespace(kind) {
        object["status"]["phase"] = "Terminating".into();
    }
    Step::Save(object)
}

/// Whether a deletion that does not say lets the dependents go, as the oldest kinds always did; what already holds the
/// object decides before that.
fn orphans_by_default(kind: &Kind, object: &Value) -> bool {
    let old = matches!((kind.group, kind.kind), ("", "ReplicationController") | ("batch", "Job"));
    old && !meta::finalizers(object).contains(&FOREGROUND)
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The grace of a pod: none if it was never bound or has ended, else as asked, else as its spec says.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let bound = pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !bound || ended {
        return 0;
    }
    let grace =
        asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(DEFAULT_GRACE_SECONDS);
    // Kubernetes turns a negative grace into one second.
    if grace < 0 { 1 } else { grace }
}
