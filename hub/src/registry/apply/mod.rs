//! Server-side apply (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>): who owns which field of an
//! object, and what becomes of the object when one of its managers applies a configuration.
//!
//! All of it is pure: objects and owners in, objects and owners out. Ownership is told by the types of the schema: a
//! struct, a map and a list with keys have parts with owners of their own, everything else has one owner as a whole.

mod kubectl;
mod managers;
mod path;
mod set;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::Value;

pub use managers::{Manager, Managers, is_reset};
pub use set::FieldSet;

use super::schema::Schema;
use walk::Place;

/// The manager that gets what an object had before it was first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Metadata that has no owner, because the server sets it or it names the object.
const UNOWNED_METADATA: [&str; 8] = [
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:selfLink",
    "f:uid",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
];
/// What is written: the type of the object, and which part of it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Definition name, e.g. `io.k8s.api.apps.v1.Deployment`.
    pub definition: &'a str,
    /// Writes of the object itself leave its status alone.
    pub has_status: bool,
    /// Who writes; its subresource says which part.
    pub manager: &'a Manager,
    /// When, in RFC 3339 with whole seconds.
    pub now: &'a str,
}

/// Fields that others own with other values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager as Kubernetes names it: `"kubectl-edit" using apps/v1`.
    pub with: String,
    /// `.spec.replicas`.
    pub path: String,
}

/// Why a configuration is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The configuration does not fit the type.
    #[error("{0}")]
    Malformed(String),
    /// Others own what it would change.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
}

impl Subject<'_> {
    fn place(&self) -> Place<'static> {
        Place::root(Schema::builtin(), self.definition)
    }

    /// Leaves only what a write of this kind can own.
    fn strip(&self, set: &mut FieldSet) {
        set.remove("f:apiVersion");
        set.remove("f:kind");
        set.remove_below("f:metadata", &UNOWNED_METADATA);
        match self.manager.subresource.as_str() {
            "status" => set.retain(|element| matches!(element, "f:status" | "f:metadata")),
            "" if self.has_status => set.remove("f:status"),
            _ => {}
        }
    }
}

/// The owners after someone creates or changes an object by other means than apply. What they set, they own; what they
/// changed or removed, others no longer own. Whether any owner's fields change.
///
/// `old` is `None` on create. An object whose owners have been forgotten stays without.
pub fn update(subject: &Subject<'_>, old: Option<&Value>, new: &Value, managers: &mut Managers) -> bool {
    if old.is_some() && managers.is_empty() {
        return false;
    }
    let empty;
    let old = match old {
        Some(old) => old,
        None => {
            empty = Schema::builtin().empty(subject.definition);
            &empty
        }
    };
    let mut difference = subject.place().compare(old, new);
    subject.strip(&mut difference.added);
    subject.strip(&mut difference.modified);
    let mut taken = difference.added;
    taken.unite(difference.modified);
    if taken.is_empty() && difference.removed.is_empty() {
        return false;
    }
    managers.take(&difference.removed, subject.manager);
    managers.take(&taken, subject.manager);
    let before = managers.get(subject.manager);
    let time = if taken.is_empty() { before.and_then(|b| b.time.clone()) } else { Some(subject.now.to_owned()) };
    let mut fields = before.map(|entry| entry.fields.difference(&difference.removed)).unwrap_or_default();
    fields.unite(taken);
    managers.set(subject.manager, fields, time);
    managers.cap();
    true
}

/// Applies a configuration to an object: what it says goes in, what this manager said before and no longer says goes
/// out unless others own it. `config` must be decoded by the schema. Gives the object and its new owners.
///
/// # Errors
/// [`ApplyError::Conflicts`] when it would change what others own, unless `force` takes it from them.
pub fn apply(
    subject: &Subject<'_>,
    live: &Value,
    config: &Value,
    managers: Managers,
    force: bool,
) -> Result<(Value, Managers), ApplyError> {
    let managers = if managers.is_empty() { before_first_apply(subject, live) } else { managers };
    let applied = apply_once(subject, live, config, managers.clone(), force);
    let (mut object, managers) = match applied {
        Err(ApplyError::Conflicts(conflicts)) if kubectl::may_take(subject, live, &conflicts) => {
            apply_once(subject, live, config, managers, true)?
        }
        done => done?,
    };
    kubectl::sync_last_applied(subject, config, &mut object);
    Ok((object, managers))
}

