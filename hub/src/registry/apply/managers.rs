//! The managers of an object: `metadata.managedFields`, read and written.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// Most `Update` managers of an object; the oldest are merged past that (apiserver `DefaultMaxUpdateManagers`).
const MAX_UPDATERS: usize = 10;
/// The manager into which the oldest are merged.
const ANCIENT: &str = "ancient-changes";

/// Who writes, and how: what tells one entry of `managedFields` from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// E.g. `kubectl-client-side-apply`.
    pub name: String,
    /// By server-side apply; else by any other write.
    pub applies: bool,
    /// `apps/v1`.
    pub api_version: String,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// Whether both are the same manager. One that applies stays the same when it goes to another version.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.applies == other.applies
            && self.subresource == other.subresource
            && (self.applies || self.api_version == other.api_version)
    }

    fn operation(&self) -> &'static str {
        if self.applies { "Apply" } else { "Update" }
    }
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: Manager,
    pub(super) fields: FieldSet,
    /// When it last took fields, as it is written.
    pub(super) time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Managers {
    pub(super) entries: Vec<Entry>,
}

impl Managers {
    /// Reads `managedFields`; `None` when any entry is malformed.
    pub fn read(managed_fields: &Value) -> Option<Self> {
        if managed_fields.is_null() {
            return Some(Self::default());
        }
        let entries = managed_fields.as_array()?.iter().map(read_entry).collect::<Option<_>>()?;
        Some(Self { entries })
    }

    /// As `managedFields`; `None` when there is nothing to write.
    pub fn write(mut self) -> Option<Value> {
        let seconds = |entry: &Entry| entry.time.as_ref().and_then(|t| t.parse().ok()).map_or(0, Timestamp::as_second);
        self.entries.sort_by(|a, b| {
            let rest =
                |e: &Entry| (e.manager.name.clone(), e.manager.api_version.clone(), e.manager.subresource.clone());
            (a.manager.operation(), seconds(a))
                .cmp(&(b.manager.operation(), seconds(b)))
                .then_with(|| rest(a).cmp(&rest(b)))
        });
        (!self.entries.is_empty()).then(|| self.entries.into_iter().map(write_entry).collect())
    }

    /// Whether nobody's fields are known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, manager: &Manager) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.manager.is(manager))
    }

    /// Sets a manager's fields, and when it took them. An entry without fields goes.
    pub(super) fn set(&mut self, manager: &Manager, fields: FieldSet, time: Option<String>) {
        self.entries.retain(|entry| !entry.manager.is(manager));
        if !fields.is_empty() {
            self.entries.push(Entry { manager: manager.clone(), fields, time });
        }
    }

    /// Takes fields from everyone but `but`.
    pub(super) fn take(&mut self, fields: &FieldSet, but: &Manager) {
        if fields.is_empty() {
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| !entry.manager.is(but)) {
            entry.fields = entry.fields.difference(fields);
        }
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// What everyone but `but` has of these fields, by manager.
    pub(super) fn held(&self, fields: &FieldSet, but: &Manager) -> Vec<(&Entry, FieldSet)> {
        let others = self.entries.iter().filter(|entry| !entry.manager.is(but));
        others.map(|entry| (entry, entry.fields.intersection(fields))).filter(|(_, held)| !held.is_empty()).collect()
    }

    /// What anyone has.
    pub(super) fn all_fields(&self) -> FieldSet {
        let mut all = FieldSet::default();
        self.entries.iter().for_each(|entry| all.unite(entry.fields.clone()));
        all
    }

    /// Merges the oldest `Update` managers where there are too many.
    pub(super) fn cap(&mut self) {
        let updaters = self.entries.iter().filter(|entry| !entry.manager.applies).count();
        if updaters <= MAX_UPDATERS {
            return;
        }
        self.entries.sort_by(|a, b| (a.manager.applies, &a.time).cmp(&(b.manager.applies, &b.time)));
        let recent = self.entries.split_off(updaters + 1 - MAX_UPDATERS);
        let mut ancient = Self::default();
        for old in self.entries.drain(..) {
            let manager = Manager { name: ANCIENT.into(), subresource: String::new(), ..old.manager };
            let mut fields = ancient.get(&manager).map(|entry| entry.fields.clone()).unwrap_or_default();
            fields.unite(old.fields);
            ancient.set(&manager, fields, old.time);
        }
        self.entries = ancient.entries;
        self.entries.extend(recent);
    }
}

