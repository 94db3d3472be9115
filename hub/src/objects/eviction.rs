//! The `eviction` subresource of pods: a deletion that a PodDisruptionBudget may refuse.
//!
//! What an eviction takes of a budget is written before the pod is deleted, at the revision that was judged. So however
//! many evict at the same time, no more pods go than the budget allows.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::subresource::{STATUS, label_selector};
use super::write::CONFLICT_ATTEMPTS;
use super::{DeleteOptions, Error, Objects, Target, User, WriteOptions, Written, admission, meta};
use crate::auth::node_name;
use crate::registry::Kind;
use crate::store::{Object, Snapshot};

/// The `eviction` subresource of pods.
pub const EVICTION: &str = "eviction";
/// Storage name of budgets.
pub const BUDGETS: &str = "poddisruptionbudgets.policy";
/// The condition that tells whether a budget allows a disruption.
pub const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";
/// Its reason while the controller cannot tell.
pub const SYNC_FAILED: &str = "SyncFailed";

/// Evictions that a budget may not have seen happen yet (apiserver's `MaxDisruptedPodSize`).
const MAX_DISRUPTED: usize = 2000;
/// Seconds after which to try again while a budget is being worked on.
const RETRY_SECONDS: u32 = 10;

/// What a budget means for an eviction.
enum Verdict {
    /// The pod goes, and the budget does not count it.
    Uncounted,
    /// The pod goes once this status has been written.
    Counted(Value),
}

impl Objects {
    /// Evicts a pod: deletes it, unless a budget forbids it.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] while the budget allows no disruption, [`Error::Misconfigured`] for a pod with several
    /// budgets; else as [`Objects::delete`].
    pub async fn evict(&self, target: &Target, options: &DeleteOptions) -> Result<Written, Error> {
        for _ in 0..CONFLICT_ATTEMPTS {
            let stored = self.current(target)?;
            // An eviction is something new in its namespace.
            admission::namespace_goes_on(target, &target.name, &self.snapshot())?;
            let pod = target.view(&stored)?;
            check_node(target, &options.user, &pod)?;
            if !ignores_budgets(&pod) {
                return self.evict_within_budget(target, &stored, &pod, options).await;
            }
            // A pod that becomes ready meanwhile is one for its budget.
            let pinned = options.resource_version.is_none() && !is_over(&pod);
            match self.delete_evicted(target, &pin(options, pinned, &stored)).await {
                Err(Error::Conflict { .. }) if pinned && self.moved_on(&stored) => {}
                done => return done,
            }
        }
        Err(target.conflict(super::error::MODIFIED))
    }

    async fn evict_within_budget(
        &self,
        target: &Target,
        stored: &Arc<Object>,
        pod: &Value,
        options: &DeleteOptions,
    ) -> Result<Written, Error> {
        let kind = self.budget_kind();
        let budgets = kind.as_ref().map(|kind| matching(kind, &self.snapshot(), stored)).unwrap_or_default();
        if budgets.len() > 1 {
            let detail =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Error::Misconfigured(detail.into()));
        }
        let (Some(kind), Some(budget)) = (kind, budgets.into_iter().next()) else {
            return self.delete_evicted(target, options).await;
        };
        let uncounted = self.take_from(&Arc::clone(&kind), target, pod, &budget, options.dry_run).await?;
        let pinned = uncounted && options.resource_version.is_none();
        match self.delete_evicted(target, &pin(options, pinned, stored)).await {
            Err(Error::Conflict { .. }) if pinned => Err(still_processed(&budget.key.name)),
            done => done,
        }
    }

    /// Counts one disruption against a budget. Tells whether the budget does not count the pod.
    async fn take_from(
        &self,
        kind: &Arc<Kind>,
        target: &Target,
        pod: &Value,
        budget: &Arc<Object>,
        dry_run: bool,
    ) -> Result<bool, Error> {
        let name = budget.key.name.to_string();
        let place =
            Target { kind: Arc::clone(kind), namespace: target.namespace.clone(), name, subresource: STATUS.into() };
        let options = WriteOptions { user: User::component("eviction"), dry_run, ..WriteOptions::default() };
        for _ in 0..CONFLICT_ATTEMPTS {
            let current = self.current(&place)?;
            let mut object = place.view(&current)?;
            match judge(&object, pod, Timestamp::now())? {
                Verdict::Uncounted => return Ok(true),
                Verdict::Counted(status) => object["status"] = status,
            }
            meta::metadata(&mut object).insert("resourceVersion".into(), current.revision.to_string().into());
            match self.update(&place, object, &options).await {
                Err(Error::Conflict { .. }) if self.moved_on(&current) => {}
                done => return done.map(|_| false),
            }
        }
        Err(still_processed(&place.name))
    }

    async fn delete_evicted(&self, target: &Target, options: &DeleteOptions) -> Result<Written, Error> {
        let pods = Target { subresource: String::new(), ..target.clone() };
        self.delete_with(&pods, options, |pod| mark_disrupted(pod, Timestamp::now())).await
    }

    fn budget_kind(&self) -> Option<Arc<Kind>> {
        self.registry().kinds().iter().find(|k| &*k.storage == BUDGETS).cloned()
    }
}

