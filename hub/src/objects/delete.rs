//! Deletion: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::write::unsaved;
use super::{DeleteOptions, Error, Objects, Propagation, Target, Written, meta};
use crate::registry::Kind;
use crate::store::{Expected, Object, Op, Write};

/// Keeps an owner until its blocking dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an owner until its dependents have been let go.
const ORPHAN: &str = "orphan";
/// Namespaces that the cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Priority classes that the cluster cannot be without.
const SYSTEM_CLASSES: [&str; 2] = ["system-cluster-critical", "system-node-critical"];
/// Grace of a pod that does not say.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Kubernetes' wording of a failed uid precondition.
pub(super) fn uid_mismatch(asked: &str, found: &str) -> String {
    format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}")
}

/// The refusal of a deletion of another object or state than the one that is there, which names the kind.
fn precondition_failed(target: &Target, field: &str, asked: &str, found: &str, happened: &str) -> Error {
    let detail = format!(
        "the {field} in the precondition ({asked}) does not match the {field} in record ({found}). The object might have been {happened}"
    );
    Error::Conflict { resource: target.kind.group_kind(), name: target.name.clone(), detail }
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

pub(super) fn is_pod(kind: &Kind) -> bool {
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
        if let Some(detail) = immortal(target) {
            let (resource, name) = (target.kind.group_resource(), target.name.clone());
            return Err(Error::Forbidden { resource, name, detail: detail.to_owned() });
        }
        loop {
            let current = self.current(target)?;
            preconditions(target, &current, options)?;
            let mut old = target.view(&current)?;
            change(&mut old);
            let saved = match mark(&target.kind, old, options, Timestamp::now()) {
                Step::Nothing => return Ok(Written { object: current, warnings: Vec::new(), removed: false }),
                Step::Save(marked) if is_released(&target.kind, &marked) => {
                    self.remove(target, &current, marked, options.dry_run).await
                }
                Step::Save(marked) => self.save(target, &current, marked, options.dry_run).await,
            };
            if matches!(saved, Err(Error::Conflict { .. }))
                && options.resource_version.is_none()
                && self.moved_on(&current)
            {
                continue;
            }
            return saved;
        }
    }

    /// Removes an object that nothing holds. A pod, which is deleted in time, goes with the marks of that; what never was
    /// to be is shown as it was.
    async fn remove(
        &self,
        target: &Target,
        current: &Arc<Object>,
        marked: Value,
        dry_run: bool,
    ) -> Result<Written, Error> {
        let last = is_pod(&target.kind).then_some(marked);
        let object = match (dry_run, last) {
            (true, None) => current.clone(),
            (true, Some(last)) => unsaved(current.key.clone(), current.revision, &last),
            (false, last) => {
                let expected = Expected::At(current.revision);
                self.commit_one(target, Write { key: current.key.clone(), expected, op: Op::Delete(last) }).await?
            }
        };
        Ok(Written { object, warnings: Vec::new(), removed: true })
    }
}

/// Why an object can never be deleted; `None` for what can.
fn immortal(target: &Target) -> Option<&'static str> {
    let name = target.name.as_str();
    if is_namespace(&target.kind) && IMMORTAL.contains(&name) {
        return Some("this namespace may not be deleted");
    }
    let system_class = &*target.kind.storage == "priorityclasses.scheduling.k8s.io" && SYSTEM_CLASSES.contains(&name);
    system_class.then_some("this is a system priority class and cannot be deleted")
}

fn preconditions(target: &Target, current: &Arc<Object>, options: &DeleteOptions) -> Result<(), Error> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*current.meta.uid) {
        return Err(precondition_failed(target, "UID", uid, &current.meta.uid, "deleted and then recreated"));
    }
    let revision = current.revision.to_string();
    match options.resource_version.as_deref() {
        Some(version) if version != revision => {
            Err(precondition_failed(target, "ResourceVersion", version, &revision, "modified"))
        }
        _ => Ok(()),
    }
}

/// The object with the marks of its deletion.
fn mark(kind: &Kind, mut object: Value, options: &DeleteOptions, now: Timestamp) -> Step {
    let before = object.clone();
    // Nothing depends on events, so that nothing could wait for it.
    match options.propagation.filter(|_| kind.kind != "Event") {
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
        shorten(&mut object, options.grace_period_seconds);
        // A repeated deletion only acts if it shortens the grace or changes what holds the object.
        let acts = object != before || is_released(kind, &object);
        return if acts { Step::Save(object) } else { Step::Nothing };
    }
    let grace = if is_pod(kind) { pod_grace(&object, options.grace_period_seconds) } else { 0 };
    meta::mark_deleted(&mut object, later(now, grace), grace);
    if object["metadata"]["generation"].as_i64().is_some_and(|generation| generation > 0) {
        meta::bump_generation(&mut object);
    }
    if is_namespace(kind) {
        // Kubernetes gives namespaces no grace period, not even one of 0.
        meta::metadata(&mut object).remove("deletionGracePeriodSeconds");
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

/// Shortens the grace of an earlier deletion, counted from when that came, where this one says so.
fn shorten(object: &mut Value, asked: Option<i64>) {
    let remaining = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let Some(grace) = asked.map(at_least_now).filter(|grace| *grace < remaining) else { return };
    if let Ok(due) = meta::text(object, "deletionTimestamp").parse() {
        meta::mark_deleted(object, later(due, grace - remaining), grace);
    }
}

/// Kubernetes turns a negative grace into one second.
fn at_least_now(grace: i64) -> i64 {
    if grace < 0 { 1 } else { grace }
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
    at_least_now(grace)
}
