//! Decodes objects from protobuf (`application/vnd.kubernetes.protobuf`) into the form they have as JSON.
//!
//! An object comes in an envelope that says its kind. Field numbers are in the schema. Go writes every field that is
//! not a pointer, set or not; zero values that Go's JSON would leave out are left out here too, so that an object means
//! the same in either form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::body::DecodeError;
use super::complete::is_zero;
use super::model::{Field, Type};
use super::scalars::{MICRO_TIME_FORMAT, TIME_FORMAT};
use super::wire::{Fields, MAX_DEPTH, Raw, WireError};
use super::{Schema, body};

/// What every object starts with.
pub(super) const MAGIC: &[u8] = b"k8s\0";
/// How many values an object may have. An empty message is two bytes on the wire and hundreds in memory; the largest
/// objects people store have a few ten thousand values.
const MAX_VALUES: usize = 200_000;

/// Decodes an object, with `apiVersion` and `kind` of its envelope, from a built-in kind's protobuf.
///
/// # Errors
/// [`DecodeError::TooLarge`], [`DecodeError::UnknownKind`] and [`DecodeError::Protobuf`].
pub fn decode_protobuf(schema: &Schema, bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.len() > MAX_REQUEST_BODY {
        return Err(DecodeError::TooLarge);
    }
    let message = bytes.strip_prefix(MAGIC).ok_or(DecodeError::NoMagic)?;
    let envelope = Envelope::read(message)?;
    let index = find(schema, envelope.api_version, envelope.kind).ok_or_else(|| DecodeError::UnknownKind {
        api_version: envelope.api_version.to_owned(),
        kind: envelope.kind.to_owned(),
    })?;
    let mut object = Map::new();
    let mut decoder = Decoder { schema, values: 0, depth: 0 };
    decoder.message(index, 0, envelope.raw, &mut object)?;
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// The struct of a kind. `DeleteOptions` belong to every group.
pub(super) fn find(schema: &Schema, api_version: &str, kind: &str) -> Option<u16> {
    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or_default();
    let of_group = || schema.find(&format!("io.k8s.api.{package}.{version}.{kind}"));
    let of_meta = || schema.find(&format!("{META}.{kind}"));
    match (api_version, kind) {
        // Metadata is field 1 of every object, and here the only one that is used.
        ("meta.k8s.io/v1", "PartialObjectMetadata") => schema.find("io.k8s.api.core.v1.Namespace"),
        ("meta.k8s.io/v1", "PartialObjectMetadataList") => schema.find("io.k8s.api.core.v1.NamespaceList"),
        ("apidiscovery.k8s.io/v2beta1", _) => schema.find(&format!("io.k8s.api.apidiscovery.v2.{kind}")),
        (_, "DeleteOptions") | ("meta.k8s.io/v1", _) => of_meta(),
        ("v1", "Status" | "APIVersions" | "APIGroup" | "APIGroupList" | "APIResourceList") => of_meta(),
        _ => of_group(),
    }
}

/// `runtime.Unknown`: an object beside what it is.
#[derive(Debug, Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut envelope = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Raw::Bytes(type_meta)) => envelope.read_type(type_meta)?,
                (2, Raw::Bytes(raw)) => envelope.raw = raw,
                (3, Raw::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err(WireError::InvalidValue("contentEncoding".into()).into());
                }
                (1..=4, Raw::Bytes(_)) => {}
                (1..=4, _) => return Err(WireError::WrongWireType(format!("Unknown.{number}")).into()),
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, type_meta: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(type_meta);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.api_version = text(value, "apiVersion")?,
                2 => self.kind = text(value, "kind")?,
                _ => {}
            }
        }
        Ok(())
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    values: usize,
    depth: usize,
}

