//! Parsed forms of stored objects, kept by key and revision, so that a busy controller does not parse the world per key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::bounded::Bounded;
use crate::store::{Key, Object, Revision};

/// A bounded cache of parsed objects. It never changes what a caller sees, only how fast: an object is its key and revision.
pub struct Memo<T> {
    parsed: Mutex<Bounded<Key, (Revision, Arc<T>)>>,
}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
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
        if let Some((revision, value)) = parsed.get(&object.key)
            && *revision == object.revision
        {
            return Some(Arc::clone(value));
        }
        let value = match object.parse::<T>() {
            Ok(value) => Arc::new(value),
            Err(error) => {
                tracing::warn!(key = ?object.key, %error, "a stored object does not fit its type");
                return None;
            }
        };
        parsed.insert(object.key.clone(), (object.revision, Arc::clone(&value)));
        Some(value)
    }
}
