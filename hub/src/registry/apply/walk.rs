//! Walks over objects by their types: which fields an object has, how two objects differ, what becomes of one when
//! another is laid over it or fields are taken out.

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
        let items = value.as_array()?.iter().enumerate();
        match self.shape {
            Shape::Keyed(keys) => {
                let element = |index, item| path::keyed(item, keys).unwrap_or_else(|_| path::position(index));
                Some(items.map(|(index, item)| (element(index, item), item)).collect())
            }
            Shape::Set => Some(items.map(|(_, item)| (path::value(item), item)).collect()),
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

    /// Whether a value has no parts, as a scalar, an atomic value or an empty map has none.
    fn is_whole(self, value: &Value) -> bool {
        match (self.fields(value), self.items(value)) {
            (Some(fields), _) => fields.is_empty(),
            (None, Some(items)) => items.is_empty(),
            (None, None) => true,
        }
    }

    /// How `new` differs from `old`.
    pub(super) fn compare(self, old: &Value, new: &Value) -> Difference {
        let mut difference = Difference::default();
        self.compare_parts(Some(old), Some(new), &mut difference);
        difference
    }

    /// Compares the parts of two values.
    fn compare_parts(self, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
        if old == new {
            return;
        }
        if let Some((old, new)) = both(old, new, |value| self.fields(value)) {
            let names =
                old.into_iter().flatten().map(|(name, value)| (name, Some(value), new.and_then(|n| n.get(name))));
            let added = new.into_iter().flatten().filter(|(name, _)| old.is_none_or(|o| !o.contains_key(*name)));
            for (name, old, new) in names.chain(added.map(|(name, value)| (name, None, Some(value)))) {
                self.part(name).compare_part(path::field(name), old, new, out);
            }
        } else if let Some((old, new)) = both(old, new, |value| self.items(value)) {
            let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
            let before: HashMap<&str, &Value> = old.iter().map(|(element, value)| (&**element, *value)).collect();
            let after: HashSet<&str> = new.iter().map(|(element, _)| &**element).collect();
            let gone = old.iter().filter(|(element, _)| !after.contains(&**element));
            for (element, value) in &new {
                self.item().compare_part(element.clone(), before.get(&**element).copied(), Some(value), out);
            }
            for (element, value) in gone {
                self.item().compare_part(element.clone(), Some(value), None, out);
            }
        }
    }

    /// Compares what an element names in two values.
    fn compare_part(self, element: Box<str>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => return,
            (None, _) => out.added.insert(element.clone()),
            (_, None) => out.removed.insert(element.clone()),
            (Some(old), Some(new)) if self.is_whole(old) && self.is_whole(new) => out.modified.insert(element.clone()),
            (Some(_), Some(_)) => {}
        }
        let mut below = Difference::default();
        self.compare_parts(old, new, &mut below);
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

    /// The first item of a list that lacks its keys, as Kubernetes tells it.
    pub(super) fn unkeyed(self, value: &Value, at: &str) -> Option<String> {
        if let Some(fields) = self.fields(value) {
            return fields.iter().find_map(|(name, value)| self.part(name).unkeyed(value, &format!("{at}.{name}")));
        }
        let Shape::Keyed(keys) = self.shape else { return None };
        value.as_array()?.iter().enumerate().find_map(|(index, item)| match path::keyed(item, keys) {
            Err(key) => Some(format!(
                "{at}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
            )),
            Ok(element) => self.item().unkeyed(item, &format!("{at}{}", path::readable(&element))),
        })
    }
}

/// Both values seen in one way, if neither is of another kind.
fn both<'v, T>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    view: impl Fn(&'v Value) -> Option<T>,
) -> Option<(Option<T>, Option<T>)> {
    let seen = |value: Option<&'v Value>| value.map_or(Some(None), |value| view(value).map(Some));
    Some((seen(old)?, seen(new)?))
}
