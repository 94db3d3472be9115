//! The tokens of a pod as they are on disk, so that a node that starts without its hub still has them.

use serde::{Deserialize, Serialize};
use skiff_shared::wire::TokenRequest;

/// The tokens of one pod. Versions are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TokensRecord {
    /// First form.
    V1(Vec<KeptToken>),
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptToken {
    /// What was asked for.
    pub request: TokenRequest,
    /// The token.
    pub token: String,
    /// When it is to be renewed, Unix milliseconds.
    pub renew_ms: i64,
}
