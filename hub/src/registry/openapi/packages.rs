//! The embedded OpenAPI definitions, as the build script writes them and the hub reads them.
//!
//! Definitions are JSON text in which `\u{1}NAME\u{2}` stands for a reference (version 2 and 3 of OpenAPI write it in
//! different ways); JSON never holds these two characters unescaped. Documents are put together from these texts
//! without parsing them.

use serde::{Deserialize, Serialize};

/// Starts a reference.
pub(crate) const REFERENCE_START: char = '\u{1}';
/// Ends a reference.
pub(crate) const REFERENCE_END: char = '\u{2}';

/// All packages, sorted by name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packages<'a> {
    /// Packages.
    #[serde(borrow)]
    pub(crate) packages: Vec<Package<'a>>,
}

/// The definitions of one Go package (`io.k8s.api.core.v1`).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Package<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its [`Definition`]s: postcard, deflated.
    pub(crate) deflated: &'a [u8],
    /// Size when inflated, in bytes.
    pub(crate) size: u32,
}

/// One definition.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Definition<'a> {
    /// Full name.
    pub(crate) name: &'a str,
    /// JSON text with marked references.
    pub(crate) json: &'a str,
}
