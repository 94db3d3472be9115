//! Strategic merge patch
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>): a merge patch that
//! knows which lists merge by which key, with directives for what a merge cannot say.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::order::{Positions, arrange, identity};
use super::{PatchError, not_an_object};
use crate::registry::schema::{MergeRule, Schema, TypeRef};

/// `$patch: replace` or `delete`, in a map or an item of a list.
const DIRECTIVE: &str = "$patch";
/// `$retainKeys: [a, b]`: all other keys go.
const RETAIN_KEYS: &str = "$retainKeys";
/// `$setElementOrder/LIST`: the order of what the patch's author knows of.
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
/// `$deleteFromPrimitiveList/LIST`: scalars to take out.
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to an object of the type that `definition` names. On an error the target is as it
/// was.
///
/// Of a type that is not known, maps merge and lists are replaced.
///
/// # Errors
/// [`PatchError::BadRequest`] for a patch that is malformed, [`PatchError::Unprocessable`] for one that does not fit
/// the object.
pub fn strategic(schema: &Schema, definition: &str, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else { return Err(not_an_object(patch)) };
    let original = match target {
        Value::Object(object) => object.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    let patcher = Patcher { schema };
    *target = Value::Object(patcher.merge_map(schema.type_of(definition), original, patch.clone())?);
    Ok(())
}

struct Patcher<'s> {
    schema: &'s Schema,
}

type Object = Map<String, Value>;

impl Patcher<'_> {
    fn merge_map(&self, ty: TypeRef, mut original: Object, mut patch: Object) -> Result<Object, PatchError> {
        if let Some(directive) = patch.get(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => {
                    patch.remove(DIRECTIVE);
                    Ok(patch)
                }
                Some("delete") => Ok(Object::new()),
                _ => Err(unknown_directive(directive, &patch)),
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.merge_ordered_lists(ty, &mut original, &mut patch)?;
        for (key, value) in patch {
            if let Some(list) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
                delete_from_list(&mut original, list, &value);
            } else {
                self.merge_field(ty, &mut original, key, value)?;
            }
        }
        Ok(original)
    }

    fn merge_field(&self, ty: TypeRef, original: &mut Object, key: String, patch: Value) -> Result<(), PatchError> {
        if patch.is_null() {
            original.remove(&key);
            return Ok(());
        }
        let (ty, rule) = self.schema.field_type(ty, &key).unwrap_or((TypeRef::ANY, MergeRule::REPLACED));
        let merged = match (original.remove(&key), patch) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(self.merge_map(ty, old, new)?),
            (Some(Value::Array(old)), Value::Array(new)) if rule.merge => {
                Value::Array(self.merge_list(ty, rule, old, new)?)
            }
            // What takes the place of a list is not looked into: directives in it are fields that nobody knows.
            (Some(Value::Array(_)), new @ Value::Array(_)) => new,
            (_, new) => match without_directives(new) {
                Some(new) => new,
                None => return Ok(()),
            },
        };
        original.insert(key, merged);
        Ok(())
    }

    /// Merges the lists whose order the patch gives, and takes them out of the patch.
    fn merge_ordered_lists(&self, ty: TypeRef, original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
        for directive in directives {
            let order = array(patch.remove(&directive).unwrap_or_default(), &directive)?;
            let field = &directive[SET_ELEMENT_ORDER.len()..];
            let (ty, rule) = self.schema.field_type(ty, field).unwrap_or((TypeRef::ANY, MergeRule::REPLACED));
            let old = original.remove(field).map(|old| array(old, field)).transpose()?;
            // A null takes the list away below.
            let new = patch.get(field).filter(|new| !new.is_null()).cloned();
            let new = new.map(|new| array(new, field)).transpose()?;
            if let Some(new) = &new {
                check_order(new, &order, rule.key)?;
                patch.remove(field);
            }
            let server = old.clone().unwrap_or_default();
            let merged = match (old, new) {
                (None, None) => continue,
                (Some(old), None) => old,
                (Some(old), Some(new)) if rule.merge => self.merge_list(ty, rule, old, new)?,
                (_, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            };
            original.insert(field.to_owned(), Value::Array(arrange(merged, &order, &server, rule.key)));
        }
        Ok(())
    }

    fn merge_list(
        &self,
        ty: TypeRef,
        rule: MergeRule,
        old: Vec<Value>,
        new: Vec<Value>,
    ) -> Result<Vec<Value>, PatchError> {
        let objects = old.iter().chain(&new).any(Value::is_object);
        if objects && old.iter().chain(&new).any(|item| !item.is_object()) {
            return Err(unprocessable("the list holds items of different types"));
        }
        if !objects {
            let mut merged = old.clone();
            merged.extend(new.iter().cloned());
            return Ok(arrange(distinct(merged), &new, &old, ""));
        }
        if rule.key.is_empty() {
            return Err(unprocessable("cannot merge lists without merge key"));
        }
        let (old, new) = apply_item_directives(old, new, rule.key)?;
        let item = self.schema.item_type(ty);
        let (mut merged, mut positions) = (old.clone(), Positions::of(&old, rule.key));
        for patch in &new {
            self.merge_item(item, rule.key, &mut merged, &mut positions, patch)?;
        }
        Ok(arrange(merged, &new, &old, rule.key))
    }

    fn merge_item(
        &self,
        ty: TypeRef,
        key: &str,
        merged: &mut Vec<Value>,
        positions: &mut Positions<'_>,
        patch: &Value,
    ) -> Result<(), PatchError> {
        let patch_object = object(patch);
        if !patch_object.contains_key(key) {
            return Err(no_merge_key(&patch_object, key));
        }
        match positions.get(patch).and_then(|position| merged.get_mut(position)) {
            Some(item) => *item = Value::Object(self.merge_map(ty, object(item), patch_object)?),
            None => {
                positions.insert(patch, merged.len());
                merged.extend(without_directives(patch.clone()));
            }
        }
        Ok(())
    }
}

