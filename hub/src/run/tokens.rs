//! Join tokens from the command line. They work beside a running hub: tokens are files of their own.

use std::path::Path;
use std::time::Duration;

use super::RunError;

/// Makes a token and gives its text.
///
/// # Errors
/// [`RunError`].
pub fn create(data_dir: &Path, ttl: Duration) -> Result<String, RunError> {
    let _ = (data_dir, ttl);
    Err(unavailable())
}

/// One line per token.
///
/// # Errors
/// [`RunError`].
pub fn list(data_dir: &Path) -> Result<String, RunError> {
    let _ = data_dir;
    Err(unavailable())
}

/// Deletes a token.
///
/// # Errors
/// [`RunError`].
pub fn delete(data_dir: &Path, id: &str) -> Result<(), RunError> {
    let _ = (data_dir, id);
    Err(unavailable())
}

fn unavailable() -> RunError {
    RunError::Part { part: "token store", source: "it is not wired yet".into() }
}
