//! Order of merged lists: what the patch names keeps the patch's order, what only the server has keeps the server's,
//! and the two are woven together by the server's order.

use serde_json::Value;

/// Puts the merged list in order.
///
/// `wanted` gives the order of what the patch names, `server` the order before the patch. Items are the same when
/// they agree in `key`; with an empty key, when they are equal.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let (mut named, mut server_only): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| position(wanted, item, key).is_some());
    named.sort_by_key(|item| position(wanted, item, key));
    server_only.sort_by_key(|item| position(server, item, key).unwrap_or(usize::MAX));
    weave(server_only, named, server, key)
}

/// Takes from `left` while its head stood before the head of `right` on the server.
fn weave(left: Vec<Value>, right: Vec<Value>, server: &[Value], key: &str) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let before = matches!((position(server, l, key), position(server, r, key)), (Some(l), Some(r)) if l < r);
        out.extend(if before { left.next() } else { right.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}

fn position(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    list.iter().position(|other| same(other, item, key))
}

/// Whether two items of a list are the same one.
pub(super) fn same(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() { a == b } else { a.get(key).is_some() && a.get(key) == b.get(key) }
}
