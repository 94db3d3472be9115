//! A Deployment's status: counts, and the conditions `Available`, `Progressing` and `ReplicaFailure`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::model::Status;
use super::pass::Pass;
use crate::reconcile::PlannedWrite;
use crate::reconcile::events::seconds;
use crate::reconcile::view::{Condition, later};

impl Pass<'_> {
    /// Whether all wanted replicas are of the new template and available, and none is left of the old.
    pub(super) fn is_complete(&self, status: &Status) -> bool {
        let wanted = self.deployment.replicas();
        status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && status.observed_generation >= self.object.meta.generation
    }

    /// Notes that the rollout was paused or resumed, so that the deadline does not run meanwhile.
    pub(super) fn note_pause(&mut self) {
        if self.deployment.progress_deadline().is_none() {
            return;
        }
        let reason = self.condition("Progressing").map_or("", |c| &c.reason);
        let (paused, noted) = (self.deployment.spec.paused, reason == "DeploymentPaused");
        if reason == "ProgressDeadlineExceeded" {
            return;
        }
        if paused && !noted {
            self.set_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".into());
        } else if !paused && noted {
            self.set_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
    }

    /// Counts, and whether enough pods are available.
    pub(super) fn count(&mut self) {
        let sum =
            |count: &dyn Fn((i64, i64, i64)) -> i64| self.sets.iter().map(|s| count(s.stored.counts())).sum::<i64>();
        let (replicas, ready, available) = (sum(&|c| c.0), sum(&|c| c.1), sum(&|c| c.2));
        let total: i64 = self.sets.iter().map(|s| s.replicas).sum();
        self.status.observed_generation = self.object.meta.generation;
        self.status.replicas = replicas;
        self.status.ready_replicas = ready;
        self.status.available_replicas = available;
        self.status.unavailable_replicas = (total - available).max(0);
        self.status.updated_replicas = self.new.map_or(0, |i| self.sets[i].stored.counts().0);
        let wanted = self.deployment.replicas();
        if available >= wanted - self.deployment.fenceposts().max_unavailable(wanted) {
            let message = "Deployment has minimum availability.".to_owned();
            self.set_condition("Available", "True", "MinimumReplicasAvailable", message);
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            self.set_condition("Available", "False", "MinimumReplicasUnavailable", message);
        }
    }

    /// Judges the progress of the rollout; when to judge it again, if it may run into its deadline.
    pub(super) fn judge_progress(&mut self) -> Option<Timestamp> {
        self.note_failures();
        let Some(deadline) = self.deployment.progress_deadline() else {
            self.remove_condition("Progressing");
            return None;
        };
        let current = self.condition("Progressing").cloned();
        let reason = current.as_ref().map_or("", |c| c.reason.as_str());
        if self.status.replicas == self.status.updated_replicas && reason == "NewReplicaSetAvailable" {
            return None;
        }
        let subject = match self.new {
            Some(new) => format!("ReplicaSet {:?}", self.sets[new].name),
            None => format!("Deployment {:?}", &*self.object.key.name),
        };
        if self.is_complete(&self.status) {
            let message = format!("{subject} has successfully progressed.");
            self.set_condition("Progressing", "True", "NewReplicaSetAvailable", message);
        } else if self.has_progressed() {
            self.renew_progress(current.as_ref(), format!("{subject} is progressing."));
        } else if self.is_late(deadline) {
            let message = format!("{subject} has timed out progressing.");
            self.set_condition("Progressing", "False", "ProgressDeadlineExceeded", message);
        }
        let current = self.condition("Progressing")?;
        let waits = !matches!(
            current.reason.as_str(),
            "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" | "DeploymentPaused"
        );
        let since = current.last_update_time.filter(|_| waits)?;
        // A second more, since times are kept in whole seconds.
        Some(later(since, deadline + 1))
    }

    fn has_progressed(&self) -> bool {
        let (new, old) = (&self.status, &self.deployment.status);
        new.updated_replicas > old.updated_replicas
            || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
            || new.ready_replicas > old.ready_replicas
            || new.available_replicas > old.available_replicas
    }

    /// Progress counts anew from now on, although the status stays `True`.
    fn renew_progress(&mut self, current: Option<&Condition>, message: String) {
        let since = current.filter(|c| c.status == "True").and_then(|c| c.last_transition_time);
        self.remove_condition("Progressing");
        self.set_condition("Progressing", "True", "ReplicaSetUpdated", message);
        if let (Some(since), Some(condition)) = (since, self.status.conditions.last_mut()) {
            condition.last_transition_time = Some(since);
        }
    }

    fn is_late(&self, deadline: i64) -> bool {
        let Some(current) = self.condition("Progressing") else { return false };
        match current.reason.as_str() {
            "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => current.last_update_time.is_some_and(|since| later(since, deadline) < self.now),
        }
    }

    /// Shows the failure of a set, the new one's first.
    fn note_failures(&mut self) {
        let order = self.new.into_iter().chain(self.old());
        let failure = order.filter_map(|i| self.sets[i].stored.failure()).next().cloned();
        match failure {
            Some(f) => self.set_condition("ReplicaFailure", &f.status, &f.reason, f.message),
            None => self.remove_condition("ReplicaFailure"),
        }
    }

    /// Sets a condition, unless status and reason are what they were.
    pub(super) fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let current = self.condition(kind);
        if current.is_some_and(|c| c.status == status && c.reason == reason) {
            return;
        }
        let since = current.filter(|c| c.status == status).and_then(|c| c.last_transition_time).unwrap_or(now);
        let condition = Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_update_time: Some(now),
            last_transition_time: Some(since),
        };
        self.remove_condition(kind);
        self.status.conditions.push(condition);
    }

    fn remove_condition(&mut self, kind: &str) {
        self.status.conditions.retain(|c| c.kind != kind);
    }

    /// What to show when the new set cannot be created.
    pub(super) fn failure(&self, message: String) -> Option<Box<PlannedWrite>> {
        self.deployment.progress_deadline()?;
        let mut conditions = self.deployment.status.conditions.clone();
        let old = conditions.iter().position(|c| c.kind == "Progressing").map(|i| conditions.remove(i));
        let same = old.as_ref().filter(|c| c.status == "False");
        let now = Timestamp::from_second(self.now.as_second()).ok();
        conditions.push(Condition {
            kind: "Progressing".into(),
            status: "False".into(),
            reason: "ReplicaSetCreateError".into(),
            message,
            last_update_time: same.map_or(now, |c| c.last_update_time),
            last_transition_time: same.map_or(now, |c| c.last_transition_time),
        });
        let conditions: Vec<Value> = conditions.iter().map(condition_value).collect();
        Some(Box::new(self.patch(json!({"status": {"conditions": conditions}}))))
    }
}

impl Status {
    /// As a merge patch: counts of zero are left out, as Kubernetes does.
    pub(super) fn to_value(&self) -> Value {
        let count = |n: i64| if n == 0 { Value::Null } else { json!(n) };
        json!({
            "observedGeneration": self.observed_generation,
            "replicas": count(self.replicas),
            "updatedReplicas": count(self.updated_replicas),
            "readyReplicas": count(self.ready_replicas),
            "availableReplicas": count(self.available_replicas),
            "unavailableReplicas": count(self.unavailable_replicas),
            "collisionCount": self.collision_count,
            "conditions": self.conditions.iter().map(condition_value).collect::<Vec<_>>(),
        })
    }
}

fn condition_value(condition: &Condition) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.status,
        "lastUpdateTime": condition.last_update_time.map(seconds),
        "lastTransitionTime": condition.last_transition_time.map(seconds),
        "reason": condition.reason,
        "message": condition.message,
    })
}
