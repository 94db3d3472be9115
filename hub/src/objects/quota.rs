//! ResourceQuotas: what objects use, and creates that would use more than there is.
//!
//! Creates in a namespace with a quota pass one at a time and count what is stored, so no two can take the same rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use skiff_shared::quantity::{Format, Quantity};
use tokio::sync::OwnedMutexGuard;

use super::admission::resources::{Amounts, add, amounts, containers, of_pod};
use super::{Error, Target, meta};
use crate::store::{Key, Object, Resource, Revision, Snapshot};

/// Storage name of quotas.
pub const QUOTAS: &str = "resourcequotas";
/// Kinds with quota names of their own, beside `count/…`.
const COUNTED: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];
/// Kinds whose use depends on what is in the object.
const READ: [&str; 3] = ["persistentvolumeclaims", "pods", "services"];
/// Resources of containers that a quota may make mandatory.
const COMPUTE: [&str; 8] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
];

/// What one object uses, and what scopes ask about it.
#[derive(Debug, Clone, Default)]
struct Usage {
    amounts: Amounts,
    best_effort: bool,
    terminating: bool,
    priority_class: String,
}

/// What the objects of one namespace use, as last counted; held while a create is counted and stored.
#[derive(Debug, Default)]
pub(super) struct Counted(HashMap<Key, (Revision, Arc<Usage>)>);

/// One place at the counter for each namespace.
#[derive(Debug, Default)]
pub(super) struct Counter {
    namespaces: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Counted>>>>,
}

/// Keeps others from creating in the namespace until the write is done.
pub(super) type Turn = Option<OwnedMutexGuard<Counted>>;

impl Counter {
    /// Waits for the namespace's turn, where it has quotas.
    pub(super) async fn enter(&self, target: &Target, snapshot: &Snapshot) -> Turn {
        let limited = target.kind.namespaced && quotas(snapshot, &target.namespace).next().is_some();
        if !limited {
            return None;
        }
        let place = {
            let mut all = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            // Namespaces go; nobody holds the place of one that is gone.
            all.retain(|name, place| {
                *name == target.namespace || Arc::strong_count(place) > 1 || quotas(snapshot, name).next().is_some()
            });
            Arc::clone(all.entry(target.namespace.clone()).or_default())
        };
        Some(place.lock_owned().await)
    }
}

/// Whether an update may make an object use more than before.
pub(super) fn may_grow(target: &Target) -> bool {
    let kind = &*target.kind.storage;
    match target.subresource.as_str() {
        "" => kind != "pods" && READ.contains(&kind),
        "resize" => kind == "pods",
        _ => false,
    }
}

/// Refuses a write that would use more than a quota has left.
pub(super) fn check(
    target: &Target,
    snapshot: &Snapshot,
    new: &Value,
    old: Option<&Value>,
    counted: &mut Counted,
) -> Result<(), Error> {
    let resource = &*target.kind.storage;
    let mut wanted = usage(resource, new);
    let before = old.map(|old| usage(resource, old));
    if let Some(before) = &before {
        for (name, amount) in &mut wanted.amounts {
            *amount = before.amounts.get(name).map_or(*amount, |b| amount.minus(*b));
        }
    }
    wanted.amounts.retain(|_, amount| amount.nano() > 0);
    for quota in quotas(snapshot, &target.namespace) {
        let quota: Value = quota.parse().unwrap_or_default();
        let hard = amounts(&quota["spec"]["hard"]);
        if !in_scope(&quota["spec"], resource, &wanted) {
            continue;
        }
        let refuse = |detail: String| Error::Forbidden {
            resource: target.kind.group_resource(),
            name: meta::text(new, "name").to_owned(),
            detail,
        };
        let name = meta::text(&quota, "name");
        if let Some(missing) = unspecified(resource, &hard, new).filter(|_| old.is_none()) {
            return Err(refuse(format!("failed quota: {name}: must specify {missing}")));
        }
        if !wanted.amounts.keys().any(|k| hard.contains_key(k)) {
            continue;
        }
        let used = counted.used(resource, &target.namespace, snapshot, &quota["spec"]);
        if let Some(detail) = exceeded(name, &hard, &used, &wanted.amounts) {
            return Err(refuse(detail));
        }
    }
    Ok(())
}

