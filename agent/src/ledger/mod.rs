//! The agent's durable state: what the hub wants (on disk before it is acted on), what happened to each pod, and the
//! events that the hub has not stored yet. One small checksummed file an item, replaced atomically.
//!
//! A file that cannot be read is never guessed around: opening fails and names it.

pub mod events;
pub mod facts;
mod file;
pub mod tokens;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_shared::ids::PodUid;
use skiff_shared::pod::{Item, ItemKey, Pod};
use skiff_shared::wire::Welcome;

use facts::{FactsRecord, PodFacts};
use tokens::{KeptToken, TokensRecord};

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another agent runs on this directory.
    #[error("the data directory {} is in use by another agent", .0.display())]
    InUse(PathBuf),
    /// A file is not what was written.
    #[error("the ledger file {} is corrupt ({reason}); remove it to go on without it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Result of a ledger operation.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// Everything that was in the ledger when it was opened.
#[derive(Debug, Default)]
pub struct Contents {
    /// The desired items.
    pub items: Vec<Item>,
    /// Pods that the hub no longer wants and that are still to be stopped here.
    pub leaving: Vec<Pod>,
    /// What happened to each pod.
    pub facts: BTreeMap<PodUid, PodFacts>,
    /// The tokens of pods.
    pub tokens: Vec<KeptToken>,
    /// The hub's last welcome.
    pub welcome: Option<Welcome>,
}

/// The open ledger. Its methods block on the disk; one owner at a time per item.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    _lock: File,
}

const PODS: &str = "pods";
const CONFIG_MAPS: &str = "configmaps";
const SECRETS: &str = "secrets";
const LEAVING: &str = "leaving";
const FACTS: &str = "facts";
const TOKENS: &str = "tokens";
const WELCOME: &str = "welcome";

impl Ledger {
    /// Opens (and makes, where needed) the ledger in `data_dir`, and locks the directory.
    ///
    /// # Errors
    /// [`LedgerError`]: the directory is in use or not writable, or a file is corrupt.
    pub fn open(data_dir: &Path) -> Result<(Self, Contents)> {
        let dir = data_dir.join("ledger");
        for kind in [PODS, CONFIG_MAPS, SECRETS, LEAVING, FACTS, TOKENS] {
            make_private_dir(&dir.join(kind))?;
        }
        let lock = lock(data_dir)?;
        let mut contents = Contents::default();
        for kind in [PODS, CONFIG_MAPS, SECRETS] {
            contents.items.extend(read_all::<Item>(&dir.join(kind))?);
        }
        contents.leaving = read_all(&dir.join(LEAVING))?;
        contents.facts.extend(read_all::<FactsRecord>(&dir.join(FACTS))?.into_iter().map(FactsRecord::facts));
        for TokensRecord::V1(tokens) in read_all(&dir.join(TOKENS))? {
            contents.tokens.extend(tokens);
        }
        let welcome = dir.join(WELCOME);
        if welcome.exists() {
            contents.welcome = Some(read(&welcome)?);
        }
        Ok((Self { dir, _lock: lock }, contents))
    }

    /// Makes a change of the desired state durable: all of `upserts`, then the removals. A pod to be removed is kept
    /// among the leaving ones first, so that it is stopped even if the agent dies in between.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; the change may then be on disk in part, and applying it again is safe.
    pub fn apply(&self, upserts: &[Item], removals: &[ItemKey], leaving: &[Pod]) -> Result<()> {
        for pod in leaving {
            file::write(&self.dir.join(LEAVING).join(pod.uid.as_str()), &encode(pod))?;
        }
        if !leaving.is_empty() {
            file::sync_dir(&self.dir.join(LEAVING))?;
        }
        for item in upserts {
            file::write(&self.path(&item.key()), &encode(item))?;
        }
        for key in removals {
            file::remove(&self.path(key))?;
        }
        for kind in [PODS, CONFIG_MAPS, SECRETS] {
            let touched = upserts.iter().map(Item::key).chain(removals.iter().cloned()).any(|k| directory(&k) == kind);
            if touched {
                file::sync_dir(&self.dir.join(kind))?;
            }
        }
        Ok(())
    }

    /// Keeps what happened to a pod.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn put_facts(&self, uid: &PodUid, facts: &PodFacts) -> Result<()> {
        let record = FactsRecord::new(uid.clone(), facts.clone());
        file::write(&self.dir.join(FACTS).join(uid.as_str()), &encode(&record))
    }

    /// Keeps the tokens of a pod, all of them.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn put_tokens(&self, pod: &PodUid, tokens: Vec<KeptToken>) -> Result<()> {
        file::write(&self.dir.join(TOKENS).join(pod.as_str()), &encode(&TokensRecord::V1(tokens)))
    }

    /// Forgets a pod that is gone for good.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn forget(&self, uid: &PodUid) -> Result<()> {
        file::remove(&self.dir.join(FACTS).join(uid.as_str()))?;
        file::remove(&self.dir.join(TOKENS).join(uid.as_str()))?;
        file::remove(&self.dir.join(LEAVING).join(uid.as_str()))
    }

    /// Keeps the hub's welcome.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn put_welcome(&self, welcome: &Welcome) -> Result<()> {
        file::write(&self.dir.join(WELCOME), &encode(welcome))
    }

    /// The file of the event queue.
    pub fn events_path(&self) -> PathBuf {
        self.dir.join("events")
    }

    fn path(&self, key: &ItemKey) -> PathBuf {
        let name = match key {
            ItemKey::Pod(uid) => uid.as_str().to_owned(),
            ItemKey::ConfigMap { namespace, name } | ItemKey::Secret { namespace, name } => file_name(namespace, name),
        };
        self.dir.join(directory(key)).join(name)
    }
}

fn directory(key: &ItemKey) -> &'static str {
    match key {
        ItemKey::Pod(_) => PODS,
        ItemKey::ConfigMap { .. } => CONFIG_MAPS,
        ItemKey::Secret { .. } => SECRETS,
    }
}

/// A file name for two names from the wire: everything that is not plainly harmless is escaped, and names that are
/// too long for a file name are cut and told apart by a hash.
fn file_name(namespace: &str, name: &str) -> String {
    let mut out = String::new();
    for byte in namespace.bytes().chain([b'/']).chain(name.bytes()) {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            b'/' => out.push('_'),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    if out.len() > 200 {
        let hash = ring::digest::digest(&ring::digest::SHA256, out.as_bytes());
        let hash: String = hash.as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
        out.truncate(160);
        out.push_str(&format!("~{hash}"));
    }
    out
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("ledger types hold nothing that postcard cannot encode")
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let payload = file::read(path)?;
    postcard::from_bytes(&payload).map_err(|e| LedgerError::Corrupt { path: path.to_owned(), reason: e.to_string() })
}

fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>> {
    let failed = |source| LedgerError::Io { operation: "read directory", path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if file::is_unfinished(&path) {
            file::remove(&path)?;
        } else {
            found.push(read(&path)?);
        }
    }
    Ok(found)
}

fn make_private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| LedgerError::Io { operation: "create directory", path: dir.to_owned(), source })
}

fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join("lock");
    let failed = |source| LedgerError::Io { operation: "lock", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests;
