//! Private files: whole or not at all, readable by the owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use super::PkiError;

/// Largest file read here: certificates and tokens are far smaller.
const MAX_FILE: u64 = 64 * 1024;

/// Attaches operation and path to an I/O error.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { operation, path, source }
}

/// Makes a directory with its parents, 0700.
pub(super) fn private_dir(path: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// The content of a file, `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("read", path)(e)),
    };
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut content).map_err(failed("read", path))?;
    Ok(Some(content))
}

/// Writes a file of mode 0600 under a temporary name, makes it durable, and moves it into place.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let temporary = path.with_extension(format!("tmp-{}", random_text::<6>()?));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all()));
    if written.is_err() {
        // Nothing more can be done about a leftover; the error below is what matters.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed("write", path))
}

/// `N` random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(bytes)
}

/// `N` random bytes as URL-safe text.
pub(super) fn random_text<const N: usize>() -> Result<String, PkiError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<N>()?))
}