/// Whether `managedFields` ask to forget all managers: an empty list, or a list of one empty entry.
pub fn is_reset(managed_fields: &Value) -> bool {
    let empty = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
    managed_fields.as_array().is_some_and(|list| list.is_empty() || list.len() == 1 && empty(&list[0]))
}

fn read_entry(entry: &Value) -> Option<Entry> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let applies = match text("operation") {
        "Apply" => true,
        "Update" => false,
        _ => return None,
    };
    if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
        return None;
    }
    let manager = Manager {
        name: text("manager").to_owned(),
        applies,
        api_version: text("apiVersion").to_owned(),
        subresource: text("subresource").to_owned(),
    };
    let fields = entry.get("fieldsV1").map_or_else(|| Some(FieldSet::default()), FieldSet::from_fields)?;
    Some(Entry { manager, fields, time: entry["time"].as_str().map(str::to_owned) })
}

fn write_entry(entry: Entry) -> Value {
    let Entry { manager, fields, time } = entry;
    let mut out = json!({
        "manager": manager.name, "operation": manager.operation(), "apiVersion": manager.api_version,
        "fieldsType": "FieldsV1", "fieldsV1": fields.into_fields(),
    });
    if let Some(time) = time {
        out["time"] = time.into();
    }
    if !manager.subresource.is_empty() {
        out["subresource"] = manager.subresource.into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, operation: &str, time: &str, field: &str) -> Value {
        json!({
            "manager": name, "operation": operation, "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {field: {}},
        })
    }

    #[test]
    fn entries_are_ordered_by_operation_time_and_name() {
        let [b, a, c] = [
            entry("b", "Update", "2026-01-01T00:00:00Z", "f:b"),
            entry("a", "Update", "2026-01-01T00:00:00Z", "f:a"),
            entry("c", "Apply", "2026-02-01T00:00:00Z", "f:c"),
        ];
        let managers = Managers::read(&json!([b, a, c])).expect("well formed");
        assert_eq!(managers.write(), Some(json!([c, a, b])));
        assert_eq!(Managers::default().write(), None);
    }

    #[test]
    fn malformed_entries_are_refused() {
        let good = entry("a", "Update", "2026-01-01T00:00:00Z", "f:a");
        for (field, value) in [
            ("operation", json!("Delete")),
            ("apiVersion", json!("")),
            ("fieldsType", json!("V2")),
            ("fieldsV1", json!({"a": {}})),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert_eq!(Managers::read(&json!([bad])), None, "{field}");
        }
    }

    #[test]
    fn the_oldest_updaters_are_merged() {
        let time = |n: usize| format!("2026-01-01T00:00:{n:02}Z");
        let all = (0..12).map(|n| entry(&format!("m{n}"), "Update", &time(n), &format!("f:{n}")));
        let mut managers = Managers::read(&all.collect()).expect("well formed");
        managers.cap();
        assert_eq!(managers.entries.len(), MAX_UPDATERS);
        let ancient = &managers.entries[0];
        assert_eq!((&*ancient.manager.name, ancient.time.clone()), (ANCIENT, Some(time(2))));
        assert_eq!(ancient.fields.paths(), [".0", ".1", ".2"]);
    }

    #[test]
    fn an_empty_list_or_entry_asks_to_forget() {
        for (fields, reset) in
            [(json!([]), true), (json!([{}]), true), (json!(null), false), (json!([{"manager": "a"}]), false)]
        {
            assert_eq!(is_reset(&fields), reset, "{fields}");
        }
    }
}