/// What a quota's namespace uses of what the quota limits (`status.used`).
pub fn used(quota: &Value, namespace: &str, snapshot: &Snapshot, kinds: &[Resource]) -> BTreeMap<String, String> {
    let hard = amounts(&quota["spec"]["hard"]);
    let mut sum: Amounts = hard.keys().map(|name| (name.clone(), zero(name))).collect();
    let mut counted = Counted::default();
    for kind in kinds.iter().filter(|kind| concerns(kind, &hard)) {
        add(&mut sum, &counted.used(kind, namespace, snapshot, &quota["spec"]));
    }
    sum.retain(|name, _| hard.contains_key(name));
    sum.into_iter().map(|(name, amount)| (name, amount.to_string())).collect()
}

/// Nothing of a resource, in the form in which it is usually written.
fn zero(name: &str) -> Quantity {
    let bytes = ["memory", "storage"].iter().any(|what| name.ends_with(what));
    Quantity::of(0, if bytes { Format::BinarySi } else { Format::DecimalSi })
}

fn concerns(kind: &str, hard: &Amounts) -> bool {
    let count = format!("count/{kind}");
    READ.contains(&kind) || hard.keys().any(|name| name == kind || *name == count)
}

fn quotas<'a>(snapshot: &'a Snapshot, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
    snapshot.list(&Resource::from(QUOTAS), Some(namespace))
}

impl Counted {
    /// What the objects of a kind use, those outside the quota's scopes aside.
    fn used(&mut self, kind: &str, namespace: &str, snapshot: &Snapshot, spec: &Value) -> Amounts {
        let objects = snapshot.list(&Resource::from(kind), Some(namespace));
        let mut sum = Amounts::new();
        if !READ.contains(&kind) {
            let count = i64::try_from(objects.count()).unwrap_or(i64::MAX);
            let one = Usage { amounts: counts(kind, count), ..Usage::default() };
            return if in_scope(spec, kind, &one) { one.amounts } else { sum };
        }
        let mut kept = HashMap::new();
        for object in objects {
            let usage = match self.0.remove(&object.key) {
                Some((revision, usage)) if revision == object.revision => usage,
                _ => Arc::new(usage(kind, &object.parse().unwrap_or_default())),
            };
            if in_scope(spec, kind, &usage) {
                add(&mut sum, &usage.amounts);
            }
            kept.insert(object.key.clone(), (object.revision, usage));
        }
        self.0.retain(|key, _| *key.resource != *kind);
        self.0.extend(kept);
        sum
    }
}

fn counts(kind: &str, count: i64) -> Amounts {
    let count = Quantity::of(count, Format::DecimalSi);
    let mut amounts = Amounts::from([(format!("count/{kind}"), count)]);
    if COUNTED.contains(&kind) {
        amounts.insert(kind.to_owned(), count);
    }
    amounts
}

/// What an object uses.
fn usage(kind: &str, object: &Value) -> Usage {
    let mut amounts = counts(kind, 1);
    match kind {
        "pods" => return pod_usage(object, amounts),
        "services" => service_usage(object, &mut amounts),
        "persistentvolumeclaims" => claim_usage(object, &mut amounts),
        _ => {}
    }
    Usage { amounts, ..Usage::default() }
}

fn pod_usage(pod: &Value, mut used: Amounts) -> Usage {
    let (requests, limits) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
    let spec = &pod["spec"];
    let usage = Usage {
        best_effort: requests.is_empty() && limits.is_empty(),
        terminating: spec["activeDeadlineSeconds"].is_i64(),
        priority_class: spec["priorityClassName"].as_str().unwrap_or_default().to_owned(),
        ..Usage::default()
    };
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        // What has ended still counts as an object.
        used.remove("pods");
        return Usage { amounts: used, ..usage };
    }
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    used.extend(limits.into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
    Usage { amounts: used, ..usage }
}

