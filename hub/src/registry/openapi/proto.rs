//! Encodes OpenAPI version 2 as protobuf, by the numbers of gnostic's `openapiv2/OpenAPIv2.proto` (package
//! `openapi.v2`): the form that client-go and kubectl ask for. Only what the hub's documents hold is encoded.

use serde_json::{Map, Value};

/// A message being written. Absent and empty values are left out, as proto3 does.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        const LENGTH_DELIMITED: u64 = 2;
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(u64::try_from(bytes.len()).expect("a length fits 64 bits"));
        self.0.extend_from_slice(bytes);
    }

    fn string(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A text of a JSON object, if it is there.
    fn member(&mut self, field: u64, object: &Value, name: &str) {
        self.string(field, object[name].as_str().unwrap_or_default());
    }

    fn strings(&mut self, field: u64, list: &Value) {
        for text in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn bool(&mut self, field: u64, value: bool) {
        if value {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Maps are lists of named values.
    fn named(&mut self, field: u64, name: &str, value: &Self) {
        let mut named = Self::default();
        named.string(1, name);
        named.message(2, value);
        self.message(field, &named);
    }

    /// `vendor_extension`: every `x-…` member, as YAML (of which JSON is a part).
    fn extensions(&mut self, field: u64, object: &Value) {
        for (name, value) in members(object).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.string(2, &value.to_string());
            self.named(field, name, &any);
        }
    }
}

/// `Document`.
#[derive(Debug)]
pub(super) struct Document {
    head: Message,
    paths: Message,
    definitions: Message,
}

impl Document {
    /// An empty document of a Kubernetes version.
    pub(super) fn new(version: &str) -> Self {
        let mut info = Message::default();
        info.string(1, "Kubernetes");
        info.string(2, version);
        let mut head = Message::default();
        head.string(1, "2.0");
        head.message(2, &info);
        Self { head, paths: Message::default(), definitions: Message::default() }
    }

    /// Adds `paths`, as in the JSON document.
    pub(super) fn paths(&mut self, paths: &Value) {
        for (url, item) in members(paths) {
            self.paths.named(2, url, &path_item(item));
        }
    }

    /// Adds a definition, as in the JSON document.
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        self.definitions.named(1, name, &schema(definition));
    }

    /// The encoded document.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.head.message(8, &self.paths);
        self.head.message(9, &self.definitions);
        self.head.0
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, &operation(&item[method]));
        }
    }
    parameters(&mut out, 9, &item["parameters"]);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.member(5, operation, "operationId");
    out.strings(7, &operation["consumes"]);
    parameters(&mut out, 8, &operation["parameters"]);
    let mut responses = Message::default();
    for (code, answer) in members(&operation["responses"]) {
        responses.named(1, code, &response(answer));
    }
    out.message(9, &responses);
    out.extensions(13, operation);
    out
}

/// `ResponseValue { Response { description, SchemaItem { schema } } }`.
fn response(answer: &Value) -> Message {
    let mut item = Message::default();
    item.message(1, &schema(&answer["schema"]));
    let mut response = Message::default();
    response.member(1, answer, "description");
    response.message(2, &item);
    wrapped(1, &response)
}

/// `ParametersItem { Parameter }` each.
fn parameters(out: &mut Message, field: u64, list: &Value) {
    for parameter in list.as_array().into_iter().flatten() {
        let encoded = match parameter["in"].as_str() {
            Some("body") => wrapped(1, &body_parameter(parameter)),
            Some("path") => wrapped(2, &wrapped(4, &path_parameter(parameter))),
            _ => wrapped(2, &wrapped(3, &query_parameter(parameter))),
        };
        out.message(field, &wrapped(1, &encoded));
    }
}

fn body_parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    out.member(2, parameter, "name");
    out.member(3, parameter, "in");
    out.message(5, &schema(&parameter["schema"]));
    out
}

fn query_parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    out.member(2, parameter, "in");
    out.member(3, parameter, "description");
    out.member(4, parameter, "name");
    out.member(6, parameter, "type");
    out.bool(20, parameter["uniqueItems"] == true);
    out
}

