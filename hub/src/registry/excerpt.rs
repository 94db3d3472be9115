//! Excerpts of stored objects: only the fields that someone looks at are parsed, everything else is passed over. Rows of
//! tables need a few fields of each of thousands of objects.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A field that is looked at, and what is looked at in it: all of it where no fields of its own are named. Lists have the
/// fields of their items.
#[derive(Debug, Clone, Copy)]
pub struct Field(pub &'static str, pub &'static [Field]);

/// Names fields as they stand in an object: `fields! { metadata { name } status { conditions { type } } }`.
macro_rules! fields {
    ($($name:ident $({ $($inner:tt)* })?)*) => {
        &[$($crate::registry::excerpt::Field(stringify!($name), $crate::registry::excerpt::fields!($($($inner)*)?))),*]
    };
}
pub(crate) use fields;

/// Some fields of an object.
#[derive(Debug)]
pub(crate) struct Excerpt<'a> {
    /// The object with these fields alone.
    pub(crate) value: Value,
    /// The whole of its `metadata`, as it stands there; empty when it has none.
    pub(crate) metadata: &'a str,
}

impl<'a> Excerpt<'a> {
    /// Takes fields out of an object's JSON; all where none are named.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(crate) fn parse(json: &'a [u8], fields: &'static [Field]) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer.deserialize_map(Object(fields))
    }
}

/// Parses a whole object.
struct Object(&'static [Field]);

impl<'de> Visitor<'de> for Object {
    type Value = Excerpt<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Excerpt<'de>, A::Error> {
        let (mut object, mut metadata) = (Map::new(), "");
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                // Cut out as it stands first, which is what most want of it.
                Some((name, inner)) if name == "metadata" => {
                    metadata = map.next_value::<&RawValue>()?.get();
                    let value = Part(inner).deserialize(&mut serde_json::Deserializer::from_str(metadata));
                    object.insert(name, value.map_err(A::Error::custom)?);
                }
                Some((name, inner)) => drop(object.insert(name, map.next_value_seed(Part(inner))?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Excerpt { value: Value::Object(object), metadata })
    }
}

/// Parses a value of which these fields are looked at.
struct Part(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.is_empty() {
            serde::Deserialize::deserialize(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Some((name, inner)) => drop(object.insert(name, map.next_value_seed(Part(inner))?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Part(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Reads a field's name; gives it with its own fields if it is one of these.
struct Name(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<(String, &'static [Field])>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<(String, &'static [Field])>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let all = self.0.is_empty().then_some(&[] as &[Field]);
        let inner = self.0.iter().find(|field| field.0 == name).map(|field| field.1).or(all);
        Ok(inner.map(|inner| (name.to_owned(), inner)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},
        "spec":{"nodeName":"n","containers":[{"name":"c","image":"i","ports":[1,2.5,-3]},{"name":"d"}],"hostNetwork":true},"status":null}"#;

    #[test]
    fn only_what_is_named_is_taken() {
        for (fields, expected) in [
            (fields! {} as &[Field], serde_json::from_str::<Value>(POD).unwrap()),
            (fields! { metadata { name } status }, json!({"metadata": {"name": "a"}, "status": null})),
            (fields! { kind spec { hostNetwork gone } }, json!({"kind": "Pod", "spec": {"hostNetwork": true}})),
            (
                fields! { spec { containers { name ports } } },
                json!({"spec": {"containers": [{"name": "c", "ports": [1, 2.5, -3]}, {"name": "d"}]}}),
            ),
            (fields! { metadata { name { first } } kind { x } }, json!({"metadata": {"name": "a"}, "kind": "Pod"})),
        ] {
            assert_eq!(Excerpt::parse(POD.as_bytes(), fields).unwrap().value, expected);
        }
    }

    #[test]
    fn metadata_is_there_as_it_stands() {
        let metadata =
            |json: &'static str| Excerpt::parse(json.as_bytes(), fields! { metadata { name } }).unwrap().metadata;
        assert_eq!(metadata(POD), r#"{"name":"a","labels":{"x":"y"}}"#);
        assert_eq!(metadata("{}"), "");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "{", r#"{"metadata":{"name":}}"#, r#"{"metadata":1"#] {
            assert!(Excerpt::parse(bad.as_bytes(), fields! { metadata { name } }).is_err(), "{bad}");
        }
    }
}
