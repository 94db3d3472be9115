//! Events: `v1` and `events.k8s.io/v1`, two views of the same objects. They are stored as `v1`.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{get, int_at, remove, same, set, set_default, text, text_at};
use crate::registry::printers::{self, NAME, since, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// Fields of `events.k8s.io/v1` with their names in `v1`.
const RENAMED: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
const SHORT_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// The row of `v1`.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Event",
        list_kind: "EventList",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.Event",
        storage: "events".into(),
        hooks: Hooks { default, validate, field, columns: COLUMNS, row, ..PLAIN },
    }
}

/// The row of `events.k8s.io/v1`.
pub(in crate::registry) fn events_kind() -> Kind {
    let plain = kind();
    Kind {
        group: "events.k8s.io",
        schema: "io.k8s.api.events.v1.Event",
        hooks: Hooks {
            default: |_| {},
            validate: validate_strictly,
            from_stored: Some(from_stored),
            to_stored: Some(to_stored),
            ..plain.hooks
        },
        ..plain
    }
}

fn default(event: &mut Value) {
    set_default(event, "reportingComponent", "");
    set_default(event, "reportingInstance", "");
}

fn from_stored(mut event: Value) -> Value {
    set(&mut event, "apiVersion", "events.k8s.io/v1");
    for (name, stored) in RENAMED {
        rename(&mut event, stored, name);
    }
    event
}

fn to_stored(mut event: Value) -> Value {
    set(&mut event, "apiVersion", "v1");
    for (name, stored) in RENAMED {
        rename(&mut event, name, stored);
    }
    default(&mut event);
    event
}

fn rename(event: &mut Value, from: &str, to: &str) {
    if let Some(value) = remove(event, from) {
        set(event, to, value);
    }
}

/// The stored form of an event of either version.
fn stored_form(event: &Value) -> Value {
    if text(event, "apiVersion") == "events.k8s.io/v1" { to_stored(event.clone()) } else { event.clone() }
}

fn validate(event: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    // Kubernetes never checked the rest of the metadata of old events, nor what an update of them changes.
    match text_at(event, &["metadata", "name"]) {
        "" => errors.required(&Path::new("metadata").child("name"), "name or generateName is required"),
        name => errors.invalid_text(&Path::new("metadata").child("name"), name, names::dns_subdomain(name)),
    }
    legacy(event, &mut errors);
    errors.into_vec()
}

fn validate_strictly(event: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let event = stored_form(event);
    let mut errors = Errors::default();
    legacy(&event, &mut errors);
    objectmeta::validate(&event, old, true, names::dns_subdomain, &mut errors);
    match old.map(stored_form) {
        Some(old) => unchanged(&event, &old, &mut errors),
        None => new_style(&event, &mut errors),
    }
    errors.into_vec()
}

fn new_style(event: &Value, errors: &mut Errors) {
    series(event, errors);
    if get(event, "eventTime").is_none() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = text(event, "type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.invalid(&Path::new("type"), quoted(""), format!("has invalid value: {kind}"));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if !same(get(event, field), None) {
            errors.invalid(&Path::new(field), quoted(""), "needs to be unset");
        }
    }
}

fn series(event: &Value, errors: &mut Errors) {
    if get(event, "series").is_some() {
        if int_at(event, &["series", "count"]).unwrap_or(0) < 2 {
            errors.invalid(&Path::new("series.count"), quoted(""), "should be at least 2");
        }
        if text_at(event, &["series", "lastObservedTime"]).is_empty() {
            errors.required(&Path::new("series.lastObservedTime"), "");
        }
    }
}

fn unchanged(event: &Value, old: &Value, errors: &mut Errors) {
    if !same(get(event, "series"), get(old, "series")) {
        series(event, errors);
    }
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingInstance",
    ] {
        errors.immutable(&Path::new(field), get(event, field), get(old, field));
    }
    errors.immutable(
        &Path::new("reportingController"),
        get(event, "reportingComponent"),
        get(old, "reportingComponent"),
    );
}