impl Decoder<'_> {
    /// Reads a message into an object. `outer` is 0, or the number of the inlined message that is being read.
    fn message(
        &mut self,
        index: u16,
        outer: u8,
        message: &[u8],
        object: &mut Map<String, Value>,
    ) -> Result<(), WireError> {
        self.deeper(|decoder| {
            let structure = decoder.schema.structure(index);
            let known = &structure.fields;
            let mut fields = Fields::new(message);
            while let Some((number, value)) = fields.next()? {
                let Ok(number) = u8::try_from(number) else { continue };
                if let Some(field) = known.iter().find(|f| f.wire.outer == outer && f.wire.number == number) {
                    decoder.field(field, value, object)?;
                } else if outer == 0 && known.iter().any(|f| f.wire.outer == number) {
                    let inlined = bytes(value, decoder.schema.structure(index).name)?;
                    decoder.message(index, number, inlined, object)?;
                }
            }
            Ok(())
        })
    }

    fn field(&mut self, field: &Field<'_>, raw: Raw<'_>, object: &mut Map<String, Value>) -> Result<(), WireError> {
        let name = field.name;
        match field.ty {
            Type::List(element) => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                self.items(self.schema.element(element), name, raw, list)
            }
            Type::Map(element) => {
                let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                self.entry(self.schema.element(element), name, raw, map)
            }
            // A message may come in pieces.
            Type::Struct(index) => match object.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(inner) => {
                    self.count()?;
                    self.message(index, 0, bytes(raw, name)?, inner)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(()),
            },
            Type::Bool
            | Type::Int32
            | Type::Int64
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Time
            | Type::MicroTime
            | Type::Quantity
            | Type::IntOrString
            | Type::Any => {
                let value = self.value(field.ty, name, raw)?;
                if value.is_null() || !field.wire.keep_zero && is_zero(field.ty, &value) {
                    object.remove(name);
                } else {
                    object.insert(name.into(), value);
                }
                Ok(())
            }
        }
    }

    /// Appends one item, or all of a packed list.
    fn items(&mut self, ty: Type, name: &str, raw: Raw<'_>, list: &mut Value) -> Result<(), WireError> {
        let Value::Array(list) = list else { return Ok(()) };
        match (ty, raw) {
            (Type::Bool | Type::Int32 | Type::Int64, Raw::Bytes(packed)) => {
                let mut fields = Fields::new(packed);
                while let Some(raw) = fields.packed_varint()? {
                    list.push(self.value(ty, name, raw)?);
                }
            }
            _ => list.push(self.value(ty, name, raw)?),
        }
        Ok(())
    }

    /// Adds one entry of a map: a message of key and value, either of which may be missing when it is zero.
    fn entry(&mut self, ty: Type, name: &str, raw: Raw<'_>, map: &mut Value) -> Result<(), WireError> {
        let Value::Object(map) = map else { return Ok(()) };
        let (mut key, mut value) = ("", None);
        let mut fields = Fields::new(bytes(raw, name)?);
        while let Some((number, raw)) = fields.next()? {
            match number {
                1 => key = text(raw, name)?,
                2 => value = Some(self.value(ty, name, raw)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.value(ty, name, absent(ty))?,
        };
        map.insert(key.to_owned(), value);
        Ok(())
    }

    fn value(&mut self, ty: Type, name: &str, raw: Raw<'_>) -> Result<Value, WireError> {
        self.count()?;
        Ok(match ty {
            Type::Bool => (varint(raw, name)? != 0).into(),
            Type::Int32 => int32(varint(raw, name)?).into(),
            Type::Int64 => varint(raw, name)?.cast_signed().into(),
            Type::Double => double(raw, name)?,
            Type::String => text(raw, name)?.into(),
            Type::Bytes => STANDARD.encode(bytes(raw, name)?).into(),
            Type::Time => time(bytes(raw, name)?, name, TIME_FORMAT)?,
            Type::MicroTime => time(bytes(raw, name)?, name, MICRO_TIME_FORMAT)?,
            Type::Quantity => quantity(bytes(raw, name)?, name)?,
            Type::IntOrString => int_or_string(bytes(raw, name)?, name)?,
            Type::Any => json(bytes(raw, name)?, name)?,
            Type::Struct(index) => {
                let mut object = Map::new();
                self.message(index, 0, bytes(raw, name)?, &mut object)?;
                object.into()
            }
            Type::List(element) => self.list(self.schema.element(element), name, bytes(raw, name)?)?,
            Type::Map(_) => return Err(WireError::InvalidValue(name.into())),
        })
    }

    /// A list inside a map (`extra` of a user): a message whose field 1 are the items.
    fn list(&mut self, ty: Type, name: &str, message: &[u8]) -> Result<Value, WireError> {
        self.deeper(|decoder| {
            let mut list = Value::Array(Vec::new());
            let mut fields = Fields::new(message);
            while let Some((number, raw)) = fields.next()? {
                if number == 1 {
                    decoder.items(ty, name, raw, &mut list)?;
                }
            }
            Ok(list)
        })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, WireError>) -> Result<T, WireError> {
        if self.depth == MAX_DEPTH {
            return Err(WireError::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn count(&mut self) -> Result<(), WireError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(WireError::TooMany) } else { Ok(()) }
    }
}

/// A zero value as the wire has it.
fn absent(ty: Type) -> Raw<'static> {
    match ty {
        Type::Bool | Type::Int32 | Type::Int64 => Raw::Varint(0),
        Type::Double => Raw::Fixed64(0),
        Type::String
        | Type::Bytes
        | Type::Time
        | Type::MicroTime
        | Type::Quantity
        | Type::IntOrString
        | Type::Any
        | Type::Struct(_)
        | Type::List(_)
        | Type::Map(_) => Raw::Bytes(&[]),
    }
}

/// Whether Go's `omitempty` leaves a value out. Its structs, of which quantities and int-or-strings are two, stay.
fn varint(raw: Raw<'_>, name: &str) -> Result<u64, WireError> {
    if let Raw::Varint(value) = raw { Ok(value) } else { Err(WireError::WrongWireType(name.into())) }
}

fn bytes<'a>(raw: Raw<'a>, name: &str) -> Result<&'a [u8], WireError> {
    if let Raw::Bytes(value) = raw { Ok(value) } else { Err(WireError::WrongWireType(name.into())) }
}

