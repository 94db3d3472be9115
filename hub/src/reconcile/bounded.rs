//! A map that never holds more than a given number of entries: the least recently used go first, in halves.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations of entries. A look-up moves an entry into the young one; when that is full, the old one is dropped.
/// Costs one hash look-up and no list upkeep, which is why it is used in place of a linked LRU.
#[derive(Debug)]
pub struct Bounded<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    /// A map of at most `capacity` entries (at least 2).
    pub fn new(capacity: usize) -> Self {
        Self { half: (capacity / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// An entry, which thereby counts as used.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        // Asked first whether there are any, which is for nothing: hashing the key is most of the cost.
        if !self.old.is_empty()
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Sets an entry.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Drops an entry.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut map = Bounded::new(4);
        for n in 0..100 {
            map.insert(n, n * 10);
            assert_eq!(map.get(&0), Some(&mut 0), "used each time, after {n}");
            assert!(map.len() <= 4, "{} entries", map.len());
        }
        assert_eq!(map.get(&50), None);
        map.remove(&0);
        assert_eq!(map.get(&0), None);
    }
}
