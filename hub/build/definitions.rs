//! The OpenAPI definitions with descriptions and merge facts, compressed by package.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value};

use crate::kinds::Definitions;
use crate::merge_keys;
use crate::packages::{Definition, Package, Packages, REFERENCE_END, REFERENCE_START};

/// A property that only [`mark_references`] sees.
const MARK: &str = "$mark";

/// All definitions, encoded.
pub(crate) fn encode(definitions: &Definitions) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut packages: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for (name, schema) in definitions {
        let (package, _) = name.rsplit_once('.').ok_or("a definition without a package")?;
        packages.entry(package).or_default().push((name, text(name, schema)?));
    }
    let mut encoded = Vec::new();
    for (name, definitions) in &packages {
        let definitions: Vec<_> = definitions.iter().map(|(name, json)| Definition { name, json }).collect();
        let plain = postcard::to_stdvec(&definitions)?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain)?;
        encoded.push((*name, encoder.finish()?, u32::try_from(plain.len())?));
    }
    let packages = encoded.iter().map(|(name, deflated, size)| Package { name, deflated, size: *size }).collect();
    Ok(postcard::to_stdvec(&Packages { packages })?)
}

fn text(name: &str, schema: &Value) -> Result<String, Box<dyn Error>> {
    let mut schema = schema.clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, property) in properties {
            add_facts(name, field, property);
        }
    }
    if merge_keys::atomic_struct(name) {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    mark_references(&mut schema);
    Ok(replace_marks(&serde_json::to_string(&schema)?))
}

fn add_facts(name: &str, field: &str, property: &mut Value) {
    if let Some(atomic) = merge_keys::atomic_field(name, field) {
        property["x-kubernetes-map-type"] = if atomic { "atomic" } else { "granular" }.into();
    }
    let (Some(fact), Some(property)) = (merge_keys::fact(name, field), property.as_object_mut()) else { return };
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            property.insert(key.into(), value.into());
        }
    };
    set("x-kubernetes-patch-strategy", fact.strategy);
    set("x-kubernetes-patch-merge-key", fact.key);
    set("x-kubernetes-list-type", fact.list_type);
    if !fact.list_keys.is_empty() {
        property.insert("x-kubernetes-list-map-keys".into(), fact.list_keys.into());
    }
}

fn mark_references(value: &mut Value) {
    match value {
        Value::Object(object) => {
            mark_reference(object);
            object.values_mut().for_each(mark_references);
        }
        Value::Array(items) => items.iter_mut().for_each(mark_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mark_reference(object: &mut Map<String, Value>) {
    let name =
        object.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/definitions/")).map(str::to_owned);
    if let Some(name) = name {
        object.remove("$ref");
        object.insert(MARK.into(), name.into());
    }
}

/// `"$mark":"NAME"` becomes the marked name.
fn replace_marks(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mark = format!("\"{MARK}\":\"");
    while let Some((before, after)) = rest.split_once(&mark) {
        let (name, after) = after.split_once('"').unwrap_or((after, ""));
        out.push_str(before);
        out.push(REFERENCE_START);
        out.push_str(name);
        out.push(REFERENCE_END);
        rest = after;
    }
    out.push_str(rest);
    out
}
