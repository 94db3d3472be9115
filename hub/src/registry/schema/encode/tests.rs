//! Bytes worked out by hand from the field numbers, and objects of every kind there and back.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::registry::Registry;
use crate::registry::schema::decode_protobuf;

#[test]
fn messages_have_the_bytes_that_go_writes() {
    for (object, message) in [
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "b", "name": "a"}, "data": {"k": "v", "j": ""}}),
            b"\x0a\x06\x0a\x01a\x1a\x01b\x12\x05\x0a\x01j\x12\x00\x12\x06\x0a\x01k\x12\x01v".to_vec(),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": 300}, {"targetPort": "w"}]}}),
            // Spec 2, ports 1: port 3, targetPort 4 of type 1, intVal 2, strVal 3.
            b"\x12\x18\x0a\x0b\x18\x50\x22\x07\x08\x00\x10\xac\x02\x1a\x00\x0a\x09\x22\x07\x08\x01\x10\x00\x1a\x01w"
                .to_vec(),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": [{"emptyDir": {}, "name": "v"}], "priority": -1}}),
            // A volume has its source inline: message 2, emptyDir 2 in it. Negative numbers take ten bytes.
            b"\x12\x15\x0a\x07\x0a\x01v\x12\x02\x12\x00\xc8\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(),
        ),
        (
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": "2023-11-14T22:13:20.001002Z"}}),
            b"\x12\x0c\x22\x0a\x08\x80\xe2\xcf\xaa\x06\x10\x90\x94\x3d".to_vec(),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"managedFields": [{"fieldsV1": {"f:a": {}}}]}}),
            b"\x0a\x11\x8a\x01\x0e\x3a\x0c\x0a\x0a{\"f:a\":{}}".to_vec(),
        ),
        (
            // The verbs are a message of their own: field 4, with the texts in its field 1.
            json!({"apiVersion": "v1", "kind": "APIResourceList", "resources": [{"name": "a", "verbs": ["get", "list"]}]}),
            b"\x12\x10\x0a\x01a\x22\x0b\x0a\x03get\x0a\x04list".to_vec(),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Status", "code": 404, "reason": "NotFound"}),
            b"\x22\x08NotFound\x30\x94\x03".to_vec(),
        ),
    ] {
        let encoded = encode_protobuf(Schema::builtin(), &object).unwrap();
        let (head, tail) = (envelope_of(&object, message.len()), ENVELOPE_END);
        assert_eq!(encoded, [&head, &message[..], tail].concat(), "{object}");
    }
}

/// Written out, so that it does not lean on what is tested.
fn envelope_of(object: &Value, length: usize) -> Vec<u8> {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let small = |length: usize| u8::try_from(length).unwrap();
    let mut out = b"k8s\0\x0a".to_vec();
    out.extend([small(4 + api_version.len() + kind.len()), 0x0a, small(api_version.len())]);
    out.extend(api_version.bytes().chain([0x12, small(kind.len())]).chain(kind.bytes()).chain([0x12, small(length)]));
    out
}

#[test]
fn a_watch_frame_says_its_length() {
    let frame = [watch_frame("ADDED", 3), b"abc".to_vec()].concat();
    assert_eq!(frame, b"\x00\x00\x00\x0e\x0a\x05ADDED\x12\x05\x0a\x03abc");
}

#[test]
fn a_list_in_parts_is_the_list_as_a_whole() {
    let items = json!([{"metadata": {"name": "a"}, "data": {"x": "y".repeat(300)}}, {"metadata": {"name": "b"}}]);
    let metadata = json!({"resourceVersion": "7", "remainingItemCount": 3});
    let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items});
    let encoder = ListEncoder::new(Schema::builtin(), "v1", "ConfigMap").unwrap();
    let mut message = encoder.metadata(&metadata);
    items.as_array().unwrap().iter().for_each(|item| encoder.item(item, &mut message));
    let parts = [envelope("v1", "ConfigMapList", message.len()), message, ENVELOPE_END.to_vec()].concat();
    assert_eq!(Some(parts), encode_protobuf(Schema::builtin(), &list));
}

