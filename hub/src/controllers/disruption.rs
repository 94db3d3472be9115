//! The disruption controller: keeps in the status of PodDisruptionBudgets how many pods may be evicted.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::objects::eviction::{BUDGETS, SYNC_FAILED, report, report_allowed, selects};
use crate::reconcile::view::{self, Pod, later};
use crate::reconcile::{Controller, EventDraft, Memo, Plan, PlannedWrite};
use crate::registry::Registry;
use crate::store::{Event, Key, Object, Snapshot};

/// How long a pod that was let go may take until it is marked as deleted (Kubernetes' `DeletionTimeout`).
const DELETION_TIMEOUT_SECONDS: i64 = 2 * 60;

/// The disruption controller.
#[derive(Debug)]
pub struct Disruption {
    pods: Arc<Memo<Pod>>,
    budgets: Memo<Value>,
    registry: Arc<Registry>,
}

impl Disruption {
    /// With the parsed pods that the controllers share, and the table of kinds, by which the owners of pods are found.
    pub fn new(pods: Arc<Memo<Pod>>, registry: Arc<Registry>) -> Self {
        Self { pods, budgets: Memo::new(1024), registry }
    }

    /// The budgets that select a pod.
    fn of_pod(&self, pod: &Object, snapshot: &Snapshot) -> Vec<Key> {
        let selects = |b: &&Arc<Object>| self.budgets.get(b).is_some_and(|b| selects(&b["spec"]["selector"], pod));
        let budgets = snapshot.list(&BUDGETS.into(), Some(&pod.key.namespace));
        budgets.filter(selects).map(|b| b.key.clone()).collect()
    }
}

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        match &*event.object.key.resource {
            BUDGETS => vec![event.object.key.clone()],
            "pods" => {
                let both = [Some(&event.object), event.previous.as_ref()];
                let mut keys: Vec<Key> = both.into_iter().flatten().flat_map(|p| self.of_pod(p, snapshot)).collect();
                keys.dedup();
                keys
            }
            _ => Vec::new(),
        }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        view::all(snapshot, BUDGETS)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let Some(budget) = self.budgets.get(stored) else { return Plan::nothing() };
        let selected = snapshot.list(&"pods".into(), Some(&key.namespace));
        let selected = selected.filter(|pod| selects(&budget["spec"]["selector"], pod));
        let pods: Vec<Member<'_>> =
            selected.filter_map(|object| Some(Member { object, pod: self.pods.get(object)? })).collect();
        let pass = Pass { snapshot, registry: &self.registry, stored, budget: &budget, pods, now };
        pass.plan()
    }
}

/// A pod that a budget selects.
struct Member<'a> {
    object: &'a Arc<Object>,
    pod: Arc<Pod>,
}

/// How many pods there should be, and how many of them healthy.
struct Expected {
    pods: i64,
    healthy: i64,
    unmanaged: bool,
}

/// One look at one budget.
struct Pass<'a> {
    snapshot: &'a Snapshot,
    registry: &'a Registry,
    stored: &'a Arc<Object>,
    budget: &'a Value,
    pods: Vec<Member<'a>>,
    now: Timestamp,
}

