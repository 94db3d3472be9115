//! The one place where refusals become Kubernetes `Status` answers, in Kubernetes' words.

use serde::Serialize;

use crate::objects::Error;
use crate::registry::FieldError;
use crate::registry::apply::{ApplyError, Conflict};
use crate::store::{Key, Revision, StoreError};

/// A refusal as a client sees it. [`Status::to_json`] is the body of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// Kubernetes' machine-readable reason, e.g. `NotFound`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// A token to go on with an expired list (`metadata.continue`).
    pub continue_token: Option<String>,
}

/// `meta/v1.StatusDetails`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The single causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// `meta/v1.StatusCause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// E.g. `FieldValueInvalid`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// E.g. `spec.replicas`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: WireMeta<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct WireMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'a str>,
}

impl Status {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401, as anonymous clients and bad tokens get it.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 404 for a path under a known group that names no resource.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with(Details::default())
    }

    /// 404 for an object; `resource` as `deployments.apps`.
    pub fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).with(about(resource, name))
    }

    /// 405: the path is served, but not with this method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with(Details::default())
    }

    /// 406: none of the accepted media types is one of `served`.
    pub fn not_acceptable(served: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", served.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 or 415 of a route, which tells what it gives where that is the matter.
    pub fn no_route(code: u16, gives: Option<&[&str]>) -> Self {
        let (reason, text) = match code {
            406 => ("NotAcceptable", "406: Not Acceptable"),
            _ => ("UnsupportedMediaType", "415: Unsupported Media Type"),
        };
        let list = gives.map(|gives| format!("\n\nAvailable representations: {}", gives.join(", ")));
        Self::new(code, reason, format!("{text}{}", list.unwrap_or_default())).with(Details::default())
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415: the body is in none of `supported`.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let list = supported.join(", ");
        Self::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {list}"),
        )
    }

    /// 409: a configuration is not applied because others own what it would change.
    fn apply_conflict(conflicts: Vec<Conflict>) -> Self {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {}", conflict.with),
            field: conflict.path.clone(),
        };
        let causes = conflicts.iter().map(cause).collect();
        Self::new(409, "Conflict", ApplyError::Conflicts(conflicts).to_string())
            .with(Details { causes, ..Details::default() })
    }

    /// 422 for an object or for options; `kind` without its group.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes = errors.iter().map(cause).collect();
        let details =
            Details { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Details::default() };
        Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {}", aggregate(errors))).with(details)
    }

    /// 422 for options of the `meta.k8s.io` group, e.g. `ListOptions`.
    pub fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid("meta.k8s.io", kind, "", errors)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message)
            .with(Details { retry_after_seconds: Some(retry_after_seconds), ..Details::default() })
    }

    /// 429: too many requests are being answered, or too many of this client.
    pub fn busy() -> Self {
        Self::too_many_requests("too many requests, please try again later", 1)
    }

    /// 410: changes or state of `asked` are gone.
    pub fn too_old(asked: Revision, oldest: Revision) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504: the revision asked for has not come about.
    pub fn too_large_revision(asked: Revision, current: Revision) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let details = Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
        Self::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}"))
            .with(details)
    }

    /// 504: the request took too long.
    pub fn timeout() -> Self {
        Self::new(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
            .with(Details::default())
    }

    /// 500.
    pub fn internal(message: &str) -> Self {
        let cause = Cause { message: message.to_owned(), ..Cause::default() };
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with(Details { causes: vec![cause], ..Details::default() })
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub(crate) fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Seconds for a `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().and_then(|d| d.retry_after_seconds)
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Vec<u8> {
        encode(&Wire {
            kind: "Status",
            api_version: "v1",
            metadata: WireMeta { continue_token: self.continue_token.as_deref() },
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_deref(),
            code: Some(self.code),
        })
    }
}

/// The `Status` of a success, e.g. of a finished deletion.
pub(crate) fn success(details: Option<&Details>, code: Option<u16>) -> Vec<u8> {
    encode(&Wire {
        kind: "Status",
        api_version: "v1",
        metadata: WireMeta { continue_token: None },
        status: "Success",
        message: "",
        reason: "",
        details,
        code,
    })
}

fn encode(wire: &Wire<'_>) -> Vec<u8> {
    serde_json::to_vec(wire).expect("a Status has string keys and no failing values")
}

/// Details about an object, from `deployments.apps` and a name.
pub(crate) fn about(resource: &str, name: &str) -> Details {
    let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
    Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() }
}

fn cause(error: &FieldError) -> Cause {
    Cause { reason: error.reason(), message: error.body(), field: error.field.clone() }
}

/// Several errors in one message: alone as it is, more as `[a, b]`, each text once.
fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { resource, name } => Self::not_found(&resource, &name),
            Error::AlreadyExists { resource, name } => {
                Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists"))
                    .with(about(&resource, &name))
            }
            Error::Conflict { resource, name, detail } => {
                let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {detail}");
                Self::new(409, "Conflict", message).with(about(&resource, &name))
            }
            Error::Apply(ApplyError::Conflicts(conflicts)) => Self::apply_conflict(conflicts),
            Error::Apply(malformed @ ApplyError::Malformed(_)) => Self::bad_request(malformed.to_string()),
            Error::Invalid { kind, group, name, errors } => {
                let bare = kind.strip_suffix(&format!(".{group}")).unwrap_or(&kind);
                Self::invalid(&group, bare, &name, &errors)
            }
            Error::BadRequest(message) => Self::bad_request(message),
            Error::Forbidden { resource, name, detail } => {
                let quoted = if name.is_empty() { String::new() } else { format!(" {name:?}") };
                Self::new(403, "Forbidden", format!("{resource}{quoted} is forbidden: {detail}"))
                    .with(about(&resource, &name))
            }
            Error::NamespaceTerminating { resource, name, namespace } => {
                let detail =
                    format!("unable to create new content in namespace {namespace} because it is being terminated");
                let mut status = Self::from(Error::Forbidden { resource, name, detail });
                if let Some(details) = &mut status.details {
                    details.causes.push(Cause {
                        reason: "NamespaceTerminating",
                        message: format!("namespace {namespace} is being terminated"),
                        field: "metadata.namespace".into(),
                    });
                }
                status
            }
            Error::UnprocessablePatch(detail) => {
                // Kubernetes tells clients no more.
                tracing::debug!(detail, "a patch does not apply");
                Self::new(422, "Invalid", "the server rejected our request due to an error in our request")
                    .with(Details::default())
            }
            Error::TooLarge(message) => {
                Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
            }
            Error::MethodNotAllowed(message) => Self::new(405, "MethodNotAllowed", message),
            Error::Expired(message) => Self::new(410, "Expired", message),
            Error::TooManyRequests { detail, cause, retry_after_seconds } => {
                let cause = Cause { reason: "DisruptionBudget", message: cause, field: String::new() };
                let retry_after_seconds = Some(retry_after_seconds).filter(|seconds| *seconds > 0);
                Self::new(429, "TooManyRequests", detail).with(Details {
                    causes: vec![cause],
                    retry_after_seconds,
                    ..Details::default()
                })
            }
            Error::Misconfigured(detail) => Self::new(500, "", detail),
            Error::Store(source) => source.into(),
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let subject = |key: &Key| (key.resource.to_string(), key.name.to_string());
        match error {
            StoreError::Exists(key) => {
                let (resource, name) = subject(&key);
                Error::AlreadyExists { resource, name }.into()
            }
            StoreError::Missing(key) => Self::not_found(&key.resource, &key.name),
            StoreError::Conflict { key, .. } => {
                let (resource, name) = subject(&key);
                let detail =
                    "the object has been modified; please apply your changes to the latest version and try again"
                        .to_owned();
                Error::Conflict { resource, name, detail }.into()
            }
            StoreError::Compacted { asked, oldest } => Self::too_old(asked, oldest),
            StoreError::Backend { operation, source } => {
                // The log has the chain; a client learns only what failed.
                tracing::error!(operation, error = %chain(&*source), "the store failed");
                Self::internal(&format!("the store failed to {operation}"))
            }
            StoreError::Closed => Self::unavailable("the hub is shutting down"),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::registry::FieldErrorKind;

    fn field(field: &str, kind: FieldErrorKind, detail: &str) -> FieldError {
        FieldError { field: field.into(), kind, detail: detail.into() }
    }

    fn invalid(errors: Vec<FieldError>) -> Error {
        Error::Invalid { kind: "Deployment.apps".into(), group: "apps".into(), name: "web".into(), errors }
    }

    fn named(resource: &str) -> (String, String) {
        (resource.to_owned(), "web".to_owned())
    }

    #[test]
    fn errors_become_kubernetes_words() {
        let negative =
            || field("spec.replicas", FieldErrorKind::Invalid("-1".into()), "must be greater than or equal to 0");
        let missing = || field("spec.selector", FieldErrorKind::Required, "");
        let (resource, name) = named("deployments.apps");
        let cases: Vec<(Error, u16, &str, &str)> = vec![
            (
                Error::NotFound { resource: resource.clone(), name: name.clone() },
                404,
                "NotFound",
                r#"deployments.apps "web" not found"#,
            ),
            (
                Error::AlreadyExists { resource: "pods".into(), name: name.clone() },
                409,
                "AlreadyExists",
                r#"pods "web" already exists"#,
            ),
            (
                Error::Conflict { resource, name: name.clone(), detail: "changed".into() },
                409,
                "Conflict",
                r#"Operation cannot be fulfilled on deployments.apps "web": changed"#,
            ),
            (
                invalid(vec![negative()]),
                422,
                "Invalid",
                r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#,
            ),
            (
                invalid(vec![negative(), missing(), missing()]),
                422,
                "Invalid",
                r#"Deployment.apps "web" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.selector: Required value]"#,
            ),
            (
                Error::Forbidden { resource: "pods".into(), name: String::new(), detail: "no".into() },
                403,
                "Forbidden",
                "pods is forbidden: no",
            ),
            (
                Error::Forbidden { resource: "pods".into(), name, detail: "no".into() },
                403,
                "Forbidden",
                r#"pods "web" is forbidden: no"#,
            ),
            (
                Error::Store(StoreError::Compacted { asked: 3, oldest: 9 }),
                410,
                "Expired",
                "too old resource version: 3 (9)",
            ),
            (Error::Store(StoreError::Closed), 503, "ServiceUnavailable", "the hub is shutting down"),
            (Error::BadRequest("bad".into()), 400, "BadRequest", "bad"),
        ];
        for (error, code, reason, message) in cases {
            let status = Status::from(error);
            assert_eq!((status.code, status.reason, status.message.as_str()), (code, reason, message));
        }
    }

    #[test]
    fn a_status_carries_details_and_causes() {
        let status = Status::from(invalid(vec![field(
            "spec.replicas",
            FieldErrorKind::Invalid("-1".into()),
            "must be positive",
        )]));
        let value: Value = serde_json::from_slice(&status.to_json()).unwrap();
        let expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422,
            "message": "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be positive",
            "details": {"name": "web", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueInvalid", "message": "Invalid value: -1: must be positive", "field": "spec.replicas"}]}
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn retry_after_comes_from_the_details() {
        assert_eq!(Status::too_many_requests("busy", 1).retry_after(), Some(1));
        assert_eq!(Status::unauthorized().retry_after(), None);
    }
}