#[test]
fn what_has_no_protobuf_form_is_not_encoded() {
    for object in [json!({"apiVersion": "example.org/v1", "kind": "Toy"}), json!({"kind": "Pod"}), json!("text")] {
        assert_eq!(encode_protobuf(Schema::builtin(), &object), None, "{object}");
    }
    assert!(ListEncoder::new(Schema::builtin(), "meta.k8s.io/v1", "Table").is_none());
}

/// Makes values of any type. Zero values are made only where they survive: where JSON tells them from nothing.
struct Maker {
    state: u64,
}

impl Maker {
    fn next(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn object(&mut self, index: u16, depth: usize) -> Map<String, Value> {
        let schema = Schema::builtin();
        let fields = &schema.structure(index).fields;
        let mut object = Map::new();
        for field in fields.iter().filter(|f| f.wire.number != 0) {
            if self.next(3) > 0 && depth < 12 {
                let zero = u64::from(!field.wire.keep_zero);
                object.insert(field.name.into(), self.value(field.ty, zero, depth + 1));
            }
        }
        object
    }

    fn value(&mut self, ty: Type, least: u64, depth: usize) -> Value {
        let schema = Schema::builtin();
        let below = if self.next(2) == 0 { 3 } else { 1 << 31 };
        let number = self.next(below) + least;
        match ty {
            Type::Bool => (least == 1 || number.is_multiple_of(2)).into(),
            Type::Int32 => {
                (i32::try_from(number.min(1 << 30)).unwrap() * if number.is_multiple_of(2) { 1 } else { -1 }).into()
            }
            Type::Int64 => i64::try_from(number << 20 | least).unwrap().into(),
            Type::Double => (number as f64 + 0.5).into(),
            Type::String => format!("s{number}é").into(),
            Type::Bytes => STANDARD.encode(number.to_le_bytes()).into(),
            Type::Time => format!("20{:02}-02-28T23:59:0{}Z", number % 80 + 10, number % 10).into(),
            Type::MicroTime => format!("2026-02-28T23:59:00.{:06}Z", number % 1_000_000).into(),
            Type::Quantity => format!("{number}m").into(),
            Type::IntOrString if number.is_multiple_of(2) => "50%".into(),
            Type::IntOrString => (number % 1000).into(),
            Type::Any => json!({"a": [number, "x", null], "b": {"c": true}}),
            Type::Struct(index) => self.object(index, depth).into(),
            Type::List(element) => {
                (0..=self.next(2)).map(|_| self.value(schema.element(element), 0, depth)).collect::<Vec<_>>().into()
            }
            Type::Map(element) => (0..=self.next(2))
                .map(|n| (format!("key{n}"), self.value(schema.element(element), 0, depth)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_kind_survives_the_way_there_and_back(seed: u64) {
        let schema = Schema::builtin();
        let kinds = Registry::builtin();
        let others = [("v1", "Status"), ("v1", "APIResourceList"), ("v1", "APIGroupList"), ("autoscaling/v1", "Scale"), ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList")];
        let of_registry = kinds.kinds().iter().map(|k| (k.api_version(), k.kind));
        for (api_version, kind) in of_registry.chain(others.map(|(version, kind)| (version.to_owned(), kind))) {
            let index = find(schema, &api_version, kind).expect(kind);
            let mut object = Maker { state: seed }.object(index, 0);
            object.insert("apiVersion".into(), api_version.into());
            object.insert("kind".into(), kind.into());
            let object = Value::Object(object);
            let encoded = encode_protobuf(schema, &object).expect(kind);
            prop_assert_eq!(decode_protobuf(schema, &encoded).expect(kind), object);
        }
    }
}
