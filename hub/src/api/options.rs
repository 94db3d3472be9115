//! The options of requests (`ListOptions`, `DeleteOptions`, …), read from the query or the body and checked as
//! apiserver checks them.

use hyper::HeaderMap;
use hyper::header::USER_AGENT;
use serde::Deserialize;

use skiff_shared::selector::{FieldSelector, FieldTerm, LabelSelector};

use super::pages::Continue;
use super::query::{Query, number_error};
use super::status::Status;
use crate::objects::{DeleteOptions, FieldValidation, Propagation, User, WriteOptions};
use crate::registry::{FieldError, FieldErrorKind, Kind};
use crate::store::Revision;

/// How old the state of an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The newest state.
    Newest,
    /// Any state (`resourceVersion=0`).
    Any,
    /// At least this revision.
    NotOlderThan(Revision),
    /// Exactly this revision.
    Exact(Revision),
}

/// `meta/v1.ListOptions`, for lists and watches.
#[derive(Debug)]
pub(crate) struct ListOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_at: Option<Continue>,
    pub(crate) freshness: Freshness,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the options of a list or watch of a kind.
    pub(crate) fn parse(query: &Query, kind: &Kind, watch: bool) -> Result<Self, Status> {
        // As apiserver: what cannot be read is refused before what does not fit together.
        let (limit, timeout_seconds) = (query.integer("limit")?, query.integer("timeoutSeconds")?);
        let labels = query.get("labelSelector").map(LabelSelector::parse).transpose();
        let labels = labels.map_err(|e| Status::bad_request(e.to_string()))?.unwrap_or_default();
        let fields = query.get("fieldSelector").map(FieldSelector::parse).transpose();
        let fields = fields.map_err(|e| Status::bad_request(e.0))?.unwrap_or_default();
        let send_initial_events = query.optional_flag("sendInitialEvents");
        let errors =
            if watch { check_watch(query, send_initial_events) } else { check_list(query, send_initial_events) };
        if !errors.is_empty() {
            return Err(Status::invalid_options("ListOptions", &errors));
        }
        check_fields(kind, &fields)?;
        let continue_at = query.get("continue").filter(|_| !watch).map(Continue::decode).transpose()?;
        // As apiserver's cache: whoever is content with any state begins no list in pages.
        let whole = continue_at.is_none() && query.get("resourceVersion") == Some("0");
        let limit = limit.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0 && !whole);
        if continue_at.is_some() && query.get("resourceVersion").is_some_and(|rv| rv != "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(Self {
            labels,
            fields,
            limit,
            continue_at,
            freshness: freshness(query, limit.is_some() && !watch)?,
            timeout_seconds: timeout_seconds.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
        })
    }
}

/// `resourceVersion` and `resourceVersionMatch`.
pub(crate) fn freshness(query: &Query, limited: bool) -> Result<Freshness, Status> {
    let Some(text) = query.get("resourceVersion") else { return Ok(Freshness::Newest) };
    let revision = text.parse().map_err(|_| {
        // A signed number is none at all here.
        let why = if text.starts_with(['+', '-']) { "invalid syntax" } else { number_error(text) };
        Status::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"))
    })?;
    Ok(match (revision, query.get("resourceVersionMatch")) {
        (0, _) => Freshness::Any,
        (_, Some("Exact")) => Freshness::Exact(revision),
        // A limit without a match means an exact revision, as in the time before `resourceVersionMatch`.
        (_, None) if limited => Freshness::Exact(revision),
        (_, _) => Freshness::NotOlderThan(revision),
    })
}

fn forbidden(field: &str, detail: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), kind: FieldErrorKind::Forbidden, detail: detail.into() }
}

fn unsupported(field: &str, value: String, supported: &str) -> FieldError {
    FieldError {
        field: field.into(),
        kind: FieldErrorKind::NotSupported(value),
        detail: format!("supported values: {supported}"),
    }
}

const MATCH: &str = "resourceVersionMatch";

