//! Hooks that do nothing, to build rows from, and small hooks that several kinds share.

use serde_json::Value;

use super::{Hooks, json, printers};

/// Hooks of a kind without particulars.
pub(crate) const PLAIN: Hooks = Hooks {
    default: |_| {},
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    validate: |_, _| Vec::new(),
    validate_status: None,
    warn: |_, _| Vec::new(),
    field: |_, _| None,
    has_generation: false,
    next_generation: |_, _| false,
    parts: &[],
    columns: printers::GENERIC,
    row: printers::generic_row,
    row_fields: &[],
    completed: |_| None,
    from_stored: None,
    to_stored: None,
};

/// Keeps the status of the stored object on an update.
pub(crate) fn keep_status(new: &mut Value, old: &Value) {
    json::copy(new, old, "status");
}

/// Gives an object a spec, for kinds of which every object has one.
pub(crate) fn some_spec(object: &mut Value) {
    json::ensure(object, "spec");
}

/// Starts a new object with an empty status.
pub(crate) fn empty_status(object: &mut Value) {
    json::set(object, "status", Value::Object(serde_json::Map::new()));
}
