//! The live sessions: one a node, the newest wins.

use std::collections::{BTreeSet, HashMap};
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_shared::ids::NodeName;
use skiff_shared::tls::close;
use tokio::sync::Notify;

use super::assign::{NODES, PODS, SERVICES};
use crate::store::Key;

/// Most single keys remembered as touched; past that the session looks at everything again.
const MAX_TOUCHED: usize = 1024;

/// What has changed since a session last looked.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Pods, ConfigMaps, Secrets and Services.
    pub(super) keys: BTreeSet<Key>,
    /// Too much: look at everything.
    pub(super) all: bool,
}

/// One session, as the rest of the link sees it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) node: NodeName,
    pub(super) epoch: u64,
    /// SHA-256 of the agent's public key.
    pub(super) agent_key: String,
    pub(super) connection: quinn::Connection,
    /// Woken after each change of `touched`.
    pub(super) wake: Notify,
    touched: Mutex<Touched>,
    references: Mutex<BTreeSet<Key>>,
}

impl Handle {
    /// Marks one object as changed.
    pub(super) fn touch(&self, key: &Key) {
        let mut touched = locked(&self.touched);
        if touched.keys.len() < MAX_TOUCHED {
            touched.keys.insert(key.clone());
        } else {
            touched.all = true;
        }
        drop(touched);
        self.wake.notify_one();
    }

    /// Marks everything as changed.
    pub(super) fn touch_all(&self) {
        locked(&self.touched).all = true;
        self.wake.notify_one();
    }

    /// Takes what has changed.
    pub(super) fn take_touched(&self) -> Touched {
        take(&mut *locked(&self.touched))
    }

    /// Publishes which ConfigMaps and Secrets the node's pods refer to.
    pub(super) fn set_references(&self, references: BTreeSet<Key>) {
        *locked(&self.references) = references;
    }

    fn refers_to(&self, key: &Key) -> bool {
        locked(&self.references).contains(key)
    }
}

/// All live sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    live: Mutex<HashMap<NodeName, Arc<Handle>>>,
    epochs: AtomicU64,
}

impl Sessions {
    /// Makes this connection the node's session; an older one is closed.
    pub(super) fn insert(&self, node: &NodeName, agent_key: String, connection: quinn::Connection) -> Arc<Handle> {
        let handle = Arc::new(Handle {
            node: node.clone(),
            epoch: self.epochs.fetch_add(1, Ordering::Relaxed),
            agent_key,
            connection,
            wake: Notify::new(),
            touched: Mutex::default(),
            references: Mutex::default(),
        });
        let older = locked(&self.live).insert(node.clone(), handle.clone());
        if let Some(older) = older {
            tracing::info!(%node, "a newer connection replaces the older");
            older.connection.close(close::REPLACED, b"replaced by a newer connection of this node");
        }
        handle
    }

    /// Removes a session that ended; `false` when a newer one has taken its place.
    pub(super) fn remove(&self, handle: &Handle) -> bool {
        let mut live = locked(&self.live);
        let current = live.get(&handle.node).is_some_and(|h| h.epoch == handle.epoch);
        if current {
            live.remove(&handle.node);
        }
        current
    }

    /// The session of a node.
    pub(super) fn get(&self, node: &NodeName) -> Option<Arc<Handle>> {
        locked(&self.live).get(node).cloned()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        locked(&self.live).is_empty()
    }

    /// Tells those sessions that a change of this object concerns; `nodes` are the ones a pod is or was bound to.
    pub(super) fn route(&self, key: &Key, nodes: &[String]) {
        let live = locked(&self.live);
        match &*key.resource {
            PODS | NODES => {
                let names = nodes.iter().filter_map(|n| NodeName::parse(n).ok());
                names.filter_map(|n| live.get(&n)).for_each(|handle| handle.touch(key));
            }
            // Which namespaces a node has pods of, its session finds out.
            SERVICES => live.values().for_each(|handle| handle.touch(key)),
            _ => live.values().filter(|handle| handle.refers_to(key)).for_each(|handle| handle.touch(key)),
        }
    }

    /// Tells every session to look at everything.
    pub(super) fn touch_all(&self) {
        locked(&self.live).values().for_each(|handle| handle.touch_all());
    }
}

/// The lock's content; a panic elsewhere leaves it usable, since every critical section here is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
