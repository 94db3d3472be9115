//! JSON patches as Kubernetes applies them.
//!
//! Its library is laxer than RFC 6902, and clients rely on that: kube-rs adds a finalizer only where a `test` finds
//! `null` in place of the list, which is then not there.
//!
//! - A member that an object does not have equals `null` in a `test`.
//! - `replace` sets a member that is not there.
//! - Negative indices count from the end of a list.
//! - The whole document can be tested, and replaced by what is no single value; all else needs something that contains it.

use std::borrow::Cow;

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::Value;
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::PatchError;

/// Most operations in one JSON patch, as in Kubernetes.
pub const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch, all of it or nothing.
///
/// # Errors
/// [`PatchError::Unprocessable`] where it does not apply; [`PatchError::TooLarge`] for too many operations or copies
/// that would blow up the object.
pub fn apply_json(target: &mut Value, patch: &[PatchOperation]) -> Result<(), PatchError> {
    if patch.len() > MAX_OPERATIONS {
        let message =
            format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", patch.len());
        return Err(PatchError::TooLarge(message));
    }
    let mut patched = target.clone();
    let mut copied = 0;
    for (index, operation) in patch.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += patched.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > MAX_REQUEST_BODY {
                return Err(PatchError::TooLarge(format!("copied more than {MAX_REQUEST_BODY} bytes")));
            }
        }
        if moves_all(operation) {
            return Err(PatchError::Unprocessable {
                detail: format!("operation {index}: nothing contains the document"),
            });
        }
        let Some(operation) = strictly(&patched, operation) else { continue };
        json_patch::patch_unsafe(&mut patched, &[operation])
            .map_err(|error| PatchError::Unprocessable { detail: format!("operation {index}: {error}") })?;
    }
    *target = patched;
    Ok(())
}

/// Whether an operation puts something in the place of the whole document, or takes it elsewhere.
fn moves_all(operation: &PatchOperation) -> bool {
    match operation {
        PatchOperation::Add(AddOperation { path, .. }) | PatchOperation::Remove(RemoveOperation { path }) => {
            path.is_root()
        }
        PatchOperation::Move(MoveOperation { from, path }) | PatchOperation::Copy(CopyOperation { from, path }) => {
            from.is_root() || path.is_root()
        }
        PatchOperation::Replace(_) | PatchOperation::Test(_) => false,
    }
}

/// An operation in the terms of RFC 6902; `None` for one that changes nothing.
fn strictly(target: &Value, operation: &PatchOperation) -> Option<PatchOperation> {
    let there = |path| counted(target, path, 0);
    let added = |path| counted(target, path, 1);
    Some(match operation.clone() {
        PatchOperation::Add(AddOperation { path, value }) => {
            PatchOperation::Add(AddOperation { path: added(&path), value })
        }
        PatchOperation::Remove(RemoveOperation { path }) => {
            PatchOperation::Remove(RemoveOperation { path: there(&path) })
        }
        PatchOperation::Replace(ReplaceOperation { path, value }) if path.is_root() => {
            return (value.is_object() || value.is_array())
                .then_some(PatchOperation::Replace(ReplaceOperation { path, value }));
        }
        PatchOperation::Replace(ReplaceOperation { path, value }) => {
            let path = there(&path);
            if lacks(target, &path) {
                PatchOperation::Add(AddOperation { path, value })
            } else {
                PatchOperation::Replace(ReplaceOperation { path, value })
            }
        }
        PatchOperation::Move(MoveOperation { from, path }) => {
            PatchOperation::Move(MoveOperation { from: there(&from), path: added(&path) })
        }
        PatchOperation::Copy(CopyOperation { from, path }) => {
            PatchOperation::Copy(CopyOperation { from: there(&from), path: added(&path) })
        }
        PatchOperation::Test(TestOperation { path, value }) => {
            let path = there(&path);
            if value.is_null() && lacks(target, &path) {
                return None;
            }
            PatchOperation::Test(TestOperation { path, value })
        }
    })
}

