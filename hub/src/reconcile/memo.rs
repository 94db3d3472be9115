//! Parsed forms of stored objects, kept by key and revision, so that a busy controller does not parse the world per key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::bounded::Bounded;
use crate::store::{Key, Object, Revision};

/// Capacity of a cache of pods: those of 100 full nodes, twice. Half of a cache's capacity stays for sure; of more than
/// that, whoever goes through all pods again and again would find hardly one.
pub const PODS: usize = 22_000;

/// A bounded cache of parsed objects. It never changes what a caller sees, only how fast: an object is its key and revision.
pub struct Memo<T> {
    parsed: Mutex<Bounded<Key, (Revision, Arc<T>)>>,
}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

impl<T> Memo<T> {
    /// Drops an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<T: DeserializeOwned> Memo<T> {
    /// A cache of at most `capacity` parsed objects.
    pub fn new(capacity: usize) -> Self {
        Self { parsed: Mutex::new(Bounded::new(capacity)) }
    }

    /// The parsed form of an object; `None` (and a warning in the log) when its JSON does not fit.
    pub fn get(&self, object: &Object) -> Option<Arc<T>> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = 0;
        if let Some((revision, value)) = parsed.get(&object.key) {
            if *revision == object.revision {
                return Some(Arc::clone(value));
            }
            newest = *revision;
        }
        let value = match object.parse::<T>() {
            Ok(value) => Arc::new(value),
            Err(error) => {
                tracing::warn!(key = ?object.key, %error, "a stored object does not fit its type");
                return None;
            }
        };
        // A state that is over is asked for by those who look at a change, and does not replace what all others ask for.
        if object.revision > newest {
            parsed.insert(object.key.clone(), (object.revision, Arc::clone(&value)));
        }
        Some(value)
    }
}
