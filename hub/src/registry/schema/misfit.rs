//! Why a value does not fit its type, in the words of Kubernetes' converter, which reads what a strategic merge patch
//! makes: its refusals differ from those of Go's JSON decoder, and it takes whole numbers in any form.

use serde_json::Value;

use super::model::Type;
use super::scalars::{self, Refusal};
use super::{Schema, TypeRef, go_types};
use crate::registry::patch::printed;

impl Schema {
    /// The first value in an object that does not fit. Whole numbers that are written as fractions (`80.0`) take their
    /// plain form.
    pub fn misfit(&self, definition: &str, object: &mut Value) -> Option<String> {
        self.misfit_of(self.type_of(definition).0, ("", ""), object)
    }

    /// What a value should be instead, in the words of server-side apply; `None` where it fits, but for what is in it.
    pub fn unexpected(&self, ty: TypeRef, value: &Value) -> Option<String> {
        let (fits, expected, got) = match ty.0 {
            Type::String => (value.is_string(), "string", typed as fn(&Value) -> String),
            Type::Bool => (value.is_boolean(), "boolean", typed as _),
            Type::Int32 | Type::Int64 | Type::Double => (value.is_number(), "numeric (int or float)", go_type as _),
            Type::List(_) => (value.is_array(), "list", plain as _),
            Type::Struct(_) | Type::Map(_) => (value.is_object(), "map", plain as _),
            Type::Bytes | Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrString | Type::Any => return None,
        };
        (!fits && !value.is_null()).then(|| format!("expected {expected}, got {}", got(value)))
    }

    /// `place` is the innermost struct and the field of it, for the names of types.
    fn misfit_of(&self, ty: Type, place: (&'static str, &str), value: &mut Value) -> Option<String> {
        if value.is_null() {
            return None;
        }
        let found = go_kind(value);
        match (ty, &mut *value) {
            (Type::Struct(index), Value::Object(object)) => {
                let structure = self.structure(index);
                let owner = structure.name.rsplit('.').next().unwrap_or_default();
                object
                    .iter_mut()
                    .find_map(|(name, value)| self.misfit_of(self.field(structure, name)?.ty, (owner, name), value))
            }
            (Type::Struct(_), _) => Some(format!("cannot restore struct from: {found}")),
            (Type::Map(element), Value::Object(entries)) => {
                let element = self.element(element);
                entries.iter_mut().find_map(|(_, value)| self.misfit_of(element, ("", ""), value))
            }
            (Type::Map(_), _) => Some(format!("cannot restore map from {found}")),
            (Type::List(element), Value::Array(items)) => {
                let element = self.element(element);
                items.iter_mut().find_map(|value| self.misfit_of(element, ("", ""), value))
            }
            (Type::List(_), _) => Some(format!("cannot restore slice from {found}")),
            _ => scalar(ty, place, value),
        }
    }
}

/// Why a scalar does not fit.
fn scalar(ty: Type, place: (&str, &str), value: &mut Value) -> Option<String> {
    let found = go_kind(value);
    let unfit = |fits: bool, kind: &str, name: &str, convertible: bool| match (fits, convertible) {
        (true, _) => None,
        (false, true) => Some(format!("cannot convert {found} to {name}")),
        (false, false) => Some(format!("unrecognized type: {kind}")),
    };
    let decoded = |refused: Result<(), Refusal>| match refused {
        Err(Refusal::Text(text)) => Some(format!("error decoding from json: {text}")),
        // The decoder of JSON tells of these.
        Ok(()) | Err(Refusal::Type(_)) => None,
    };
    match ty {
        Type::Bool => unfit(value.is_boolean(), "bool", "bool", false),
        Type::String => {
            let name = go_types::text(place.0, place.1);
            unfit(value.is_string(), "string", name, found == "int64")
        }
        Type::Int32 | Type::Int64 => {
            let name = if ty == Type::Int32 { "int32" } else { "int64" };
            make_whole(value);
            unfit(value.is_i64(), name, name, value.is_number())
        }
        Type::Double => unfit(value.is_number(), "float64", "float64", false),
        Type::Bytes if !value.is_string() => Some(format!("cannot restore slice from {found}")),
        Type::Bytes => decoded(scalars::bytes(value)),
        Type::Time => decoded(scalars::time(value)),
        Type::MicroTime => decoded(scalars::micro_time(value)),
        Type::Quantity => decoded(scalars::quantity(value)),
        Type::IntOrString | Type::Any | Type::Struct(_) | Type::List(_) | Type::Map(_) => None,
    }
}

/// Writes a whole number without a fraction.
fn make_whole(value: &mut Value) {
    // Of the numbers of JSON, these are all whole numbers that a double holds exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64().filter(|n| value.is_f64() && n.fract() == 0.0 && n.abs() < EXACT)
        && let Ok(whole) = format!("{number:.0}").parse::<i64>()
    {
        *value = whole.into();
    }
}

/// A wrapped value as `%#v` prints it.
fn typed(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{}}}", go_syntax(value))
}

/// A wrapped value as `%v` prints it.
fn plain(value: &Value) -> String {
    format!("&{{{}}}", printed(value))
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(name, value)| format!("{name:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
    }
}

/// The type of a value as Go's `%T` prints it.
fn go_type(value: &Value) -> String {
    let kind = match go_kind(value) {
        "slice" => "[]interface {}",
        "map" => "map[string]interface {}",
        scalar => scalar,
    };
    kind.to_owned()
}

/// What Go calls a value that it holds without a type.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_are_told_as_the_converter_does() {
        for (definition, object, expected) in [
            ("Pod", json!({"metadata": {"labels": "x"}}), Some("cannot restore map from string")),
            ("Pod", json!({"metadata": {"labels": [1]}}), Some("cannot restore map from slice")),
            ("Pod", json!({"metadata": {"labels": {"a": 5}}}), Some("cannot convert int64 to string")),
            ("Pod", json!({"metadata": {"labels": {"a": {}}}}), Some("unrecognized type: string")),
            ("Pod", json!({"metadata": {"finalizers": {}}}), Some("cannot restore slice from map")),
            ("Pod", json!({"spec": 5}), Some("cannot restore struct from: int64")),
            ("Pod", json!({"spec": {"restartPolicy": 5}}), Some("cannot convert int64 to v1.RestartPolicy")),
            ("Pod", json!({"spec": {"hostNetwork": "x"}}), Some("unrecognized type: bool")),
            ("Pod", json!({"spec": {"priority": "x"}}), Some("unrecognized type: int32")),
            ("Pod", json!({"spec": {"priority": 1.5}}), Some("cannot convert float64 to int32")),
            ("Pod", json!({"spec": {"priority": 2.0, "foo": 1}}), None),
            (
                "ConfigMap",
                json!({"binaryData": {"q": "!!"}}),
                Some("error decoding from json: illegal base64 data at input byte 0"),
            ),
        ] {
            let mut value = object.clone();
            let told = Schema::builtin().misfit(&format!("io.k8s.api.core.v1.{definition}"), &mut value);
            assert_eq!(told.as_deref(), expected, "{object}");
        }
        let mut port = json!({"containerPort": 80.0});
        Schema::builtin().misfit("io.k8s.api.core.v1.ContainerPort", &mut port);
        assert_eq!(port, json!({"containerPort": 80}));
    }
}
