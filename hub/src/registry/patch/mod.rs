//! The three kinds of patch: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! All are pure functions on JSON values. What they return on failure is what Kubernetes answers with.

mod json;
mod order;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use json::{MAX_OPERATIONS, apply_json};
pub use strategic::{printed, strategic};

/// Why a patch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400 `BadRequest`.
    #[error("{0}")]
    BadRequest(String),
    /// The patch does not apply to this object (a `test` failed, a path is missing): 422 `Invalid`.
    ///
    /// Kubernetes tells no more than this; the detail is for a log or a cause.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable {
        /// What did not apply.
        detail: String,
    },
    /// The patch or its result is too large: 413 `RequestEntityTooLarge`.
    #[error("{0}")]
    TooLarge(String),
}

/// Applies a JSON merge patch. A patch that is no object is refused, as it would replace the whole object.
///
/// # Errors
/// [`PatchError::BadRequest`].
pub fn apply_merge(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(not_an_object(patch));
    }
    json_patch::merge(target, patch);
    Ok(())
}

fn not_an_object(patch: &Value) -> PatchError {
    let found = match patch {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) | Value::Object(_) => "array",
    };
    PatchError::BadRequest(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
}
