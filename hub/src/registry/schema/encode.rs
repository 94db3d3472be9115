//! Encodes objects as protobuf (`application/vnd.kubernetes.protobuf`) from the form they have as JSON: the inverse of
//! `protobuf`, by the same schema.
//!
//! What JSON leaves out is left out: decoders take it for zero. Fields go out by number and entries of maps by key, so
//! that equal objects are equal bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Schema;
use super::model::{Field, Type};
use super::protobuf::{MAGIC, find};

/// Wire types: integers, doubles, and everything that has a length.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;

/// The fields that every list has.
const LIST_METADATA: u8 = 1;
const LIST_ITEMS: u8 = 2;

/// Encodes an object in its envelope; `None` when its `apiVersion` and `kind` name nothing that has a protobuf form.
pub fn encode_protobuf(schema: &Schema, object: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let index = find(schema, api_version, kind)?;
    let mut message = Vec::new();
    Encoder { schema }.message(index, object.as_object()?, &mut message);
    let mut out = envelope(api_version, kind, message.len());
    out.append(&mut message);
    out.extend_from_slice(ENVELOPE_END);
    Some(out)
}

/// What comes before a message of `length` bytes in an object's envelope (`runtime.Unknown`).
pub fn envelope(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    delimited(&mut out, 1, |out| {
        bytes(out, 1, api_version.as_bytes());
        bytes(out, 2, kind.as_bytes());
    });
    tag(&mut out, 2, DELIMITED);
    varint(&mut out, length as u64);
    out
}

/// What comes after it: no content encoding and no content type, as Go writes them.
pub const ENVELOPE_END: &[u8] = &[3 << 3 | DELIMITED, 0, 4 << 3 | DELIMITED, 0];

/// Encodes the parts of a list, which need not be in memory at the same time.
#[derive(Debug, Clone, Copy)]
pub struct ListEncoder {
    schema: &'static Schema,
    item: u16,
}

impl ListEncoder {
    /// For lists of this kind; `None` when it has no protobuf form.
    pub fn new(schema: &'static Schema, api_version: &str, kind: &str) -> Option<Self> {
        Some(Self { schema, item: find(schema, api_version, kind)? })
    }

    /// The list's own metadata, which comes first.
    pub fn metadata(self, metadata: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let index = self.schema.find("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
        if let (Some(index), Some(metadata)) = (index, metadata.as_object()) {
            let encoder = Encoder { schema: self.schema };
            delimited(&mut out, LIST_METADATA, |out| encoder.message(index, metadata, out));
        }
        out
    }

    /// Appends one item.
    pub fn item(self, item: &Value, out: &mut Vec<u8>) {
        let encoder = Encoder { schema: self.schema };
        encoder.value(LIST_ITEMS, Type::Struct(self.item), item, out);
    }
}

/// What comes before an object of `length` bytes, its envelope included, in a frame of a watch: the frame's length and
/// the beginning of a `WatchEvent`. Nothing comes after the object.
pub fn watch_frame(event: &str, length: usize) -> Vec<u8> {
    let mut raw = Vec::with_capacity(8);
    tag(&mut raw, 1, DELIMITED);
    varint(&mut raw, length as u64);
    let mut head = Vec::with_capacity(32);
    bytes(&mut head, 1, event.as_bytes());
    tag(&mut head, 2, DELIMITED);
    varint(&mut head, (raw.len() + length) as u64);
    head.append(&mut raw);
    let total = u32::try_from(head.len() + length).unwrap_or(u32::MAX);
    let mut out = total.to_be_bytes().to_vec();
    out.append(&mut head);
    out
}

#[derive(Clone, Copy)]
struct Encoder<'s> {
    schema: &'s Schema,
}

