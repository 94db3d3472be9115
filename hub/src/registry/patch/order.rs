//! Order of merged lists: what the patch names keeps the patch's order, what only the server has keeps the server's,
//! and the two are woven together by the server's order.

use std::collections::HashMap;

use serde_json::Value;

/// What makes an item of a list the same as another: the value of the merge key, or with an empty key the whole item.
/// `None` for an item without the key.
pub(super) fn identity(item: &Value, key: &str) -> Option<String> {
    if key.is_empty() { Some(item.to_string()) } else { item.get(key).map(Value::to_string) }
}

/// Positions of the items of a list, so that long lists merge in linear time.
pub(super) struct Positions<'k> {
    key: &'k str,
    by_identity: HashMap<String, usize>,
}

impl<'k> Positions<'k> {
    /// Of the first of each item.
    pub(super) fn of(list: &[Value], key: &'k str) -> Self {
        let mut positions = Self { key, by_identity: HashMap::with_capacity(list.len()) };
        for (index, item) in list.iter().enumerate() {
            positions.insert(item, index);
        }
        positions
    }

    /// Adds an item that is not there yet.
    pub(super) fn insert(&mut self, item: &Value, position: usize) {
        if let Some(identity) = identity(item, self.key) {
            self.by_identity.entry(identity).or_insert(position);
        }
    }

    /// Where an item stands.
    pub(super) fn get(&self, item: &Value) -> Option<usize> {
        self.by_identity.get(&identity(item, self.key)?).copied()
    }
}

/// Puts the merged list in order. `wanted` gives the order of what the patch names, `server` the order before the
/// patch.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let (wanted, server) = (Positions::of(wanted, key), Positions::of(server, key));
    let (mut named, mut server_only): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| wanted.get(item).is_some());
    named.sort_by_cached_key(|item| wanted.get(item));
    server_only.sort_by_cached_key(|item| server.get(item).unwrap_or(usize::MAX));
    weave(server_only, named, &server)
}

/// Takes from `left` while its head stood before the head of `right` on the server.
fn weave(left: Vec<Value>, right: Vec<Value>, server: &Positions<'_>) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let before = matches!((server.get(l), server.get(r)), (Some(l), Some(r)) if l < r);
        out.extend(if before { left.next() } else { right.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}