/// Whether a path leads to an object that has no such member.
fn lacks(target: &Value, path: &Pointer) -> bool {
    let Some((parent, member)) = path.split_back() else { return false };
    let parent = target.pointer(parent.as_str()).and_then(Value::as_object);
    parent.is_some_and(|object| !object.contains_key(&*member.decoded()))
}

/// A path without negative indices. The last one counts from `beyond` past the end, for a value is added there.
fn counted(target: &Value, path: &Pointer, beyond: usize) -> PointerBuf {
    if !path.as_str().contains("/-") {
        return path.to_owned();
    }
    let mut counted = PointerBuf::new();
    let tokens: Vec<_> = path.tokens().collect();
    for (position, token) in tokens.iter().enumerate() {
        let last = position + 1 == tokens.len();
        let list = target.pointer(counted.as_str()).and_then(Value::as_array);
        let length = list.map(|l| l.len() + if last { beyond } else { 0 });
        let decoded = token.decoded();
        let back = decoded.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok());
        let index = length.zip(back).and_then(|(length, back)| length.checked_sub(back));
        counted.push_back(&*index.map_or(decoded, |index| Cow::Owned(index.to_string())));
    }
    counted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_are_laxer_than_the_standard() {
        for (patch, expected) in [
            (json!([{"op": "test", "path": "/none", "value": null}]), Some(json!({"a": [1, 2], "b": {"c/d": "x"}}))),
            (json!([{"op": "test", "path": "/b/none", "value": 1}]), None),
            (json!([{"op": "test", "path": "/none/none", "value": null}]), None),
            (json!([{"op": "test", "path": "/a/2", "value": null}]), None),
            (json!([{"op": "test", "path": "/b/c~1d", "value": null}]), None),
            (
                json!([{"op": "replace", "path": "/b/e", "value": 1}]),
                Some(json!({"a": [1, 2], "b": {"c/d": "x", "e": 1}})),
            ),
            (json!([{"op": "replace", "path": "/none/e", "value": 1}]), None),
            (json!([{"op": "replace", "path": "/a/2", "value": 1}]), None),
            (json!([{"op": "remove", "path": "/b/none"}]), None),
            (json!([{"op": "remove", "path": "/a/-1"}]), Some(json!({"a": [1], "b": {"c/d": "x"}}))),
            (json!([{"op": "replace", "path": "/a/-2", "value": 9}]), Some(json!({"a": [9, 2], "b": {"c/d": "x"}}))),
            (json!([{"op": "add", "path": "/a/-1", "value": 3}]), Some(json!({"a": [1, 2, 3], "b": {"c/d": "x"}}))),
            (json!([{"op": "remove", "path": "/a/-3"}]), None),
            (
                json!([{"op": "add", "path": "/b/-1", "value": 3}]),
                Some(json!({"a": [1, 2], "b": {"c/d": "x", "-1": 3}})),
            ),
            (json!([{"op": "replace", "path": "", "value": {"e": 1}}]), Some(json!({"e": 1}))),
            (json!([{"op": "replace", "path": "", "value": 1}]), Some(json!({"a": [1, 2], "b": {"c/d": "x"}}))),
            (
                json!([{"op": "test", "path": "", "value": {"a": [1, 2], "b": {"c/d": "x"}}}]),
                Some(json!({"a": [1, 2], "b": {"c/d": "x"}})),
            ),
            (json!([{"op": "test", "path": "", "value": null}]), None),
            (json!([{"op": "add", "path": "", "value": {"e": 1}}]), None),
            (json!([{"op": "remove", "path": ""}]), None),
            (json!([{"op": "copy", "from": "/b", "path": ""}]), None),
            (json!([{"op": "copy", "from": "", "path": "/b/e"}]), None),
            (json!([{"op": "move", "from": "/b", "path": ""}]), None),
            (json!([{"op": "move", "from": "", "path": "/b/e"}]), None),
        ] {
            let mut target = json!({"a": [1, 2], "b": {"c/d": "x"}});
            let operations: json_patch::Patch = serde_json::from_value(patch.clone()).expect("a patch");
            let applied = apply_json(&mut target, &operations).ok().map(|()| target);
            assert_eq!(applied, expected, "{patch}");
        }
    }
}
