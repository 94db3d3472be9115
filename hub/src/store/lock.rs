//! One hub per data directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Held as long as a hub uses a data directory. The kernel releases it with the process, however that ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why a data directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another hub holds it.
    #[error("the data directory {} is in use by another hub", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("cannot lock the data directory {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DirLock {
    /// Locks `dir`, which must exist, through the file `lock` in it.
    ///
    /// # Errors
    /// [`LockError`], at once: this never waits for the other.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { dir: dir.to_owned(), source };
        let file = File::options().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_fails_and_names_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(&error, LockError::InUse { dir: named } if named == dir.path()), "{error}");
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let error = DirLock::acquire(Path::new("/nonexistent/skiff")).unwrap_err();
        assert_eq!(error.to_string(), "cannot lock the data directory /nonexistent/skiff");
    }
}