impl Pass<'_> {
    fn plan(&self) -> Plan {
        let mut plan = Plan::nothing();
        match self.expected() {
            Ok(expected) => {
                self.count(&expected, &mut plan);
                if self.pods.is_empty() && !plan.writes.is_empty() {
                    plan.events.push(self.event(false, "NoPods", "No matching pods found".into()));
                }
                if expected.unmanaged && !plan.writes.is_empty() {
                    plan.events.push(self.event(true, "UnmanagedPods", unmanaged(&self.budget["spec"]["selector"])));
                }
            }
            Err(why) => self.fail(&why, &mut plan),
        }
        plan
    }

    fn count(&self, expected: &Expected, plan: &mut Plan) {
        let disrupted = self.disrupted(plan);
        let counts = |m: &&Member<'_>| {
            !m.pod.deleting && !disrupted.contains_key(&*m.object.key.name) && m.pod.ready_since.is_some()
        };
        let healthy = i64::try_from(self.pods.iter().filter(counts).count()).unwrap_or(i64::MAX);
        let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
        let mut status = json!({
            "currentHealthy": healthy, "desiredHealthy": expected.healthy, "expectedPods": expected.pods,
            "disruptionsAllowed": allowed, "observedGeneration": self.generation(),
        });
        if !disrupted.is_empty() {
            status["disruptedPods"] = disrupted.into();
        }
        if !self.budget["status"]["conditions"].is_null() {
            status["conditions"] = self.budget["status"]["conditions"].clone();
        }
        report_allowed(&mut status, self.now);
        self.write(status, plan, format!("{healthy} of {} pods are healthy, {allowed} may go", expected.pods));
    }

    /// Lets nobody evict while it cannot be told how many pods there should be.
    fn fail(&self, why: &str, plan: &mut Plan) {
        let message = format!("Failed to calculate the number of expected pods: {why}");
        let mut status = self.budget["status"].clone();
        status["disruptionsAllowed"] = 0.into();
        report(&mut status, "False", SYNC_FAILED, why, self.now);
        self.write(status, plan, message.clone());
        if !plan.writes.is_empty() {
            plan.events.push(self.event(true, "CalculateExpectedPodCountFailed", message));
        }
    }

    fn write(&self, status: Value, plan: &mut Plan, why: String) {
        if status == self.budget["status"] {
            return;
        }
        let mut object = self.budget.clone();
        object["status"] = status;
        let (key, revision) = (self.stored.key.clone(), self.stored.revision);
        plan.writes.push(PlannedWrite::Update { key, revision, subresource: "status", object });
        plan.why = why;
    }

    fn generation(&self) -> i64 {
        self.budget["metadata"]["generation"].as_i64().unwrap_or(0)
    }

    fn event(&self, warning: bool, reason: &'static str, message: String) -> EventDraft {
        let uid = self.stored.meta.uid.to_string();
        EventDraft { about: self.stored.key.clone(), uid, warning, reason, message }
    }

    /// The pods that were let go and are not marked as deleted yet, with the times of their evictions.
    fn disrupted(&self, plan: &mut Plan) -> Map<String, Value> {
        let mut kept = Map::new();
        for member in self.pods.iter().filter(|m| !m.pod.deleting) {
            let name = &*member.object.key.name;
            let since = &self.budget["status"]["disruptedPods"][name];
            let Some(at) = since.as_str().and_then(|t| t.parse::<Timestamp>().ok()) else { continue };
            let deadline = later(at, DELETION_TIMEOUT_SECONDS);
            if deadline > self.now {
                plan.requeue(deadline);
                kept.insert(name.to_owned(), since.clone());
                continue;
            }
            let budget = &self.stored.key;
            plan.events.push(EventDraft {
                about: member.object.key.clone(),
                uid: member.object.meta.uid.to_string(),
                warning: true,
                reason: "NotDeleted",
                message: format!(
                    "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                    budget.namespace, budget.name
                ),
            });
        }
        kept
    }

    fn expected(&self) -> Result<Expected, String> {
        let spec = &self.budget["spec"];
        let (most_missing, least) = (&spec["maxUnavailable"], &spec["minAvailable"]);
        if most_missing.is_null() && least.is_null() {
            return Ok(Expected { pods: 0, healthy: 0, unmanaged: false });
        }
        if let (true, Some(healthy)) = (most_missing.is_null(), least.as_i64()) {
            let pods = i64::try_from(self.pods.len()).unwrap_or(i64::MAX);
            return Ok(Expected { pods, healthy, unmanaged: false });
        }
        let (pods, unmanaged) = self.scale()?;
        let healthy = if most_missing.is_null() { scaled(least, pods) } else { pods - scaled(most_missing, pods) };
        Ok(Expected { pods, healthy: healthy.max(0), unmanaged })
    }

    /// The replicas of all owners of the pods, and whether there are pods without one.
    fn scale(&self) -> Result<(i64, bool), String> {
        let (mut owners, mut unmanaged) = (BTreeMap::new(), false);
        for member in &self.pods {
            let pod: Value = member.object.parse().unwrap_or_default();
            let Some(owner) = controller_of(&pod) else {
                unmanaged = true;
                continue;
            };
            let (uid, replicas) = self.replicas(owner, &member.object.key)?;
            owners.insert(uid, replicas);
        }
        Ok((owners.values().sum(), unmanaged))
    }

    /// The uid and the replicas of an owner, or of the Deployment that owns it.
    fn replicas(&self, owner: &Value, pod: &Key) -> Result<(String, i64), String> {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let lost = || format!("found no controllers for pod {:?}", &*pod.name);
        let kind = self.registry.kind(text("apiVersion"), text("kind")).ok_or_else(lost)?;
        if !kind.subresources.contains(&"scale") {
            return Err(format!("{} does not implement the scale subresource", kind.group_resource()));
        }
        let key = view::key(&kind.storage, &pod.namespace, text("name"));
        let stored = self.snapshot.get(&key).filter(|o| *o.meta.uid == *text("uid")).ok_or_else(lost)?;
        let object: Value = stored.parse().map_err(|_| lost())?;
        match controller_of(&object).filter(|_| kind.kind == "ReplicaSet") {
            Some(above) => self.replicas(above, pod),
            None => Ok((text("uid").to_owned(), object["spec"]["replicas"].as_i64().unwrap_or(0))),
        }
    }
}

fn controller_of(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// A count, or a percentage of `total`, rounded up.
fn scaled(bound: &Value, total: i64) -> i64 {
    let percent = bound.as_str().and_then(|text| text.strip_suffix('%')).and_then(|digits| digits.parse::<i64>().ok());
    percent
        .map_or_else(|| bound.as_i64().unwrap_or(0), |percent| percent.saturating_mul(total).saturating_add(99) / 100)
}

fn unmanaged(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default())).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let expressions: String = expressions.map(go_requirement).collect();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: &LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// A requirement as Go prints it.
fn go_requirement(requirement: &Value) -> String {
    let text = |field: &str| requirement[field].as_str().unwrap_or_default();
    let values: Vec<&str> = requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (key, operator, values) = (text("key"), text("operator"), values.join(" "));
    format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
}

#[cfg(test)]
#[path = "disruption_tests.rs"]
mod tests;
