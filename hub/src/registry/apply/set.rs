//! Sets of fields: who owns what of an object.
//!
//! A set is a tree of path elements in the form that `FieldsV1` gives them, so that reading and writing one is a walk
//! over the same tree.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

use super::path;

/// The mark of a member that has members below it.
const SELF: &str = ".";
/// How deep a set may nest; no object comes near.
const MAX_DEPTH: usize = 64;

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    entries: BTreeMap<Box<str>, Node>,
}

/// A path element: whether the path that ends here is in the set, and what is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes the one-element path a member.
    pub(super) fn insert(&mut self, element: Box<str>) {
        self.entries.entry(element).or_default().member = true;
    }

    /// The set of these elements and all that is below them.
    pub(super) fn of(elements: impl Iterator<Item = (Box<str>, Self)>) -> Self {
        Self { entries: elements.map(|(element, below)| (element, Node { member: true, below })).collect() }
    }

    /// Makes the one-element path a member, and adds what is below it.
    pub(super) fn insert_all(&mut self, element: Box<str>, below: Self) {
        self.entries.insert(element, Node { member: true, below });
    }

    /// Adds what is below an element.
    pub(super) fn insert_below(&mut self, element: Box<str>, below: Self) {
        if below.is_empty() {
            return;
        }
        match self.entries.entry(element) {
            Entry::Vacant(entry) => drop(entry.insert(Node { member: false, below })),
            Entry::Occupied(mut entry) => entry.get_mut().below.unite(below),
        }
    }

    /// Whether the one-element path is a member.
    pub(super) fn has(&self, element: &str) -> bool {
        self.entries.get(element).is_some_and(|node| node.member)
    }

    /// The members below an element.
    pub(super) fn below(&self, element: &str) -> Option<&Self> {
        self.entries.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Takes an element out, with all below it.
    pub(super) fn remove(&mut self, element: &str) {
        self.entries.remove(element);
    }

    /// Takes elements out from below another.
    pub(super) fn remove_below(&mut self, element: &str, gone: &[&str]) {
        let Some(node) = self.entries.get_mut(element) else { return };
        node.member = false;
        gone.iter().for_each(|gone| node.below.remove(gone));
        if node.is_empty() {
            self.entries.remove(element);
        }
    }

    /// Keeps only what is under elements of which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|element, _| keep(element));
    }

    /// The elements of the first level, with what is below them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, bool, &Self)> {
        self.entries.iter().map(|(element, node)| (&**element, node.member, &node.below))
    }

    /// Adds all members of another set.
    pub(super) fn unite(&mut self, other: Self) {
        if self.entries.is_empty() {
            self.entries = other.entries;
            return;
        }
        for (element, node) in other.entries {
            let mine = self.entries.entry(element).or_default();
            mine.member |= node.member;
            mine.below.unite(node.below);
        }
    }

    /// The members of this set that are not in the other.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs, |below| below.clone())
    }

    /// The members of both sets.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs, |_| Self::default())
    }

    /// Goes over this set beside another; `alone` gives what is kept where the other has nothing.
    fn combine(&self, other: &Self, member: fn(bool, bool) -> bool, alone: fn(&Self) -> Self) -> Self {
        let entries = self.entries.iter().filter_map(|(element, node)| {
            let theirs = other.entries.get(element);
            let combined = Node {
                member: member(node.member, theirs.is_some_and(|n| n.member)),
                below: theirs.map_or_else(|| alone(&node.below), |n| node.below.combine(&n.below, member, alone)),
            };
            (!combined.is_empty()).then(|| (element.clone(), combined))
        });
        Self { entries: entries.collect() }
    }

    /// The number of members.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.values().map(|node| usize::from(node.member) + node.below.len()).sum()
    }

    /// All members as people read them (`.spec.containers[name="web"].image`), in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        for (element, node) in &self.entries {
            let path = format!("{prefix}{}", path::readable(element));
            if node.member {
                paths.push(path.clone());
            }
            node.below.collect_paths(&path, paths);
        }
    }

    /// The set as `FieldsV1`.
    pub fn into_fields(self) -> Value {
        Value::Object(self.into_map())
    }

    fn into_map(self) -> Map<String, Value> {
        let field = |(element, node): (Box<str>, Node)| {
            let marked = node.member && !node.below.is_empty();
            let mut below = node.below.into_map();
            if marked {
                below.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
            (element.into_string(), Value::Object(below))
        };
        self.entries.into_iter().map(field).collect()
    }

    /// Reads `FieldsV1`; `None` when it is malformed.
    pub fn from_fields(fields: &Value) -> Option<Self> {
        Self::read(fields, MAX_DEPTH)
    }

    fn read(fields: &Value, depth: usize) -> Option<Self> {
        let mut set = Self::default();
        for (element, value) in fields.as_object()?.iter().filter(|(element, _)| *element != SELF) {
            let below = Self::read(value, depth.checked_sub(1)?)?;
            // An element without anything below is a member, as is one with the mark.
            let member = below.is_empty() || value.get(SELF).is_some();
            set.entries.insert(path::canonical(element)?, Node { member, below });
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(fields: Value) -> FieldSet {
        FieldSet::from_fields(&fields).expect("well formed")
    }

    #[test]
    fn fields_are_read_and_written_as_they_are() {
        for fields in [
            json!({}),
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:spec": {".": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}}, "f:x": {"i:0": {}}}),
        ] {
            assert_eq!(set(fields.clone()).into_fields(), fields);
        }
        let loose = json!({"k:{ \"b\": 1, \"a\": \"x\" }": {}});
        assert_eq!(set(loose).into_fields(), json!({"k:{\"a\":\"x\",\"b\":1}": {}}));
    }

    #[test]
    fn malformed_fields_are_refused() {
        for fields in [json!([]), json!({"spec": {}}), json!({"f:a": 1}), json!({"k:[]": {}}), json!({"i:x": {}})] {
            assert_eq!(FieldSet::from_fields(&fields), None, "{fields}");
        }
        let deep = (0..100).fold(json!({}), |below, _| json!({"f:a": below}));
        assert_eq!(FieldSet::from_fields(&deep), None);
    }

    #[test]
    fn sets_combine_by_member() {
        let a = set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}, "f:d": {}}}));
        let b = set(json!({"f:a": {}, "f:b": {"f:c": {}}, "f:z": {}}));
        assert_eq!(a.difference(&b).into_fields(), json!({"f:b": {".": {}, "f:d": {}}}));
        assert_eq!(a.intersection(&b).into_fields(), json!({"f:a": {}, "f:b": {"f:c": {}}}));
        let mut both = a.clone();
        both.unite(b);
        assert_eq!(both.len(), 5);
        assert_eq!(both.paths(), [".a", ".b", ".b.c", ".b.d", ".z"]);
    }
}
