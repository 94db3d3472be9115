//! Walks over objects by their types: which fields an object has, how two objects differ, what becomes of one when
//! another is laid over it or fields are taken out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::path;
use super::set::FieldSet;
use crate::registry::schema::{Schema, Shape, TypeRef};

/// A place in an object: the type there, and which parts of it have owners of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'s> {
    schema: &'s Schema,
    ty: TypeRef,
    shape: Shape<'s>,
}

/// How one object differs from another.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// In the new one only.
    pub(super) added: FieldSet,
    /// In both, with different values.
    pub(super) modified: FieldSet,
    /// In the old one only.
    pub(super) removed: FieldSet,
}

/// The value, or where it is null an empty one like the other.
fn some<'v>(value: &'v Value, other: &Value) -> Cow<'v, Value> {
    match (value, other) {
        (Value::Null, Value::Array(_)) => Cow::Owned(Value::Array(Vec::new())),
        (Value::Null, Value::Object(_)) => Cow::Owned(Value::Object(Map::new())),
        _ => Cow::Borrowed(value),
    }
}

/// The items of a list by their path elements, in order.
type Items<'v> = Vec<(Box<str>, &'v Value)>;

impl<'s> Place<'s> {
    /// An object of the type that `definition` names.
    pub(super) fn root(schema: &'s Schema, definition: &str) -> Self {
        let ty = schema.type_of(definition);
        Self { schema, ty, shape: schema.shape(ty) }
    }

    fn part(self, name: &str) -> Self {
        let (ty, shape) = self.schema.part(self.ty, name);
        Self { ty, shape, ..self }
    }

    fn item(self) -> Self {
        let ty = self.schema.item_type(self.ty);
        Self { ty, shape: self.schema.shape(ty), ..self }
    }

    /// The fields of a value that have parts of their own.
    fn fields(self, value: &Value) -> Option<&Map<String, Value>> {
        match self.shape {
            Shape::Struct | Shape::Map | Shape::Unknown => value.as_object(),
            Shape::Leaf | Shape::Keyed(_) | Shape::Set => None,
        }
    }

