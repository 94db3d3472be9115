//! Why a request on objects is refused. `api::status` alone turns these into Kubernetes `Status` answers.

use crate::registry::FieldError;
use crate::registry::apply::ApplyError;
use crate::store::StoreError;

/// A refusal, by Kubernetes' reasons.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 404 `NotFound`.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// `deployments.apps`.
        resource: String,
        /// Name.
        name: String,
    },
    /// 409 `AlreadyExists`.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// `deployments.apps`.
        resource: String,
        /// Name.
        name: String,
    },
    /// 409 `Conflict`.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {detail}")]
    Conflict {
        /// `deployments.apps`.
        resource: String,
        /// Name.
        name: String,
        /// E.g. `the object has been modified; please apply your changes to the latest version and try again`.
        detail: String,
    },
    /// 409 `Conflict` of server-side apply, with a cause per field.
    #[error("Apply failed")]
    Apply(#[source] ApplyError),
    /// 422 `Invalid`.
    #[error("{kind} {name:?} is invalid")]
    Invalid {
        /// `Deployment.apps`, `Pod`.
        kind: String,
        /// Group, empty for core.
        group: String,
        /// Name.
        name: String,
        /// At least one.
        errors: Vec<FieldError>,
    },
    /// 400 `BadRequest`.
    #[error("{0}")]
    BadRequest(String),
    /// 403 `Forbidden`.
    #[error("{resource} {name:?} is forbidden: {detail}")]
    Forbidden {
        /// `pods`.
        resource: String,
        /// Name, may be empty.
        name: String,
        /// Why.
        detail: String,
    },
    /// 403 `Forbidden`, with the cause that clients know it by: nothing is created in a namespace that is being deleted.
    #[error(
        "{resource} {name:?} is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
    )]
    NamespaceTerminating {
        /// `pods`.
        resource: String,
        /// Name, may be empty.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// 422 `Invalid`, without causes: a patch that cannot be applied.
    #[error("the server rejected our request due to an error in our request: {0}")]
    UnprocessablePatch(String),
    /// 413 `RequestEntityTooLarge`.
    #[error("{0}")]
    TooLarge(String),
    /// 405 `MethodNotAllowed`.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// 410 `Expired`.
    #[error("{0}")]
    Expired(String),
    /// 429 `TooManyRequests`: a disruption budget refuses.
    #[error("{detail} {cause}")]
    TooManyRequests {
        /// What is refused.
        detail: String,
        /// What the budget says.
        cause: String,
        /// Retry-After; 0 for a time that nobody can tell.
        retry_after_seconds: u32,
    },
    /// 500 without a reason: what is stored makes the request impossible, and no other request would help.
    #[error("{0}")]
    Misconfigured(String),
    /// 500 `InternalError`.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

/// The text of a plain optimistic-concurrency conflict.
pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// [`Error::NotFound`].
pub(super) fn not_found(resource: &str, name: &str) -> Error {
    Error::NotFound { resource: resource.to_owned(), name: name.to_owned() }
}