/// What every event must fulfil, in its stored form.
fn legacy(event: &Value, errors: &mut Errors) {
    let namespace = text_at(event, &["metadata", "namespace"]);
    let involved = text_at(event, &["involvedObject", "namespace"]);
    let has_time = get(event, "eventTime").is_some();
    let agree = match (involved, has_time) {
        // What is not in a namespace has its events in `default`, or with an event time also in `kube-system`.
        ("", false) => ["", "default"].contains(&namespace),
        ("", true) => ["default", "kube-system"].contains(&namespace),
        (involved, false) => involved == namespace,
        (_, true) => true,
    };
    if !agree {
        errors.invalid(
            &Path::new("involvedObject").child("namespace"),
            quoted(involved),
            "does not match event.namespace",
        );
    }
    if has_time {
        let reporter = text(event, "reportingComponent");
        let path = Path::new("reportingController");
        if reporter.is_empty() {
            errors.required(&path, "");
        }
        errors.invalid_text(&path, reporter, names::qualified_name(reporter));
        for field in ["reportingInstance", "action", "reason"] {
            let value = text(event, field);
            if value.is_empty() {
                errors.required(&Path::new(field), "");
            }
            at_most(value, SHORT_MAX, field, errors);
        }
        at_most(text(event, "message"), MESSAGE_MAX, "message", errors);
    }
    errors.invalid_text(&Path::new("namespace"), namespace, names::dns_subdomain(namespace));
}

fn at_most(value: &str, max: usize, field: &str, errors: &mut Errors) {
    if value.len() > max {
        errors.invalid(&Path::new(field), quoted(""), format!("can have at most {max} characters"));
    }
}

/// The first text that is not empty.
fn either<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn field(event: &Value, path: &str) -> Option<String> {
    // Events are stored, and therefore selected, as `v1`; the newer version has other names for the same fields.
    let path = path.strip_prefix("regarding.").map_or_else(|| path.to_owned(), |rest| format!("involvedObject.{rest}"));
    let value = match path.as_str() {
        "reason" | "type" => text(event, &path),
        "reportingComponent" | "reportingController" => text(event, "reportingComponent"),
        "source" => either(text_at(event, &["source", "component"]), text(event, "reportingComponent")),
        _ => {
            const FIELDS: [&str; 7] =
                ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
            let field = path.strip_prefix("involvedObject.").filter(|f| FIELDS.contains(f))?;
            text_at(event, &["involvedObject", field])
        }
    };
    Some(value.to_owned())
}

const COLUMNS: &[Column] = &[
    text_column("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
    text_column("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
    text_column(
        "Reason",
        "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
    ),
    text_column("Object", "The object that this event is about."),
    wide(text_column(
        "Subobject",
        "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2].",
    )),
    wide(text_column("Source", "The component reporting this event. Should be a short machine understandable string.")),
    text_column("Message", "A human-readable description of the status of this operation."),
    wide(text_column(
        "First Seen",
        "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
    )),
    wide(text_column("Count", "The number of times this event has occurred.")),
    wide(NAME),
];

fn row(event: &Value, now: i64) -> Vec<Value> {
    let event = stored_form(event);
    let first = since(either(text(&event, "firstTimestamp"), text(&event, "eventTime")), now);
    let (last, count) = if get(&event, "series").is_some() {
        let last = since(text_at(&event, &["series", "lastObservedTime"]), now);
        (last, int_at(&event, &["series", "count"]).unwrap_or(0))
    } else {
        let last = text(&event, "lastTimestamp");
        let last = if last.is_empty() { first.clone() } else { since(last, now) };
        // An event of the newer kind that happened once has no count.
        (last, int_at(&event, &["count"]).filter(|c| *c != 0).unwrap_or(1))
    };
    let kind = text_at(&event, &["involvedObject", "kind"]).to_lowercase();
    let object = match text_at(&event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        text(&event, "type").into(),
        text(&event, "reason").into(),
        object.into(),
        text_at(&event, &["involvedObject", "fieldPath"]).into(),
        source(&event).into(),
        text(&event, "message").trim().into(),
        first.into(),
        count.into(),
        printers::name(&event),
    ]
}

fn source(event: &Value) -> String {
    let component = either(text_at(event, &["source", "component"]), text(event, "reportingComponent"));
    match either(text_at(event, &["source", "host"]), text(event, "reportingInstance")) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