/// Carries out `$patch` in items: deletions by key, or replacement of the whole list by the items without a directive.
fn apply_item_directives(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut plain, mut gone, mut replace) = (Vec::new(), HashSet::new(), false);
    for item in new {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(identity(&item, key).ok_or_else(|| no_merge_key(&object(&item), key))?);
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(unprocessable("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, &object(&item))),
        }
    }
    old.retain(|item| identity(item, key).is_none_or(|identity| !gone.contains(&identity)));
    Ok(if replace { (Vec::new(), plain) } else { (old, plain) })
}

/// Carries out `$retainKeys`.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let malformed = || bad_request("invalid patch format of retainKeys");
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or_else(malformed)?;
    let retained = |key: &String| keys.iter().any(|retained| retained == key);
    let directive = |key: &str| key.starts_with(SET_ELEMENT_ORDER) || key.starts_with(DELETE_FROM_PRIMITIVE_LIST);
    if patch.iter().any(|(key, value)| !value.is_null() && !directive(key) && !retained(key)) {
        return Err(malformed());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Every item of the patch must have its place in the order that the patch gives, in the same sequence.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    let mut rest = order.iter().map(|item| identity(item, key));
    let mut plain = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).map(|item| identity(item, key));
    // An empty order says nothing.
    let fits = order.is_empty() || plain.all(|item| item.is_some() && rest.any(|known| known == item));
    if fits { Ok(()) } else { Err(bad_request("invalid patch format of setElementOrder list")) }
}

fn delete_from_list(original: &mut Object, list: &str, gone: &Value) {
    // What is no list has nothing in common with one.
    let Some(gone) = gone.as_array() else { return };
    let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
    if let Some(Value::Array(items)) = original.get_mut(list) {
        items.retain(|item| !gone.contains(&item.to_string()));
    }
}

/// What a patch adds where nothing was: itself, without nulls and directives. `None` for what carries a directive, as
/// there is nothing to delete or replace.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.contains_key(DIRECTIVE) => None,
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
            let kept = kept.filter_map(|(key, value)| without_directives(value).map(|value| (key, value)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value),
    }
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with(SET_ELEMENT_ORDER) || key.starts_with(DELETE_FROM_PRIMITIVE_LIST)
}

fn distinct(mut items: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(item.to_string()));
    items
}

fn object(value: &Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

fn array(value: Value, field: &str) -> Result<Vec<Value>, PatchError> {
    if let Value::Array(items) = value { Ok(items) } else { Err(bad_request(&format!("{field} must be a list"))) }
}

fn bad_request(message: &str) -> PatchError {
    PatchError::BadRequest(message.to_owned())
}

fn unprocessable(detail: &str) -> PatchError {
    PatchError::Unprocessable { detail: detail.to_owned() }
}

fn no_merge_key(item: &Object, key: &str) -> PatchError {
    bad_request(&format!("map: {} does not contain declared merge key: {key}", printed_map(item)))
}

fn unknown_directive(directive: &Value, map: &Object) -> PatchError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    bad_request(&format!("unknown patch type: {directive} in map: {}", printed_map(map)))
}

/// A value as Go prints it (`map[spec:map[replicas:x]]`): refusals of a patched object quote the patch in this form.
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => printed_map(object),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn printed_map(object: &Object) -> String {
    let entries: Vec<String> = object.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
    format!("map[{}]", entries.join(" "))
}
