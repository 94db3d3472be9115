//! One-time join tokens, as files: `tokens/ID` while unused, `tokens/ID.used` from its use to its expiry.
//!
//! The hub need not run to make or list them, and may run meanwhile: each step is one atomic rename. Only the
//! SHA-256 of the secret is kept. The key that used a token is kept beside it, so that an agent whose answer got lost
//! may ask again; any other key is told that the token is used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skiff_shared::wire::token::{JoinToken, fingerprint, is_word};
use subtle::ConstantTimeEq;

use super::PkiError;
use super::files::{self, failed};

/// Most tokens kept, used ones included: they are made by hand, and listing them must stay cheap.
pub const MAX_TOKENS: usize = 1000;

/// Why a token cannot be made, used or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Malformed, unknown or with another secret: the same text for all, so that ids cannot be probed.
    #[error("the join token is not valid")]
    Invalid,
    /// Used by another agent.
    #[error("the join token was already used")]
    Used,
    /// Past its time.
    #[error("the join token has expired")]
    Expired,
    /// No token of this id.
    #[error("there is no join token {0:?}")]
    Unknown(String),
    /// Too many are kept.
    #[error("there are already {MAX_TOKENS} join tokens: delete some first")]
    TooMany,
    /// Files.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A token as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    secret_sha256: String,
    created: i64,
    expires: i64,
    /// SHA-256 of the public key that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_by: Option<String>,
}

/// A token as `token list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether an agent has joined with it.
    pub used: bool,
}

/// The tokens of one data directory.
#[derive(Debug, Clone)]
pub struct Tokens {
    dir: PathBuf,
    ca: [u8; 32],
}

impl Tokens {
    /// The tokens under a data directory whose CA has this fingerprint.
    ///
    /// # Errors
    /// [`PkiError::File`] when the directory cannot be made.
    pub fn open(data_dir: &Path, ca: [u8; 32]) -> Result<Self, PkiError> {
        let dir = data_dir.join("tokens");
        files::private_dir(&dir)?;
        Ok(Self { dir, ca })
    }

    /// Makes a token, for `skiff-hub token create`.
    ///
    /// # Errors
    /// [`TokenError::TooMany`], or the file cannot be written.
    pub fn create(&self, ttl: Duration, now: Timestamp) -> Result<JoinToken, TokenError> {
        self.sweep(now)?;
        if self.list()?.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        let id = hex(&files::random::<5>()?);
        let secret = files::random_text::<24>()?;
        let created = now.as_second();
        let expires = created.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let record = Record { secret_sha256: hex(&fingerprint(secret.as_bytes())), created, expires, used_by: None };
        write(&self.dir.join(&id), &record)?;
        Ok(JoinToken { ca: self.ca, id, secret })
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// [`PkiError`] when the files cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, PkiError> {
        let mut all = Vec::new();
        for (id, used) in self.names()? {
            let time = |s| Timestamp::from_second(s).unwrap_or(Timestamp::MAX);
            // A token that is deleted or claimed meanwhile is not missed here.
            if let Some(r) = read(&self.path(&id, used))? {
                all.push(Listed { id, created: time(r.created), expires: time(r.expires), used });
            }
        }
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(all)
    }

    /// Deletes a token, used or not.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn delete(&self, id: &str) -> Result<(), TokenError> {
        let mut found = false;
        for used in [false, true].into_iter().filter(|_| is_word(id)) {
            found |= remove(&self.path(id, used))?;
        }
        if found { Ok(()) } else { Err(TokenError::Unknown(id.to_owned())) }
    }

    /// Judges a proof (`ID.SECRET`) without using the token up.
    ///
    /// # Errors
    /// [`TokenError`] saying why the token is no good.
    pub fn check(&self, proof: &str, public_key: &[u8], now: Timestamp) -> Result<(), TokenError> {
        self.judge(proof, public_key, now).map(|_| ())
    }

    /// Uses a token up for the agent with this public key: succeeds for one key only.
    ///
    /// # Errors
    /// [`TokenError`] saying why the token is no good.
    pub fn claim(&self, proof: &str, public_key: &[u8], now: Timestamp) -> Result<(), TokenError> {
        let (id, mut record) = self.judge(proof, public_key, now)?;
        if record.used_by.is_some() {
            return Ok(());
        }
        // Of two agents that come this far, the rename lets one through. A crash right after it leaves the token used
        // without a key: it is then refused to everyone, which is the safe side.
        let used = self.path(&id, true);
        match fs::rename(self.path(&id, false), &used) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(TokenError::Used),
            Err(e) => return Err(failed("claim", &used)(e).into()),
        }
        record.used_by = Some(hex(&fingerprint(public_key)));
        Ok(write(&used, &record)?)
    }

    fn judge(&self, proof: &str, public_key: &[u8], now: Timestamp) -> Result<(String, Record), TokenError> {
        let (id, secret) = proof.split_once('.').ok_or(TokenError::Invalid)?;
        if !is_word(id) || !is_word(secret) {
            return Err(TokenError::Invalid);
        }
        let unused = read(&self.path(id, false))?;
        let used = unused.is_none();
        let record = if used { read(&self.path(id, true))? } else { unused }.ok_or(TokenError::Invalid)?;
        let secret = hex(&fingerprint(secret.as_bytes()));
        if !bool::from(record.secret_sha256.as_bytes().ct_eq(secret.as_bytes())) {
            return Err(TokenError::Invalid);
        }
        let mine = record.used_by.as_ref().is_some_and(|key| *key == hex(&fingerprint(public_key)));
        if used && !mine {
            return Err(TokenError::Used);
        }
        if record.expires <= now.as_second() {
            return Err(TokenError::Expired);
        }
        Ok((id.to_owned(), record))
    }

    /// Forgets tokens a day after their end: until then their holders are told `expired` or `used`.
    fn sweep(&self, now: Timestamp) -> Result<(), PkiError> {
        for (id, used) in self.names()? {
            let path = self.path(&id, used);
            if read(&path)?.is_some_and(|r| r.expires.saturating_add(24 * 3600) < now.as_second()) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: &str, used: bool) -> PathBuf {
        self.dir.join(if used { format!("{id}.used") } else { id.to_owned() })
    }

    /// Ids in the directory, and whether they are used; other files are not ours.
    fn names(&self) -> Result<Vec<(String, bool)>, PkiError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))?.take(4 * MAX_TOKENS) {
            let name = entry.map_err(failed("list", &self.dir))?.file_name().to_string_lossy().into_owned();
            let (id, used) = name.strip_suffix(".used").map_or((name.as_str(), false), |id| (id, true));
            if is_word(id) {
                names.push((id.to_owned(), used));
            }
        }
        Ok(names)
    }
}

fn read(path: &Path) -> Result<Option<Record>, PkiError> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let corrupt = |_| PkiError::Corrupt { path: path.to_owned(), what: "join token" };
    serde_json::from_slice(&text).map(Some).map_err(corrupt)
}

fn write(path: &Path, record: &Record) -> Result<(), PkiError> {
    let text = serde_json::to_vec(record).map_err(|e| failed("write", path)(e.into()))?;
    files::write_private(path, &text)
}

fn remove(path: &Path) -> Result<bool, PkiError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("delete", path)(e)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
