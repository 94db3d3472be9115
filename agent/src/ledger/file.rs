//! One file of the ledger: a magic, a checksum, the payload; replaced by rename so that a reader sees old or new.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{LedgerError, Result};

/// Name and format version.
const MAGIC: &[u8; 8] = b"skiffld1";
const CHECKSUM: usize = 16;
/// No entry is larger: the largest object the API takes, with room.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
const UNFINISHED: &str = ".tmp";

/// First half of the SHA-256 of `payload`.
pub(super) fn checksum(payload: &[u8]) -> [u8; CHECKSUM] {
    let mut short = [0; CHECKSUM];
    short.copy_from_slice(&ring::digest::digest(&ring::digest::SHA256, payload).as_ref()[..CHECKSUM]);
    short
}

/// Replaces `path`. The content is on disk when this returns; the directory entry is, once the directory is synced.
pub(super) fn write(path: &Path, payload: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = unfinished(path);
    let attempt = || {
        let mut options = File::options();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(MAGIC)?;
        file.write_all(&checksum(payload))?;
        file.write_all(payload)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|source| LedgerError::Io { operation: "write", path: path.to_owned(), source })
}

/// The payload of `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| LedgerError::Io { operation: "read", path: path.to_owned(), source };
    let corrupt = |reason: &str| LedgerError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(corrupt("too long"));
    }
    let mut bytes = fs::read(path).map_err(failed)?;
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return Err(corrupt("no ledger file of this version")) };
    match rest.split_first_chunk::<CHECKSUM>() {
        Some((sum, payload)) if *sum == checksum(payload) => {}
        Some(_) => return Err(corrupt("wrong checksum")),
        None => return Err(corrupt("cut short")),
    }
    bytes.drain(..MAGIC.len() + CHECKSUM);
    Ok(bytes)
}

/// Removes `path`; a missing file is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(LedgerError::Io { operation: "remove", path: path.to_owned(), source: e })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes renames and removals in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|source| LedgerError::Io { operation: "sync directory", path: dir.to_owned(), source })
}

/// Whether `path` is what a crash left of a write.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.to_string_lossy().ends_with(UNFINISHED)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}