fn text<'a>(raw: Raw<'a>, name: &str) -> Result<&'a str, WireError> {
    std::str::from_utf8(bytes(raw, name)?).map_err(|_| WireError::InvalidUtf8(name.into()))
}

/// Negative numbers are sign-extended to 64 bits; like Go, only the lower half counts.
fn int32(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn double(raw: Raw<'_>, name: &str) -> Result<Value, WireError> {
    let Raw::Fixed64(bits) = raw else { return Err(WireError::WrongWireType(name.into())) };
    let number = Number::from_f64(f64::from_bits(bits)).ok_or_else(|| WireError::InvalidValue(name.into()))?;
    Ok(Value::Number(number))
}

/// `{seconds, nanos}`; an empty message is no time.
fn time(message: &[u8], name: &str, format: &str) -> Result<Value, WireError> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, raw)) = fields.next()? {
        match number {
            1 => seconds = varint(raw, name)?.cast_signed(),
            2 => nanos = int32(varint(raw, name)?),
            _ => {}
        }
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| WireError::InvalidValue(name.into()))?;
    Ok(time.strftime(format).to_string().into())
}

/// `{string}`; an empty one is zero.
fn quantity(message: &[u8], name: &str) -> Result<Value, WireError> {
    let mut quantity = "0";
    let mut fields = Fields::new(message);
    while let Some((number, raw)) = fields.next()? {
        if number == 1 {
            quantity = text(raw, name)?;
        }
    }
    Ok(if quantity.is_empty() { "0" } else { quantity }.into())
}

/// `{type, intVal, strVal}`, type 1 being the string.
fn int_or_string(message: &[u8], name: &str) -> Result<Value, WireError> {
    let (mut is_string, mut int, mut string) = (false, 0, "");
    let mut fields = Fields::new(message);
    while let Some((number, raw)) = fields.next()? {
        match number {
            1 => is_string = varint(raw, name)? == 1,
            2 => int = int32(varint(raw, name)?),
            3 => string = text(raw, name)?,
            _ => {}
        }
    }
    Ok(if is_string { string.into() } else { int.into() })
}

/// `RawExtension` and `FieldsV1`: JSON in field 1.
fn json(message: &[u8], name: &str) -> Result<Value, WireError> {
    let mut raw = &[][..];
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            raw = bytes(value, name)?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    let parsed = body::parse_body(raw, body::ContentType::Json);
    parsed.map(|(value, _)| value).map_err(|_| WireError::InvalidValue(name.into()))
}

#[cfg(test)]
mod tests;
