//! Wires every module together: the only one that knows all of them.

mod parts;
pub mod tokens;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sd_notify::NotifyState;
use serde_json::json;

use crate::config::Config;
use crate::objects::{self, Networks, Objects, Target, User, WriteOptions};
use crate::registry::Registry;
use crate::store::lock::{DirLock, LockError};
use crate::store::{Key, LogLimits, OpenError, SqliteStore};
use parts::Parts;

/// The database in the data directory.
const DATABASE: &str = "state.db";

/// Namespaces that every Kubernetes cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Why a hub cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}", dir.display())]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data directory cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An object that every cluster has cannot be made.
    #[error("cannot create the namespace {name}")]
    Bootstrap {
        /// The namespace.
        name: &'static str,
        /// Why.
        #[source]
        source: objects::Error,
    },
    /// A part of the hub failed.
    #[error("the {part} failed")]
    Part {
        /// E.g. `API server`.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of the hub ended although nobody asked it to.
    #[error("the {part} ended unexpectedly")]
    Ended {
        /// E.g. `API server`.
        part: &'static str,
    },
}

/// Runs a hub until `shutdown` completes or a part fails, then stops it in order: parts first, the store last.
///
/// # Errors
/// [`RunError`] when the hub cannot start, or when a part of it ends before it is asked to.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let hub = Hub::open(&config).await?;
    let outcome = hub.serve(shutdown).await;
    hub.store.close().await;
    outcome
}

/// What the parts stand on.
#[derive(Debug)]
struct Hub {
    store: Arc<SqliteStore>,
    objects: Objects,
    /// Released last.
    _lock: DirLock,
}

impl Hub {
    async fn open(config: &Config) -> Result<Self, RunError> {
        let dir = &config.data_dir;
        make_private_dir(dir).map_err(|source| RunError::DataDir { dir: dir.clone(), source })?;
        let lock = DirLock::acquire(dir)?;
        let store = SqliteStore::open(&dir.join(DATABASE), LogLimits::default()).await?;
        let networks = Networks::new(config.service_cidr.address(), config.service_cidr.prefix());
        let objects = Objects::new(store.clone(), Arc::new(Registry::default()), networks);
        tracing::info!(dir = %dir.display(), revision = objects.snapshot().revision(), "the store is open");
        Ok(Self { store, objects, _lock: lock })
    }

    async fn serve(&self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut parts = Parts::default();
        let outcome = match self.start(&mut parts).await {
            Ok(()) => {
                notify(NotifyState::Ready);
                tokio::select! {
                    biased;
                    () = shutdown => Ok(()),
                    failure = parts.failure() => Err(failure),
                }
            }
            Err(error) => Err(error),
        };
        notify(NotifyState::Stopping);
        parts.stop().await;
        outcome
    }

    /// Starts the parts. The API comes last: whoever reaches it finds the rest at work.
    async fn start(&self, _parts: &mut Parts) -> Result<(), RunError> {
        bootstrap(&self.objects).await
    }
}

/// The keys and join tokens in it are for its owner only.
fn make_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Tells systemd, where it started us; elsewhere this does nothing.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// Makes the namespaces that every cluster has, where they are missing.
///
/// # Errors
/// [`RunError::Bootstrap`].
pub async fn bootstrap(objects: &Objects) -> Result<(), RunError> {
    let Some(kind) = objects.registry().kind("v1", "Namespace").cloned() else { return Ok(()) };
    for name in NAMESPACES {
        let key = Key { resource: kind.storage.clone(), namespace: "".into(), name: name.into() };
        if objects.snapshot().get(&key).is_some() {
            continue;
        }
        let target =
            Target { kind: kind.clone(), namespace: String::new(), name: name.to_owned(), subresource: String::new() };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let options = WriteOptions { user: User::component("bootstrap"), ..WriteOptions::default() };
        objects.create(&target, body, &options).await.map_err(|source| RunError::Bootstrap { name, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