/// The options, with the judged revision as a precondition where it is asked for.
fn pin(options: &DeleteOptions, pinned: bool, stored: &Object) -> DeleteOptions {
    let mut options = options.clone();
    if pinned {
        options.resource_version = Some(stored.revision.to_string());
    }
    options
}

/// A node evicts only its own pods.
fn check_node(target: &Target, user: &User, pod: &Value) -> Result<(), Error> {
    match node_name(user) {
        Some(node) if pod["spec"]["nodeName"] != node => Err(Error::Forbidden {
            resource: target.kind.group_resource(),
            name: target.name.clone(),
            detail: format!("node {node:?} can only evict pods with spec.nodeName set to itself"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Whether a pod has ended or is going, so that it cannot be disrupted any more.
fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) || meta::is_deleting(pod)
}

fn ignores_budgets(pod: &Value) -> bool {
    is_over(pod) || pod["status"]["phase"] == "Pending"
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == "Ready").any(|c| c["status"] == "True")
}

/// The budgets that select a pod.
fn matching(kind: &Kind, snapshot: &Snapshot, pod: &Object) -> Vec<Arc<Object>> {
    let selects = |budget: &&Arc<Object>| budget.parse::<Value>().is_ok_and(|b| selects(&b["spec"]["selector"], pod));
    snapshot.list(&kind.storage, Some(&pod.key.namespace)).filter(selects).cloned().collect()
}

/// Whether the selector of a budget matches a pod: an empty one matches every pod, a missing one none.
pub fn selects(selector: &Value, pod: &Object) -> bool {
    let labels = &pod.meta.labels;
    let label = |key: &str| labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v);
    selector.is_object() && label_selector(selector).matches(label)
}

/// Whether a budget lets a pod go, and the budget's status afterwards.
fn judge(budget: &Value, pod: &Value, now: Timestamp) -> Result<Verdict, Error> {
    let name = meta::text(budget, "name");
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    if !is_ready(pod) {
        // A pod that is not ready is none of those that are counted as healthy.
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || healthy >= desired && desired > 0 {
            return Ok(Verdict::Uncounted);
        }
    }
    let refuse = |detail: &str| Error::Forbidden {
        resource: "poddisruptionbudget.policy".into(),
        name: name.to_owned(),
        detail: detail.to_owned(),
    };
    let allowed = count("disruptionsAllowed");
    let disrupted = budget["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if count("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(still_processed(name));
    } else if allowed < 0 {
        return Err(refuse("pdb disruptions allowed is negative"));
    } else if disrupted > MAX_DISRUPTED {
        return Err(refuse("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    } else if allowed == 0 {
        return Err(exhausted(budget, name, desired, healthy));
    }
    let mut status = budget["status"].clone();
    status["disruptionsAllowed"] = (allowed - 1).into();
    status["disruptedPods"][meta::text(pod, "name")] = meta::timestamp(now).into();
    report_allowed(&mut status, now);
    Ok(Verdict::Counted(status))
}

fn exhausted(budget: &Value, name: &str, desired: i64, healthy: i64) -> Error {
    let conditions = budget["status"]["conditions"].as_array().into_iter().flatten();
    let failed = conditions.filter(|c| c["type"] == DISRUPTION_ALLOWED).find(|c| c["reason"] == SYNC_FAILED);
    let cause = match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            condition["message"].as_str().unwrap_or_default()
        ),
        None => format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"),
    };
    refused(cause, 0)
}

fn still_processed(name: &str) -> Error {
    refused(format!("The disruption budget {name} is still being processed by the server."), RETRY_SECONDS)
}

fn refused(cause: String, retry_after_seconds: u32) -> Error {
    let detail = "Cannot evict pod as it would violate the pod's disruption budget.".to_owned();
    Error::TooManyRequests { detail, cause, retry_after_seconds }
}

/// Says in a budget's status whether it allows a disruption.
pub fn report_allowed(status: &mut Value, now: Timestamp) {
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0) > 0;
    let (value, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    report(status, value, reason, "", now);
}

/// Sets the `DisruptionAllowed` condition of a budget's status. Its transition time changes with its value only.
pub fn report(status: &mut Value, value: &str, reason: &str, message: &str, now: Timestamp) {
    let observed = status["observedGeneration"].as_i64().unwrap_or(0);
    let mut condition = json!({
        "type": DISRUPTION_ALLOWED, "status": value, "reason": reason, "message": message,
        "observedGeneration": observed, "lastTransitionTime": meta::timestamp(now),
    });
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    if let Some(old) = conditions.iter().find(|c| c["type"] == DISRUPTION_ALLOWED && c["status"] == value) {
        condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    conditions.retain(|c| c["type"] != DISRUPTION_ALLOWED);
    conditions.push(condition);
    status["conditions"] = conditions.into();
}

/// Says on a pod why it goes.
fn mark_disrupted(pod: &mut Value, now: Timestamp) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": meta::timestamp(now),
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.iter().position(|c| c["type"] == "DisruptionTarget");
    match old {
        Some(old) if conditions[old]["status"] == "True" => {}
        Some(old) => conditions[old] = condition,
        None => conditions.push(condition),
    }
    pod["status"]["conditions"] = conditions.into();
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
mod tests;
