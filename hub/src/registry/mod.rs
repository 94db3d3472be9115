//! The table of kinds. It drives routing, discovery, OpenAPI, defaults, validation, printer columns and RBAC names.
//!
//! A kind is a row plus pure hooks. Rows are values, not types: kinds that come at run time (custom resources) are
//! rows too. Nothing here knows I/O or a clock.

pub mod apply;
mod builtin;
mod conditions;
mod cron;
pub mod discovery;
pub(crate) mod excerpt;
mod fields;
mod go_values;
mod hooks;
mod json;
mod kinds;
mod names;
mod objectmeta;
pub mod openapi;
pub mod patch;
mod podspec;
pub mod printers;
pub mod schema;
mod warnings;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::store::{Object, Resource};

pub(crate) use fields::shown_map;
pub(crate) use kinds::needs_health_check;
#[cfg(test)]
pub(crate) use kinds::testing::REQUEST;

/// One kind of object.
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version served.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `PodList`.
    pub list_kind: &'static str,
    /// `pods`: the URL segment.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// `po`.
    pub short_names: &'static [&'static str],
    /// `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, by URL segment: `status`, `scale`, `binding`, `log`, `finalize`.
    pub subresources: &'static [&'static str],
    /// Definition name of the type, e.g. `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
    /// Key under which objects are stored (`pods`, `deployments.apps`). Two rows with one storage name are two views of
    /// the same objects (`events` and `events.events.k8s.io`); their hooks convert.
    pub storage: Resource,
    /// What is particular to the kind.
    pub hooks: Hooks,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.group, self.version, self.kind)
    }
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The part that a subresource writes, if it is one.
    pub fn part(&self, subresource: &str) -> Option<&'static Part> {
        self.hooks.parts.iter().find(|part| part.name == subresource)
    }

    /// `deployments.apps`, or `pods` for the core group: how messages name the resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Deployment.apps`, or `Pod` for the core group: how messages name the kind.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// The pure hooks of a kind. Each has a default that does nothing.
#[derive(Debug)]
pub struct Hooks {
    /// Sets Kubernetes' defaults on an object that a client sent. Runs on create and update, before validation.
    pub default: fn(&mut Value),
    /// Takes out what a client may not set on create (e.g. `status`) and sets initial values.
    pub prepare_create: fn(&mut Value),
    /// Keeps what an update of the main resource may not change (e.g. `status`): (new, old).
    pub prepare_update: fn(&mut Value, &Value),
    /// Validates; `old` is `None` on create. Immutability is judged here too.
    pub validate: fn(&Value, Option<&Value>) -> Vec<FieldError>,
    /// Validates a write of the `status` subresource (new, old), where that differs from [`Hooks::validate`].
    pub validate_status: Option<fn(&Value, &Value) -> Vec<FieldError>>,
    /// What the client is warned of when its object is accepted: (new, old), which is `None` on create.
    pub warn: fn(&Value, Option<&Value>) -> Vec<String>,
    /// Values of selectable fields beyond `metadata.name` and `metadata.namespace`; `None` for an unknown field.
    pub field: fn(&Value, &str) -> Option<String>,
    /// Whether a change of `spec` counts up `metadata.generation`.
    pub has_generation: bool,
    /// What else counts it up (new, old).
    pub next_generation: fn(&Value, &Value) -> bool,
    /// Parts of the object that are written by themselves, beside its status.
    pub parts: &'static [Part],
    /// Printer columns.
    pub columns: &'static [Column],
    /// The cells of a row, one a column: (object, now as Unix seconds).
    pub row: fn(&Value, i64) -> Vec<Value>,
    /// The fields of an object that `row` looks at, which then gets no others; all where none are named.
    pub row_fields: &'static [excerpt::Field],
    /// How an object ended, where its row says so (a pod's does): reason and message.
    pub completed: fn(&Value) -> Option<(&'static str, &'static str)>,
    /// Converts the stored form into this row's form (identity for most).
    pub from_stored: Option<fn(Value) -> Value>,
    /// Converts this row's form into the stored form.
    pub to_stored: Option<fn(Value) -> Value>,
}

/// A subresource that is a part of its object: it exchanges the whole object, and changes that part.
#[derive(Debug)]
pub struct Part {
    /// The subresource, e.g. `ephemeralcontainers`.
    pub name: &'static str,
    /// Puts the part of a body into the object: (object, body).
    pub put: fn(&mut Value, &Value),
    /// Validates the object with its changed part: (new, old).
    pub validate: fn(&Value, &Value) -> Vec<FieldError>,
    /// Takes out of a configuration's `spec` what the part does not hold.
    pub keep: fn(&mut Value),
}

/// A printer column of a Table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading in the server's form, e.g. `Ready`.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`.
    pub kind: &'static str,
    /// OpenAPI format: `name` for the name column, else empty.
    pub format: &'static str,
    /// Description.
    pub description: &'static str,
    /// 0 for normal columns, 1 for `-o wide`.
    pub priority: i32,
}

/// One validation error, in the form of Kubernetes' `field.Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `spec.containers[0].image`.
    pub field: String,
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Detail, e.g. `must be greater than or equal to 0`; may be empty.
    pub detail: String,
}

/// Kind of a [`FieldError`]; its text and the cause's reason are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `Required value`, `FieldValueRequired`.
    Required,
    /// `Invalid value: <value>`, `FieldValueInvalid`. The value as Go prints it (`%v` for numbers, quoted for strings).
    Invalid(String),
    /// `Unsupported value: <value>`, `FieldValueNotSupported`.
    NotSupported(String),
    /// `Duplicate value: <value>`, `FieldValueDuplicate`.
    Duplicate(String),
    /// `Forbidden`, `FieldValueForbidden`.
    Forbidden,
    /// `Too long`, `FieldValueTooLong`.
    TooLong,
    /// `Too many: <count>`, `FieldValueTooMany`.
    TooMany(usize),
    /// `Invalid value`, `FieldValueInvalid`, for values that are wrong together and are not shown.
    Inconsistent,
    /// `Not found: <value>`, `FieldValueNotFound`.
    NotFound(String),
}

/// All kinds, by group and resource.
#[derive(Debug, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
}

impl Registry {
    /// A table of these rows.
    pub fn new(kinds: Vec<Arc<Kind>>) -> Self {
        Self { kinds }
    }

    /// All rows, in the order of discovery.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The row served under `/api(s)/GROUP/VERSION/…/PLURAL`.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// The row of an `apiVersion` and `kind`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// A selectable field of a stored object (`metadata.name` and `metadata.namespace` included); `None` if the kind has no such field.
    pub fn field(&self, kind: &Kind, object: &Object, path: &str) -> Option<String> {
        match path {
            "metadata.name" => Some(object.key.name.to_string()),
            "metadata.namespace" if kind.namespaced => Some(object.key.namespace.to_string()),
            _ => (kind.hooks.field)(&serde_json::from_slice(&object.json).unwrap_or(Value::Null), path),
        }
    }
}
