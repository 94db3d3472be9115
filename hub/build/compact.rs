//! Boils JSON schemas down to the compact schema.

use std::error::Error;

use serde_json::Value;

use crate::kinds::Definitions;
use crate::merge_keys;
use crate::model::{Field, Model, Parts, Strategy, Struct, Type};
use crate::proto_fields::ProtoFields;

/// Definitions that decode by rules of their own instead of field by field.
const SCALARS: &[(&str, Type)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", Type::Quantity),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", Type::Any),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", Type::MicroTime),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", Type::Any),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", Type::Time),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", Type::Any),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", Type::IntOrString),
];

/// The compact schema of all definitions, encoded.
pub(crate) fn encode(definitions: &Definitions, proto: &ProtoFields) -> Result<Vec<u8>, Box<dyn Error>> {
    let names: Vec<&str> = definitions.keys().map(String::as_str).filter(|name| scalar(name).is_none()).collect();
    let mut builder = Builder { names, elements: Vec::new(), strategies: vec![Strategy::default()], proto };
    let structs = builder
        .names
        .clone()
        .into_iter()
        .map(|name| {
            let fields = builder.fields(name, &definitions[name])?;
            Ok(Struct { name, atomic: merge_keys::atomic_struct(name), fields })
        })
        .collect::<Result<_, String>>()?;
    Ok(postcard::to_stdvec(&Model { structs, elements: builder.elements, strategies: builder.strategies })?)
}

fn scalar(name: &str) -> Option<Type> {
    SCALARS.iter().find(|(scalar, _)| *scalar == name).map(|(_, ty)| *ty)
}

struct Builder<'a> {
    names: Vec<&'a str>,
    elements: Vec<Type>,
    strategies: Vec<Strategy<'a>>,
    proto: &'a ProtoFields,
}

impl<'a> Builder<'a> {
    fn fields(&mut self, name: &str, schema: &'a Value) -> Result<Box<[Field<'a>]>, String> {
        let required = |field: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == field));
        let mut fields = Vec::new();
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let ty = self.ty(property).map_err(|error| format!("{name}.{field}: {error}"))?;
            let strategy = self.strategy(name, field)?;
            let wire = self.proto.wire(name, field)?;
            fields.push(Field { name: field, ty, strategy, required: required(field), wire });
        }
        fields.sort_by_key(|field| field.name);
        Ok(fields.into())
    }

    fn ty(&mut self, schema: &Value) -> Result<Type, String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/definitions/").ok_or("strange reference")?;
            return scalar(name).map_or_else(|| self.reference(name), Ok);
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("boolean"), _) => Ok(Type::Bool),
            (Some("integer"), Some("int32")) => Ok(Type::Int32),
            (Some("integer"), _) => Ok(Type::Int64),
            (Some("number"), _) => Ok(Type::Double),
            (Some("string"), Some("byte")) => Ok(Type::Bytes),
            (Some("string"), _) => Ok(Type::String),
            (Some("array"), _) => self.element(&schema["items"]).map(Type::List),
            (Some("object"), _) if schema["additionalProperties"].is_object() => {
                self.element(&schema["additionalProperties"]).map(Type::Map)
            }
            (Some("object") | None, _) => Ok(Type::Any),
            (Some(other), _) => Err(format!("unknown type {other}")),
        }
    }

    fn reference(&self, name: &str) -> Result<Type, String> {
        let index = self.names.binary_search(&name).map_err(|_| format!("no definition {name}"))?;
        Ok(Type::Struct(u16::try_from(index).map_err(|_| "too many definitions")?))
    }

    fn element(&mut self, schema: &Value) -> Result<u16, String> {
        let ty = self.ty(schema)?;
        let index = self.elements.iter().position(|known| *known == ty).unwrap_or_else(|| {
            self.elements.push(ty);
            self.elements.len() - 1
        });
        u16::try_from(index).map_err(|_| "too many element types".to_owned())
    }

    fn strategy(&mut self, name: &str, field: &str) -> Result<u8, String> {
        let mut strategy = merge_keys::fact(name, field).map_or_else(Strategy::default, |fact| Strategy {
            merge: fact.strategy.contains("merge"),
            retain_keys: fact.strategy.contains("retainKeys"),
            key: fact.key,
            parts: match fact.list_type {
                "map" => Parts::Keyed(fact.list_keys.to_vec()),
                "set" => Parts::Set,
                _ => Parts::OfType,
            },
        });
        match merge_keys::atomic_field(name, field) {
            Some(true) => strategy.parts = Parts::Atomic,
            Some(false) => strategy.parts = Parts::Granular,
            None => {}
        }
        let index = self.strategies.iter().position(|known| *known == strategy).unwrap_or_else(|| {
            self.strategies.push(strategy);
            self.strategies.len() - 1
        });
        u8::try_from(index).map_err(|_| "too many strategies".to_owned())
    }
}