    /// The items of a value that have owners of their own. One that lacks its keys goes by its position.
    fn items(self, value: &Value) -> Option<Items<'_>> {
        let items = value.as_array()?.iter();
        match self.shape {
            Shape::Keyed(keys) => {
                let element = |index, item| path::keyed(item, keys).unwrap_or_else(|_| path::position(index));
                Some(items.enumerate().map(|(index, item)| (element(index, item), item)).collect())
            }
            Shape::Set => Some(items.map(|item| (path::value(item), item)).collect()),
            Shape::Leaf | Shape::Struct | Shape::Map | Shape::Unknown => None,
        }
    }

    /// Whether an element of a set names a field of a struct, which is only there because something below it is.
    fn is_named_field(self) -> bool {
        self.shape == Shape::Struct
    }

    /// What a value lays claim to when it is applied: leaves, entries of maps, items, and what is empty.
    pub(super) fn claimed(self, value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        if let Some(fields) = self.fields(value) {
            for (name, value) in fields {
                let below = self.part(name).claimed(value);
                if below.is_empty() || !self.is_named_field() {
                    set.insert(path::field(name));
                }
                set.insert_below(path::field(name), below);
            }
        }
        for (element, value) in self.items(value).into_iter().flatten() {
            set.insert(element.clone());
            set.insert_below(element, self.item().claimed(value));
        }
        set
    }

    /// All parts of a value, at every depth.
    fn everything(self, value: &Value) -> FieldSet {
        if let Some(fields) = self.fields(value) {
            return FieldSet::of(
                fields.iter().map(|(name, value)| (path::field(name), self.part(name).everything(value))),
            );
        }
        let items = self.items(value).unwrap_or_default();
        FieldSet::of(items.into_iter().map(|(element, value)| (element, self.item().everything(value))))
    }

    /// How the parts of `new` differ from those of `old`.
    pub(super) fn compare(self, old: &Value, new: &Value) -> Difference {
        self.compare_parts(old, new).unwrap_or_default()
    }

    /// `None` when they have no parts to compare.
    fn compare_parts(self, old: &Value, new: &Value) -> Option<Difference> {
        let mut out = Difference::default();
        if let (Some(old), Some(new)) = (self.fields(old), self.fields(new)) {
            for (name, value) in old {
                self.part(name).compare_part(path::field(name), Some(value), new.get(name), &mut out);
            }
            for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                self.part(name).compare_part(path::field(name), None, Some(value), &mut out);
            }
            return Some(out);
        }
        let (old, new) = (self.items(old)?, self.items(new)?);
        let before: HashMap<&str, &Value> = old.iter().map(|(element, value)| (&**element, *value)).collect();
        let after: HashSet<&str> = new.iter().map(|(element, _)| &**element).collect();
        for (element, value) in &new {
            self.item().compare_part(element.clone(), before.get(&**element).copied(), Some(value), &mut out);
        }
        for (element, value) in old.iter().filter(|(element, _)| !after.contains(&**element)) {
            self.item().compare_part(element.clone(), Some(value), None, &mut out);
        }
        Some(out)
    }

    /// Compares what an element names in two values.
    fn compare_part(self, element: Box<str>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(new)) => return out.added.insert_all(element, self.everything(new)),
            (Some(old), None) => return out.removed.insert_all(element, self.everything(old)),
            (None, None) => return,
        };
        if old == new {
            return;
        }
        // A list or map without items may be written as null.
        let (old, new) = (some(old, new), some(new, old));
        let Some(below) = self.compare_parts(&old, &new) else { return out.modified.insert(element) };
        out.added.insert_below(element.clone(), below.added);
        out.modified.insert_below(element.clone(), below.modified);
        out.removed.insert_below(element, below.removed);
    }

    /// `live` with `config` laid over it.
    pub(super) fn merge(self, live: &Value, config: &Value) -> Value {
        if let (Some(old), Some(new)) = (self.fields(live), self.fields(config)) {
            let mut merged = old.clone();
            for (name, value) in new {
                let value = old.get(name).map_or_else(|| value.clone(), |old| self.part(name).merge(old, value));
                merged.insert(name.clone(), value);
            }
            return Value::Object(merged);
        }
        match (self.items(live), self.items(config)) {
            (Some(old), Some(new)) => Value::Array(self.merge_items(&old, &new)),
            _ => config.clone(),
        }
    }

    /// Merges lists: what the config names keeps the config's order, the rest keeps its place before what it stood
    /// before.
    fn merge_items(self, live: &Items<'_>, config: &Items<'_>) -> Vec<Value> {
        let wanted: HashSet<&str> = config.iter().map(|(element, _)| &**element).collect();
        let there: HashMap<&str, &Value> = live.iter().map(|(element, value)| (&**element, *value)).collect();
        let mut shared = config.iter().map(|(element, _)| &**element).filter(|e| there.contains_key(e)).peekable();
        let mut rest = live.iter().peekable();
        let mut merged = Vec::with_capacity(live.len().max(config.len()));
        for (element, value) in config {
            while let Some((next, item)) = rest.next_if(|(next, _)| shared.peek() != Some(&&**next)) {
                if !wanted.contains(&**next) {
                    merged.push((*item).clone());
                }
            }
            shared.next_if(|next| *next == &**element);
            merged.push(there.get(&**element).map_or_else(|| (*value).clone(), |old| self.item().merge(old, value)));
        }
        merged.extend(rest.filter(|(next, _)| !wanted.contains(&**next)).map(|(_, item)| (*item).clone()));
        merged
    }

    /// Takes the members of a set out of a value; `None` when nothing is left of it.
    pub(super) fn remove(self, value: &Value, gone: &FieldSet) -> Option<Value> {
        if let Some(fields) = self.fields(value) {
            let kept = fields.iter().filter_map(|(name, value)| {
                let value = self.part(name).remove_part(&path::field(name), value, gone)?;
                Some((name.clone(), value))
            });
            return Some(Value::Object(kept.collect::<Map<_, _>>())).filter(|kept| *kept != Value::Object(Map::new()));
        }
        let Some(items) = self.items(value) else { return Some(value.clone()) };
        let kept = items.iter().filter_map(|(element, value)| self.item().remove_part(element, value, gone));
        let kept: Vec<Value> = kept.collect();
        (!kept.is_empty()).then_some(Value::Array(kept))
    }

    fn remove_part(self, element: &str, value: &Value, gone: &FieldSet) -> Option<Value> {
        if gone.has(element) {
            return None;
        }
        match gone.below(element) {
            Some(below) => self.remove(value, below),
            None => Some(value.clone()),
        }
    }

    /// The set with every named field of a struct that has members below it.
    pub(super) fn with_named_fields(self, set: &FieldSet) -> FieldSet {
        let mut full = FieldSet::default();
        for (element, member, below) in set.iter() {
            let part = path::field_name(element).map_or_else(|| self.item(), |name| self.part(name));
            if member || path::field_name(element).is_some() && self.is_named_field() {
                full.insert(element.into());
            }
            full.insert_below(element.into(), part.with_named_fields(below));
        }
        full
    }

    /// The first value that does not fit its type, or item of a list that lacks its keys or has those of another, as
    /// Kubernetes tells it.
    pub(super) fn unfit(self, value: &Value, at: &str) -> Option<String> {
        if let Some(why) = self.schema.unexpected(self.ty, value) {
            return Some(format!("{at}: {why}"));
        }
        if let Some(fields) = value.as_object() {
            return fields.iter().find_map(|(name, value)| self.part(name).unfit(value, &format!("{at}.{name}")));
        }
        let mut seen = HashSet::new();
        value.as_array()?.iter().enumerate().find_map(|(index, item)| {
            let element = match self.shape {
                Shape::Keyed(keys) => match path::keyed(item, keys) {
                    Ok(element) => element,
                    Err(key) => return Some(format!(
                        "{at}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                    )),
                },
                Shape::Set => path::value(item),
                Shape::Leaf | Shape::Struct | Shape::Map | Shape::Unknown => path::position(index),
            };
            let readable = path::readable(&element);
            if !seen.insert(element) {
                return Some(format!("{at}: duplicate entries for key {readable}"));
            }
            self.item().unfit(item, &format!("{at}{readable}"))
        })
    }
}