fn service_usage(service: &Value, used: &mut Amounts) {
    let kind = service["spec"]["type"].as_str().unwrap_or_default();
    let one = |n: usize| Quantity::of(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    if matches!(kind, "NodePort" | "LoadBalancer") {
        let ports = service["spec"]["ports"].as_array().map_or(0, Vec::len);
        used.insert("services.nodeports".into(), one(ports));
    }
    if kind == "LoadBalancer" {
        used.insert("services.loadbalancers".into(), one(1));
    }
}

fn claim_usage(claim: &Value, used: &mut Amounts) {
    let storage = amounts(&claim["spec"]["resources"]["requests"]).remove("storage");
    let class = claim["spec"]["storageClassName"].as_str().filter(|c| !c.is_empty());
    if let Some(storage) = storage {
        used.insert("requests.storage".into(), storage);
    }
    if let Some(class) = class {
        let name = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
        used.insert(name("persistentvolumeclaims"), Quantity::of(1, Format::DecimalSi));
        used.extend(storage.map(|storage| (name("requests.storage"), storage)));
    }
}

/// Whether a quota is about an object: with scopes, about some pods only.
fn in_scope(spec: &Value, kind: &str, usage: &Usage) -> bool {
    let scopes = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|s| (s, &Value::Null));
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let selected = selected.map(|e| (e["scopeName"].as_str().unwrap_or_default(), e));
    scopes.chain(selected).all(|(scope, expression)| kind == "pods" && usage.matches(scope, expression))
}

impl Usage {
    fn matches(&self, scope: &str, expression: &Value) -> bool {
        let listed = || {
            let values = expression["values"].as_array().into_iter().flatten();
            values.into_iter().any(|v| v.as_str() == Some(&self.priority_class))
        };
        match scope {
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "PriorityClass" => match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("DoesNotExist") => self.priority_class.is_empty(),
                _ => !self.priority_class.is_empty(),
            },
            _ => false,
        }
    }
}

/// `limits.cpu for: a,b; limits.memory for: a`: what a quota limits and containers do not name.
fn unspecified(kind: &str, hard: &Amounts, pod: &Value) -> Option<String> {
    if kind != "pods" {
        return None;
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].iter().flat_map(|list| containers(pod, list)) {
        for name in COMPUTE.into_iter().filter(|name| hard.contains_key(*name)) {
            let (list, resource) = match name.split_once('.') {
                Some((list, resource)) => (list, resource),
                None => ("requests", name),
            };
            if container["resources"][list][resource].is_null() {
                missing.entry(name).or_default().push(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    let texts: Vec<String> = missing.into_iter().map(|(name, who)| format!("{name} for: {}", who.join(","))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// One resource of which too much is wanted.
struct Excess<'a> {
    resource: &'a str,
    requested: Quantity,
    used: Quantity,
    limited: Quantity,
}

fn exceeded(name: &str, hard: &Amounts, used: &Amounts, wanted: &Amounts) -> Option<String> {
    let mut over = Vec::new();
    for (resource, requested) in wanted {
        let Some(limited) = hard.get(resource).copied() else { continue };
        let used = used.get(resource).copied().unwrap_or_else(|| zero(resource));
        if used.plus(*requested).nano() > limited.nano() {
            over.push(Excess { resource, requested: *requested, used, limited });
        }
    }
    if over.is_empty() {
        return None;
    }
    let texts = |of: fn(&Excess<'_>) -> Quantity| {
        let texts: Vec<String> = over.iter().map(|e| format!("{}={}", e.resource, of(e))).collect();
        texts.join(",")
    };
    let (requested, used, limited) = (texts(|e| e.requested), texts(|e| e.used), texts(|e| e.limited));
    Some(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
}