/// The owners of an object that a configuration creates.
pub fn create(subject: &Subject<'_>, config: &Value) -> Managers {
    let mut managers = Managers::default();
    managers.set(subject.manager, claimed(subject, config), Some(subject.now.to_owned()));
    managers
}

/// What is wrong with a configuration: a value of another type, or an item of a list that cannot be told from others.
pub fn check(definition: &str, config: &Value) -> Result<(), ApplyError> {
    let unfit = Place::root(Schema::builtin(), definition).unfit(config, "");
    unfit.map_or(Ok(()), |problem| Err(ApplyError::Malformed(problem)))
}

fn claimed(subject: &Subject<'_>, config: &Value) -> FieldSet {
    let mut set = subject.place().claimed(config);
    subject.strip(&mut set);
    set
}

fn before_first_apply(subject: &Subject<'_>, live: &Value) -> Managers {
    let manager = Manager { name: BEFORE_FIRST_APPLY.into(), applies: false, ..subject.manager.clone() };
    let subject = Subject { manager: &manager, ..*subject };
    let mut managers = Managers::default();
    update(&subject, None, live, &mut managers);
    managers
}

fn apply_once(
    subject: &Subject<'_>,
    live: &Value,
    config: &Value,
    mut managers: Managers,
    force: bool,
) -> Result<(Value, Managers), ApplyError> {
    let (place, me) = (subject.place(), subject.manager);
    let last = managers.get(me).cloned();
    let fields = claimed(subject, config);
    let merged = place.merge(live, config);
    // The same fields as last time: there is nothing to take out.
    let same = last.as_ref().is_some_and(|last| last.fields == fields);
    managers.set(me, fields, last.as_ref().and_then(|last| last.time.clone()));
    let merged = match &last {
        // A struct that is emptied goes; where the configuration has it empty, it comes back.
        Some(last) if !same => place.merge(&prune(place, merged, &last.fields, &managers), config),
        Some(_) | None => merged,
    };
    let mut difference = place.compare(live, &merged);
    subject.strip(&mut difference.added);
    subject.strip(&mut difference.modified);
    let mut taken = difference.added;
    taken.unite(difference.modified);
    if !force {
        let conflicts = conflicts(&managers, &taken, me);
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    managers.take(&taken, me);
    managers.take(&difference.removed, me);
    if !same || !taken.is_empty() || !difference.removed.is_empty() {
        let fields = managers.get(me).map(|entry| entry.fields.clone()).unwrap_or_default();
        managers.set(me, fields, Some(subject.now.to_owned()));
    }
    Ok((merged, managers))
}

/// Takes out what the manager applied last and does not any more, but not what anyone owns.
fn prune(place: Place<'_>, merged: Value, last: &FieldSet, managers: &Managers) -> Value {
    let last = place.with_named_fields(last);
    let owned = place.with_named_fields(&managers.all_fields());
    let pruned = place.remove(&merged, &last).unwrap_or(Value::Null);
    let all = place.with_named_fields(&place.claimed(&merged));
    let mut kept = place.with_named_fields(&place.claimed(&pruned));
    kept.unite(owned);
    // Only what was this manager's may go, even where it stands below something else that was.
    let gone = all.difference(&kept).intersection(&last);
    place.remove(&merged, &gone).unwrap_or(Value::Null)
}

fn conflicts(managers: &Managers, taken: &FieldSet, me: &Manager) -> Vec<Conflict> {
    let held = managers.held(taken, me);
    held.iter()
        .flat_map(|(entry, held)| {
            let with = printed(&entry.manager);
            held.paths().into_iter().map(move |path| Conflict { with: with.clone(), path })
        })
        .collect()
}

/// A manager as conflicts name it.
fn printed(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", manager.subresource);
    }
    if manager.applies { text } else { format!("{text} using {}", manager.api_version) }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", conflict.with, conflict.path);
    }
    let mut managers: Vec<&str> = conflicts.iter().map(|conflict| &*conflict.with).collect();
    managers.sort_unstable();
    managers.dedup();
    let messages = managers.iter().map(|manager| {
        let paths = conflicts.iter().filter(|conflict| conflict.with == **manager);
        let paths: Vec<String> = paths.map(|conflict| format!("- {}", conflict.path)).collect();
        format!("conflicts with {manager}:\n{}", paths.join("\n"))
    });
    format!("Apply failed with {} conflicts: {}", conflicts.len(), messages.collect::<Vec<_>>().join("\n"))
}
