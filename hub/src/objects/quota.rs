//! ResourceQuotas: what objects use, and creates that would use more than there is.
//!
//! Creates in a namespace with a quota pass one at a time and count what is stored, so no two can take the same rest.

mod usage;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use skiff_shared::quantity::{Format, Quantity};
use tokio::sync::OwnedMutexGuard;

use self::usage::{MANDATORY, Usage};
use super::admission::resources::{Amounts, add, amounts, containers};
use super::{Error, Target, meta};
use crate::store::{Key, Object, Resource, Revision, Snapshot};

/// Storage name of quotas.
pub const QUOTAS: &str = "resourcequotas";
/// Kinds whose use depends on what is in the object.
const READ: [&str; 3] = ["persistentvolumeclaims", "pods", "services"];
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
    now: Timestamp,
) -> Result<(), Error> {
    let resource = &*target.kind.storage;
    let mut wanted = Usage::of(resource, new);
    let before = old.map(|old| Usage::of(resource, old));
    if let Some(before) = &before {
        for (name, amount) in &mut wanted.amounts {
            *amount = before.amounts.get(name).map_or(*amount, |b| amount.minus(*b));
        }
    }
    wanted.amounts.retain(|_, amount| amount.nano() > 0);
    for quota in quotas(snapshot, &target.namespace) {
        let quota: Value = quota.parse().unwrap_or_default();
        let hard = amounts(&quota["spec"]["hard"]);
        if !wanted.in_scope(&quota["spec"], resource) {
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
        let used = counted.used(resource, &target.namespace, snapshot, &quota["spec"], now);
        if let Some(detail) = exceeded(name, &hard, &used, &wanted.amounts) {
            return Err(refuse(detail));
        }
    }
    Ok(())
}

/// What a quota's namespace uses of what the quota limits (`status.used`), and when that changes by itself.
pub fn used(
    quota: &Value,
    namespace: &str,
    snapshot: &Snapshot,
    kinds: &[Resource],
    now: Timestamp,
) -> (BTreeMap<String, String>, Option<Timestamp>) {
    let hard = amounts(&quota["spec"]["hard"]);
    let mut sum: Amounts = hard.keys().map(|name| (name.clone(), zero(name))).collect();
    let mut counted = Counted::default();
    for kind in kinds.iter().filter(|kind| concerns(kind, &hard)) {
        add(&mut sum, &counted.used(kind, namespace, snapshot, &quota["spec"], now));
    }
    sum.retain(|name, _| hard.contains_key(name));
    let used = sum.into_iter().map(|(name, amount)| (name, amount.to_string())).collect();
    (used, counted.next_change(now))
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
    fn used(&mut self, kind: &str, namespace: &str, snapshot: &Snapshot, spec: &Value, now: Timestamp) -> Amounts {
        let objects = snapshot.list(&Resource::from(kind), Some(namespace));
        let mut sum = Amounts::new();
        if !READ.contains(&kind) {
            let all = Usage::of_many(kind, objects.count());
            return if all.in_scope(spec, kind) { all.amounts } else { sum };
        }
        let mut kept = HashMap::new();
        for object in objects {
            let usage = match self.0.remove(&object.key) {
                Some((revision, usage)) if revision == object.revision => usage,
                _ => Arc::new(Usage::of(kind, &object.parse().unwrap_or_default())),
            };
            if usage.in_scope(spec, kind) {
                add(&mut sum, &usage.at(now));
            }
            kept.insert(object.key.clone(), (object.revision, usage));
        }
        self.0.retain(|key, _| *key.resource != *kind);
        self.0.extend(kept);
        sum
    }

    /// When the next pod stops to count although it is still there.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().filter_map(|(_, usage)| usage.until).filter(|until| *until >= now).min()
    }
}

/// `limits.cpu for: a,b; limits.memory for: a`: what a quota limits and containers do not name.
fn unspecified(kind: &str, hard: &Amounts, pod: &Value) -> Option<String> {
    if kind != "pods" {
        return None;
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].iter().flat_map(|list| containers(pod, list)) {
        for name in MANDATORY.into_iter().filter(|name| hard.contains_key(*name)) {
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
