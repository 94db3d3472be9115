//! Join tokens from the command line. They work beside a running hub: tokens are files of their own.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::pki::tokens::TokenError;
use crate::pki::{self, PkiError};

/// Makes a token and gives its text.
///
/// # Errors
/// [`TokenError`].
pub fn create(data_dir: &Path, ttl: Duration) -> Result<String, TokenError> {
    let now = Timestamp::now();
    Ok(pki::tokens_of(data_dir, now)?.create(ttl, now)?.to_string())
}

/// A heading and one line per token.
///
/// # Errors
/// [`PkiError`].
pub fn list(data_dir: &Path) -> Result<String, PkiError> {
    let now = Timestamp::now();
    let mut text = format!("{:<12} {:<22} {:<22} STATE\n", "ID", "CREATED", "EXPIRES");
    for token in pki::tokens_of(data_dir, now)?.list()? {
        let state = match (token.used, token.expires <= now) {
            (true, _) => "used",
            (false, true) => "expired",
            (false, false) => "valid",
        };
        let (created, expires) = (token.created.to_string(), token.expires.to_string());
        writeln!(text, "{:<12} {created:<22} {expires:<22} {state}", token.id).expect("a String takes all text");
    }
    Ok(text)
}

/// Deletes a token.
///
/// # Errors
/// [`TokenError`], also when there is no such token.
pub fn delete(data_dir: &Path, id: &str) -> Result<(), TokenError> {
    pki::tokens_of(data_dir, Timestamp::now())?.delete(id)
}