fn path_parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    out.bool(1, true);
    out.member(2, parameter, "in");
    out.member(4, parameter, "name");
    out.member(5, parameter, "type");
    out.bool(19, parameter["uniqueItems"] == true);
    out
}

/// `Schema`.
fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.member(1, schema, "$ref");
    out.member(2, schema, "format");
    out.member(4, schema, "description");
    out.strings(19, &schema["required"]);
    if schema["additionalProperties"].is_object() {
        out.message(21, &wrapped(1, &self::schema(&schema["additionalProperties"])));
    }
    if let Some(kind) = schema["type"].as_str() {
        let mut item = Message::default();
        item.string(1, kind);
        out.message(22, &item);
    }
    if schema["items"].is_object() {
        out.message(23, &wrapped(1, &self::schema(&schema["items"])));
    }
    let mut properties = Message::default();
    for (name, property) in members(&schema["properties"]) {
        properties.named(1, name, &self::schema(property));
    }
    if !properties.0.is_empty() {
        out.message(25, &properties);
    }
    out.extensions(31, schema);
    out
}

/// A message with one member.
fn wrapped(field: u64, message: &Message) -> Message {
    let mut out = Message::default();
    out.message(field, message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::openapi::{samples::registry, v2_protobuf};
    use serde_json::json;

    /// The length-delimited members of a message with this number.
    fn get(message: &[u8], wanted: u64) -> Vec<&[u8]> {
        let (mut out, mut rest) = (Vec::new(), message);
        while !rest.is_empty() {
            let tag = varint(&mut rest);
            let value = varint(&mut rest);
            if tag & 7 == 2 {
                let (bytes, left) = rest.split_at(usize::try_from(value).expect("a length"));
                rest = left;
                if tag >> 3 == wanted {
                    out.push(bytes);
                }
            }
        }
        out
    }

    fn varint(rest: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, left) = rest.split_first().expect("a varint ends");
            *rest = left;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    fn entry<'a>(map: &'a [u8], field: u64, name: &str) -> &'a [u8] {
        let found = get(map, field).into_iter().find(|named| get(named, 1) == [name.as_bytes()]);
        get(found.unwrap_or_else(|| panic!("no {name}")), 2)[0]
    }

    #[test]
    fn a_schema_has_gnostics_bytes() {
        let encoded = schema(&json!({"type": "string", "format": "byte", "x-a": 1}));
        let expected = [
            &[0x12, 4][..],
            b"byte", // format = 2
            &[0xb2, 0x01, 8, 0x0a, 6],
            b"string", // type = 22 { value = 1 }
            &[0xfa, 0x01, 10, 0x0a, 3],
            b"x-a",
            &[0x12, 3, 0x12, 1],
            b"1", // vendor_extension = 31 { name, value { yaml = 2 } }
        ];
        assert_eq!(encoded.0, expected.concat());
    }

    #[test]
    fn the_document_can_be_read_back() {
        let document = v2_protobuf(&registry()).plain();
        assert_eq!(get(&document, 1), [b"2.0"]);
        let definitions = get(&document, 9)[0];
        let spec = entry(definitions, 1, "io.k8s.api.core.v1.PodSpec");
        let containers = entry(get(spec, 25)[0], 1, "containers");
        assert_eq!(get(get(containers, 22)[0], 1), [b"array"]);
        assert_eq!(get(entry(containers, 31, "x-kubernetes-patch-merge-key"), 2), [b"\"name\""]);
        let items = get(get(containers, 23)[0], 1)[0];
        assert_eq!(get(items, 1), [b"#/definitions/io.k8s.api.core.v1.Container"]);

        let path = entry(get(&document, 8)[0], 2, "/api/v1/namespaces/{namespace}/pods/{name}");
        let patch = get(path, 8)[0];
        let queries: Vec<&[u8]> = get(patch, 8)
            .into_iter()
            .flat_map(|item| get(get(item, 1)[0], 2))
            .flat_map(|non_body| get(non_body, 3))
            .flat_map(|query| get(query, 4))
            .collect();
        assert!(queries.contains(&&b"fieldValidation"[..]));
    }
}