impl Encoder<'_> {
    fn message(self, index: u16, object: &Map<String, Value>, out: &mut Vec<u8>) {
        let structure = self.schema.structure(index);
        let mut fields: Vec<(&Field<'_>, &Value)> = object
            .iter()
            .filter_map(|(name, value)| Some((self.schema.field(structure, name)?, value)))
            .filter(|(field, value)| field.wire.number != 0 && !value.is_null())
            .collect();
        fields.sort_by_key(|(field, _)| (place(field), field.wire.number));
        for same_place in fields.chunk_by(|(a, _), (b, _)| place(a) == place(b)) {
            let inlined = same_place[0].0.wire.outer;
            let each = |out: &mut Vec<u8>| {
                for (field, value) in same_place {
                    self.field(field, value, out);
                }
            };
            if inlined == 0 { each(out) } else { delimited(out, inlined, each) }
        }
    }

    fn field(self, field: &Field<'_>, value: &Value, out: &mut Vec<u8>) {
        let number = field.wire.number;
        match (field.ty, value) {
            (Type::List(element), Value::Array(items)) => self.items(number, self.schema.element(element), items, out),
            (Type::Map(element), Value::Object(map)) => {
                let element = self.schema.element(element);
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    delimited(out, number, |out| {
                        bytes(out, 1, key.as_bytes());
                        self.value(2, element, value, out);
                    });
                }
            }
            (Type::List(_) | Type::Map(_), _) => {}
            (ty, value) => self.value(number, ty, value, out),
        }
    }

    fn items(self, number: u8, ty: Type, items: &[Value], out: &mut Vec<u8>) {
        items.iter().for_each(|item| self.value(number, ty, item, out));
    }

    /// One value. Stored objects have been checked; a value that is not of its type is left out.
    fn value(self, number: u8, ty: Type, value: &Value, out: &mut Vec<u8>) {
        match (ty, value) {
            (_, Value::Null) => {}
            (Type::Bool, Value::Bool(value)) => integer(out, number, (*value).into()),
            (Type::Int32 | Type::Int64, Value::Number(value)) => integer(out, number, value.as_i64().unwrap_or(0)),
            (Type::Double, Value::Number(value)) => {
                tag(out, number, FIXED64);
                out.extend(value.as_f64().unwrap_or(0.0).to_bits().to_le_bytes());
            }
            (Type::String, Value::String(text)) => bytes(out, number, text.as_bytes()),
            (Type::Bytes, Value::String(text)) => {
                let text: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
                bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
            }
            (Type::Time, Value::String(text)) => time(out, number, text, |_| 0),
            (Type::MicroTime, Value::String(text)) => time(out, number, text, |nanos| nanos / 1000 * 1000),
            (Type::Quantity, Value::String(text)) => delimited(out, number, |out| bytes(out, 1, text.as_bytes())),
            (Type::IntOrString, value) => int_or_string(out, number, value),
            (Type::Any, value) => delimited(out, number, |out| bytes(out, 1, value.to_string().as_bytes())),
            (Type::Struct(index), Value::Object(object)) => {
                delimited(out, number, |out| self.message(index, object, out));
            }
            // A list inside a map, or one that Go has a type of its own for: a message whose field 1 are the items.
            (Type::List(element), Value::Array(items)) => {
                delimited(out, number, |out| self.items(1, self.schema.element(element), items, out));
            }
            (
                Type::Bool
                | Type::Int32
                | Type::Int64
                | Type::Double
                | Type::String
                | Type::Bytes
                | Type::Time
                | Type::MicroTime
                | Type::Quantity
                | Type::Struct(_)
                | Type::List(_)
                | Type::Map(_),
                _,
            ) => {}
        }
    }
}

/// Number under which a field is found in its message: its own, or that of the message it is inlined from.
fn place(field: &Field<'_>) -> u8 {
    if field.wire.outer == 0 { field.wire.number } else { field.wire.outer }
}

/// `{seconds, nanos}`.
fn time(out: &mut Vec<u8>, number: u8, text: &str, nanos: impl Fn(i32) -> i32) {
    let Ok(time) = text.parse::<jiff::Timestamp>() else { return };
    delimited(out, number, |out| {
        integer(out, 1, time.as_second());
        integer(out, 2, nanos(time.subsec_nanosecond()).into());
    });
}

/// `{type, intVal, strVal}`, type 1 being the string.
fn int_or_string(out: &mut Vec<u8>, number: u8, value: &Value) {
    let text = value.as_str();
    delimited(out, number, |out| {
        integer(out, 1, text.is_some().into());
        integer(out, 2, value.as_i64().unwrap_or(0));
        bytes(out, 3, text.unwrap_or_default().as_bytes());
    });
}

fn integer(out: &mut Vec<u8>, number: u8, value: i64) {
    tag(out, number, VARINT);
    varint(out, value.cast_unsigned());
}

fn bytes(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    tag(out, number, DELIMITED);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A field whose content is written in place, and its length before it once that is known.
fn delimited(out: &mut Vec<u8>, number: u8, content: impl FnOnce(&mut Vec<u8>)) {
    tag(out, number, DELIMITED);
    let start = out.len();
    out.push(0);
    content(out);
    let length = out.len() - start - 1;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out[start] = short,
        _ => {
            let mut prefix = Vec::with_capacity(10);
            varint(&mut prefix, length as u64);
            out.splice(start..=start, prefix);
        }
    }
}

fn tag(out: &mut Vec<u8>, number: u8, wire_type: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests;
