//! The operations on the served kinds: what version 2 and 3 write as `paths`.

use serde_json::{Value, json};

use super::super::discovery::{self, Subresource};
use super::super::{Kind, Registry};

/// A query parameter: name, OpenAPI type, description.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: - Ignore - Warn - Strict",
);
const FORCE: Parameter = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people.",
);
const GRACE_PERIOD: Parameter = (
    "gracePeriodSeconds",
    "integer",
    "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero indicates delete immediately.",
);
const PROPAGATION: Parameter = (
    "propagationPolicy",
    "string",
    "Whether and how garbage collection will be performed. Acceptable values are: 'Orphan', 'Background', 'Foreground'.",
);

const READ: &[Parameter] = &[PRETTY];
const WRITE: &[Parameter] = &[PRETTY, DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = &[PRETTY, DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[PRETTY, DRY_RUN, GRACE_PERIOD, PROPAGATION];
const LIST: &[Parameter] = &[
    PRETTY,
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    (
        "fieldSelector",
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    (
        "labelSelector",
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "`sendInitialEvents=true` may be set together with `watch=true`."),
    (
        "timeoutSeconds",
        "integer",
        "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
    ),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH_BODY: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// One URL and what can be done with it.
#[derive(Debug)]
pub(super) struct Path {
    /// `/api/v1/namespaces/{namespace}/pods/{name}`.
    pub(super) url: String,
    /// Parameters of the path.
    pub(super) parameters: Vec<&'static str>,
    /// Operations.
    pub(super) operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// `get`, `put`, `post`, `delete`, `patch`.
    pub(super) method: &'static str,
    /// `x-kubernetes-action`: `list`, `get`, `post`, `put`, `patch`, `delete`, `deletecollection`, `connect`.
    pub(super) action: &'static str,
    /// `operationId`.
    pub(super) id: String,
    /// `x-kubernetes-group-version-kind`.
    pub(super) kind: Value,
    /// Query parameters.
    pub(super) query: &'static [Parameter],
    /// Definition of the body; empty for none.
    pub(super) body: String,
    /// Definition of the answer; empty for text.
    pub(super) answer: String,
}

impl Operation {
    /// Media types of the body.
    pub(super) fn consumes(&self) -> &'static [&'static str] {
        if self.action == "patch" {
            &[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]
        } else {
            &["application/json", "application/yaml"]
        }
    }

    /// The parts that both versions write in the same way.
    pub(super) fn common(&self) -> Value {
        json!({
            "operationId": self.id,
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": self.kind,
        })
    }
}

/// The paths of one group and version (`None`: of all), in the order of the registry.
pub(super) fn paths(registry: &Registry, group_version: Option<(&str, &str)>) -> Vec<Path> {
    let served = |kind: &&Kind| group_version.is_none_or(|gv| gv == (kind.group, kind.version));
    registry.kinds().iter().map(AsRef::as_ref).filter(served).flat_map(of_kind).collect()
}

/// The definitions that paths name.
pub(super) fn definitions(paths: &[Path]) -> impl Iterator<Item = String> + '_ {
    let operations = paths.iter().flat_map(|path| &path.operations);
    operations.flat_map(|operation| [&operation.body, &operation.answer]).filter(|name| !name.is_empty()).cloned()
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn of_kind(kind: &Kind) -> Vec<Path> {
    let root = root(kind.group, kind.version);
    let (base, parameters) = if kind.namespaced {
        (format!("{root}/namespaces/{{namespace}}/{}", kind.plural), vec!["namespace"])
    } else {
        (format!("{root}/{}", kind.plural), vec![])
    };
    let named: Vec<&'static str> = ["name"].into_iter().chain(parameters.iter().copied()).collect();
    let mut out = Vec::new();
    if kind.namespaced && !kind.list_kind.is_empty() {
        let operations = vec![operation(kind, "get", "list", "ForAllNamespaces")];
        out.push(Path { url: format!("{root}/{}", kind.plural), parameters: vec![], operations });
    }
    out.push(Path { url: base.clone(), parameters, operations: collection(kind) });
    if !kind.list_kind.is_empty() {
        out.push(Path { url: format!("{base}/{{name}}"), parameters: named.clone(), operations: item(kind) });
    }
    out.extend(kind.subresources.iter().map(|name| Path {
        url: format!("{base}/{{name}}/{name}"),
        parameters: named.clone(),
        operations: of_subresource(kind, name),
    }));
    out
}

fn collection(kind: &Kind) -> Vec<Operation> {
    let verbs = discovery::verbs(kind);
    let all = [("list", "get", "list"), ("create", "post", "post"), ("deletecollection", "delete", "deletecollection")];
    all.into_iter()
        .filter(|(verb, ..)| verbs.contains(verb))
        .map(|(_, method, action)| operation(kind, method, action, ""))
        .collect()
}

fn item(kind: &Kind) -> Vec<Operation> {
    ["get", "put", "patch", "delete"].map(|method| operation(kind, method, method, "")).into()
}

fn operation(kind: &Kind, method: &'static str, action: &'static str, suffix: &str) -> Operation {
    let list =
        kind.schema.rsplit_once('.').map(|(package, _)| format!("{package}.{}", kind.list_kind)).unwrap_or_default();
    let object = kind.schema.to_owned();
    let (query, body, answer) = match action {
        "list" => (LIST, String::new(), list),
        "get" => (READ, String::new(), object),
        "patch" => (PATCH, PATCH_BODY.into(), object),
        "delete" | "deletecollection" => (DELETE, DELETE_OPTIONS.into(), STATUS.into()),
        _ => (WRITE, object.clone(), object),
    };
    Operation {
        method,
        action,
        id: id(kind, action, suffix),
        kind: mark(kind.group, kind.version, kind.kind),
        query,
        body,
        answer,
    }
}

fn of_subresource(parent: &Kind, name: &str) -> Vec<Operation> {
    let Subresource { verbs, exchanges, schema } = discovery::subresource(parent, name);
    let (group, version, kind) = exchanges.unwrap_or((parent.group, parent.version, parent.kind));
    let schema = schema.unwrap_or(parent.schema);
    let all = [("get", "get"), ("update", "put"), ("patch", "patch"), ("create", "post"), ("delete", "delete")];
    all.into_iter()
        .filter(|(verb, _)| verbs.contains(verb))
        .map(|(_, method)| Operation {
            method,
            action: if schema.is_empty() && name != "log" { "connect" } else { method },
            id: id(parent, method, &capitalised(name)),
            kind: mark(group, version, kind),
            query: match method {
                "get" => READ,
                "patch" => PATCH,
                _ => WRITE,
            },
            body: match method {
                "get" => String::new(),
                "patch" => PATCH_BODY.into(),
                _ => schema.into(),
            },
            answer: schema.into(),
        })
        .collect()
}

/// `readCoreV1NamespacedPodStatus`.
fn id(kind: &Kind, action: &str, suffix: &str) -> String {
    let verb = match action {
        "get" => "read",
        "put" => "replace",
        "post" => "create",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let group = if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
    let scope = if kind.namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
    format!("{verb}{}{}{scope}{}{suffix}", capitalised(group), capitalised(kind.version), kind.kind)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn mark(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}