fn check_list(query: &Query, send_initial_events: Option<bool>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(rule) = query.get(MATCH) {
        if query.get("resourceVersion").is_none() {
            errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if query.get("continue").is_some() {
            errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if rule != "Exact" && rule != "NotOlderThan" {
            errors.push(unsupported(MATCH, format!("{rule:?}"), r#""Exact", "NotOlderThan", """#));
        }
        if rule == "Exact" && query.get("resourceVersion") == Some("0") {
            errors.push(forbidden(MATCH, r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#));
        }
    }
    if send_initial_events.is_some() {
        errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    errors
}

fn check_watch(query: &Query, send_initial_events: Option<bool>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rule = query.get(MATCH);
    if send_initial_events.is_some() && rule != Some("NotOlderThan") {
        errors.push(forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    if let Some(rule) = rule {
        if send_initial_events.is_none() {
            errors.push(forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if rule != "NotOlderThan" {
            errors.push(unsupported(MATCH, format!("{rule:?}"), r#""NotOlderThan""#));
        }
        if query.get("continue").is_some() {
            errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
    }
    errors
}

/// Selectable fields of the kinds that have some of their own: such kinds word the refusal of others differently.
const OWN_FIELDS: [&str; 9] = [
    "spec.nodeName",
    "spec.unschedulable",
    "spec.clusterIP",
    "spec.signerName",
    "status.phase",
    "status.replicas",
    "status.successful",
    "involvedObject.name",
    "type",
];

fn check_fields(kind: &Kind, selector: &FieldSelector) -> Result<(), Status> {
    let of_kind = |path: &str| (kind.hooks.field)(&serde_json::Value::Null, path).is_some();
    let has_own = OWN_FIELDS.iter().any(|f| of_kind(f));
    let known = |path: &str| match path {
        "metadata.name" => true,
        // Kinds without fields of their own share one list, whether they have namespaces or not.
        "metadata.namespace" => kind.namespaced || !has_own,
        _ => of_kind(path),
    };
    let Some(FieldTerm { path, .. }) = selector.terms.iter().find(|t| !known(&t.path)) else { return Ok(()) };
    Err(Status::bad_request(match kind.kind {
        "Job" => format!("field label {path:?} not supported for batchv1.Job"),
        _ if has_own => format!("field label not supported: {path}"),
        _ => format!(r#"{path:?} is not a known field selector: only "metadata.name", "metadata.namespace""#),
    }))
}

/// Stands for the `PatchOptions` of server-side apply, which have rules of their own.
pub(crate) const APPLY: &str = "ApplyOptions";

/// Longest name of a field manager, in bytes.
const MAX_FIELD_MANAGER: usize = 128;

/// The options of a write; `kind` is `CreateOptions`, `UpdateOptions`, `PatchOptions` or [`APPLY`].
pub(crate) fn write_options(query: &Query, user: &User, kind: &str) -> Result<WriteOptions, Status> {
    let mut errors = Vec::new();
    let dry_run = dry_run(query.all("dryRun"), &mut errors);
    let field_manager = query.get("fieldManager").unwrap_or_default().to_owned();
    if field_manager.len() > MAX_FIELD_MANAGER {
        errors.push(FieldError {
            field: "fieldManager".into(),
            kind: FieldErrorKind::TooLong,
            detail: "may not be more than 128 bytes".into(),
        });
    }
    if let Some((position, c)) = field_manager.char_indices().find(|(_, c)| c.is_control()) {
        errors.push(FieldError {
            field: "fieldManager".into(),
            kind: FieldErrorKind::Invalid(go_quoted(&field_manager)),
            detail: format!("invalid character U+{:04X} (at position {position})", u32::from(c)),
        });
    }
    match kind {
        "PatchOptions" if query.get("force").is_some() => {
            errors.push(forbidden("force", "may not be specified for non-apply patch"));
        }
        APPLY if field_manager.is_empty() => errors.push(FieldError {
            field: "fieldManager".into(),
            kind: FieldErrorKind::Required,
            detail: "is required for apply patch".into(),
        }),
        _ => {}
    }
    let field_validation = match query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            errors.push(unsupported("fieldValidation", format!("{other:?}"), r#""", "Ignore", "Strict", "Warn""#));
            FieldValidation::Warn
        }
    };
    if errors.is_empty() {
        let user = user.clone();
        Ok(WriteOptions { user, dry_run, field_manager, field_validation, ..WriteOptions::default() })
    } else {
        Err(Status::invalid_options(if kind == APPLY { "PatchOptions" } else { kind }, &errors))
    }
}

/// Under this name Kubernetes records a client that does not say who it is: the product of its user agent.
pub(crate) fn user_agent_manager(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes())).unwrap_or_default();
    let product = agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control());
    let mut manager = String::new();
    for c in product {
        if manager.len() + c.len_utf8() > MAX_FIELD_MANAGER {
            break;
        }
        manager.push(c);
    }
    manager
}

/// A text in quotes, with control characters as Go writes them.
fn go_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '"' | '\\' => quoted.extend(c.escape_default()),
            '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted + "\""
}

/// `dryRun`: nothing, or `All`.
fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<_> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let quoted: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
        errors.push(unsupported("dryRun", format!("[]string{{{}}}", quoted.join(", ")), r#""All""#));
    }
    !values.is_empty()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteBody {
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// The options of a delete: the body's if there is one, else the query's.
pub(crate) fn delete_options(
    query: &Query,
    body: Option<serde_json::Value>,
    user: &User,
) -> Result<DeleteOptions, Status> {
    let given = match body {
        Some(body) => serde_json::from_value(body)
            .map_err(|e| Status::bad_request(format!("unable to decode DeleteOptions: {e}")))?,
        None => DeleteBody {
            grace_period_seconds: query.integer("gracePeriodSeconds")?,
            preconditions: None,
            orphan_dependents: query.optional_flag("orphanDependents"),
            propagation_policy: query.given("propagationPolicy").map(str::to_owned),
            dry_run: query.all("dryRun").map(str::to_owned).collect(),
        },
    };
    let mut errors = Vec::new();
    let dry_run = dry_run(given.dry_run.iter().map(String::as_str), &mut errors);
    let propagation = propagation(&given, &mut errors);
    if !errors.is_empty() {
        return Err(Status::invalid_options("DeleteOptions", &errors));
    }
    let preconditions = given.preconditions.unwrap_or_default();
    Ok(DeleteOptions {
        grace_period_seconds: given.grace_period_seconds,
        uid: preconditions.uid,
        resource_version: preconditions.resource_version,
        propagation,
        orphan_dependents: given.orphan_dependents,
        dry_run,
        user: user.clone(),
    })
}

fn propagation(given: &DeleteBody, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    const FIELD: &str = "propagationPolicy";
    let policy = given.propagation_policy.as_deref();
    if let (Some(_), Some(policy)) = (given.orphan_dependents, policy) {
        let kind = FieldErrorKind::Invalid(format!("{policy:?}"));
        errors.push(FieldError {
            field: FIELD.into(),
            kind,
            detail: "orphanDependents and deletionPropagation cannot be both set".into(),
        });
    }
    match policy {
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => {
            errors.push(unsupported(FIELD, format!("{other:?}"), r#""Foreground", "Background", "Orphan", "nil""#));
            None
        }
        None => {
            given.orphan_dependents.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn freshness_follows_the_documented_table() {
        for (query, limited, expected) in [
            ("", false, Ok(Freshness::Newest)),
            ("resourceVersion=0", true, Ok(Freshness::Any)),
            ("resourceVersion=5", false, Ok(Freshness::NotOlderThan(5))),
            ("resourceVersion=5", true, Ok(Freshness::Exact(5))),
            ("resourceVersion=5&resourceVersionMatch=Exact", false, Ok(Freshness::Exact(5))),
            ("resourceVersion=5&resourceVersionMatch=NotOlderThan", true, Ok(Freshness::NotOlderThan(5))),
            ("resourceVersion=x", false, Err(400)),
            ("resourceVersion=-1", false, Err(400)),
        ] {
            assert_eq!(freshness(&Query::parse(query), limited).map_err(|s| s.code), expected, "{query}");
        }
    }

    #[test]
    fn invalid_combinations_of_list_options_are_named() {
        let first = |errors: Vec<FieldError>| errors.first().map_or(String::new(), |e| e.detail.clone());
        for (query, initial, expected) in [
            ("", None, ""),
            (
                "resourceVersionMatch=Exact",
                None,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                None,
                r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
            ),
            ("resourceVersionMatch=Newer&resourceVersion=1", None, r#"supported values: "Exact", "NotOlderThan", """#),
            ("", Some(true), "sendInitialEvents is forbidden for list"),
        ] {
            assert_eq!(first(check_list(&Query::parse(query), initial)), expected, "list {query}");
        }
        for (query, initial, expected) in [
            ("", None, ""),
            ("resourceVersionMatch=NotOlderThan", Some(true), ""),
            ("", Some(true), "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            (
                "resourceVersionMatch=NotOlderThan",
                None,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        ] {
            assert_eq!(first(check_watch(&Query::parse(query), initial)), expected, "watch {query}");
        }
    }

    #[test]
    fn write_options_are_checked() {
        let outcome = |query: &str| {
            write_options(&Query::parse(query), &User::default(), "CreateOptions")
                .map(|o| (o.dry_run, o.field_validation))
                .map_err(|s| s.message)
        };
        assert_eq!(outcome(""), Ok((false, FieldValidation::Warn)));
        assert_eq!(outcome("dryRun=All&fieldValidation=Strict"), Ok((true, FieldValidation::Strict)));
        assert_eq!(
            outcome("dryRun=Some&dryRun=").unwrap_err(),
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: []string{"Some", ""}: supported values: "All""#
        );
        assert_eq!(
            outcome("fieldManager=%00x%7F").unwrap_err(),
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "\x00x\x7f": invalid character U+0000 (at position 0)"#
        );
        assert_eq!(
            outcome("fieldValidation=Hard").unwrap_err(),
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Hard": supported values: "", "Ignore", "Strict", "Warn""#
        );
    }

    #[test]
    fn delete_options_come_from_body_or_query() {
        let outcome = |query: &str, body| delete_options(&Query::parse(query), body, &User::default());
        let from_query = outcome("gracePeriodSeconds=3&propagationPolicy=Orphan", None).unwrap();
        assert_eq!((from_query.grace_period_seconds, from_query.propagation), (Some(3), Some(Propagation::Orphan)));
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "u"}, "orphanDependents": false, "dryRun": ["All"]});
        let from_body = outcome("gracePeriodSeconds=3", Some(body)).unwrap();
        assert_eq!(
            (from_body.grace_period_seconds, from_body.propagation, from_body.uid.as_deref(), from_body.dry_run),
            (None, Some(Propagation::Background), Some("u"), true)
        );
        for (query, code) in [
            ("propagationPolicy=Sideways", 422),
            ("propagationPolicy=Orphan&orphanDependents=true", 422),
            ("gracePeriodSeconds=soon", 400),
        ] {
            assert_eq!(outcome(query, None).unwrap_err().code, code, "{query}");
        }
    }
}
