//! Who owns which fields of what is written: `metadata.managedFields`, kept by every write.

use jiff::Timestamp;
use serde_json::Value;

use super::{Target, WriteOptions, meta};
use crate::registry::apply::Manager;
use crate::registry::apply::{self, Managers, Subject};

/// The field of `metadata`.
const FIELD: &str = "managedFields";
/// The name of a writer that gives none.
const UNKNOWN: &str = "unknown";

/// How a write comes by its owners.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    /// They are worked out from what changes. The body may have brought a list of its own.
    Written(Option<Value>),
    /// Server-side apply has worked them out.
    Applied(Managers),
}

/// Takes the list of owners out of a body.
pub(super) fn take_sent(body: &mut Value) -> Option<Value> {
    meta::metadata(body).remove(FIELD)
}

/// Who writes.
pub(super) fn manager(target: &Target, options: &WriteOptions, applies: bool) -> Manager {
    let name = if options.field_manager.is_empty() { UNKNOWN } else { &options.field_manager };
    Manager {
        name: name.to_owned(),
        applies,
        api_version: target.kind.api_version(),
        subresource: target.subresource.clone(),
    }
}

/// What is written, for `registry::apply`.
pub(super) fn subject<'a>(target: &'a Target, manager: &'a Manager, now: &'a str) -> Subject<'a> {
    let has_status = target.kind.subresources.contains(&super::subresource::STATUS);
    Subject { definition: target.kind.schema, has_status, manager, now }
}

/// Records the owners of a new object.
pub(super) fn on_create(target: &Target, object: &mut Value, claim: Claim, options: &WriteOptions, now: Timestamp) {
    let managers = match claim {
        Claim::Applied(managers) => managers,
        Claim::Written(sent) => {
            let mut managers = sent.as_ref().and_then(Managers::read).unwrap_or_default();
            let manager = manager(target, options, false);
            apply::update(&subject(target, &manager, &meta::timestamp(now)), None, object, &mut managers);
            managers
        }
    };
    put(object, managers);
}

/// Records the owners of a changed object, which has those of the old one.
pub(super) fn on_update(target: &Target, new: &mut Value, old: &Value, claim: Claim, options: &WriteOptions) {
    let sent = match claim {
        Claim::Applied(managers) => return put(new, managers),
        // Only a write of the object itself can change the list.
        Claim::Written(sent) => sent.filter(|_| target.subresource.is_empty()),
    };
    let stored = &old["metadata"][FIELD];
    let replaced = sent.filter(|sent| sent != stored).and_then(|sent| replacement(&sent));
    if replaced.is_none() && *new == *old {
        return;
    }
    let is_replaced = replaced.is_some();
    let mut managers = replaced.or_else(|| Managers::read(stored)).unwrap_or_default();
    let (manager, now) = (manager(target, options, false), meta::timestamp(Timestamp::now()));
    let changed = apply::update(&subject(target, &manager, &now), Some(old), new, &mut managers);
    if changed || is_replaced {
        put(new, managers);
    }
}

/// Whether an object is as before but for the times at which its owners took their fields: nothing has changed then.
pub(super) fn only_times_differ(new: &Value, old: &Value) -> bool {
    same_but("metadata", new, old, |new, old| {
        same_but(FIELD, new, old, |new, old| {
            let lists = new.as_array().zip(old.as_array());
            lists.is_some_and(|(new, old)| {
                let mut pairs = new.iter().zip(old);
                new.len() == old.len() && pairs.all(|(new, old)| same_but("time", new, old, |_, _| true))
            })
        })
    })
}

/// Whether two objects have the same fields with the same values, but for one that is compared in its own way.
fn same_but(field: &str, new: &Value, old: &Value, same: impl Fn(&Value, &Value) -> bool) -> bool {
    let Some((new, old)) = new.as_object().zip(old.as_object()) else { return false };
    new.len() == old.len()
        && new.iter().all(|(name, value)| {
            old.get(name).is_some_and(|before| value == before || name == field && same(value, before))
        })
}

/// The owners that a client sets itself; `None` when its list says nothing or is malformed.
fn replacement(sent: &Value) -> Option<Managers> {
    if apply::is_reset(sent) {
        return Some(Managers::default());
    }
    Managers::read(sent).filter(|managers| !managers.is_empty())
}

fn put(object: &mut Value, managers: Managers) {
    match managers.write() {
        Some(list) => meta::metadata(object).insert(FIELD.into(), list),
        None => meta::metadata(object).remove(FIELD),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_alone_are_no_change() {
        let object = |time: &str, manager: &str, data: &str| {
            let entry = json!({"manager": manager, "time": time, "fieldsV1": {"f:data": {}}});
            json!({"metadata": {"name": "a", "managedFields": [entry]}, "data": data})
        };
        let old = object("t1", "m", "d");
        for (new, same) in [
            (object("t2", "m", "d"), true),
            (object("t2", "n", "d"), false),
            (object("t2", "m", "e"), false),
            (json!({"metadata": {"name": "a"}, "data": "d"}), false),
        ] {
            assert_eq!(only_times_differ(&new, &old), same, "{new}");
        }
    }
}
