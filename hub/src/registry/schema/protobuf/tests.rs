//! Messages written by hand, and arbitrary ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A length-delimited field.
fn field(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = varint_bytes(u64::from(number) << 3 | 2);
    out.extend(varint_bytes(content.len() as u64));
    out.extend(content);
    out
}

fn string(number: u8, text: &str) -> Vec<u8> {
    field(number, &[text.as_bytes()])
}

fn integer(number: u8, value: i64) -> Vec<u8> {
    [varint_bytes(u64::from(number) << 3), varint_bytes(value.cast_unsigned())].concat()
}

fn varint_bytes(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = field(1, &[&string(1, api_version), &string(2, kind)]);
    [MAGIC, &type_meta, &field(2, &[raw]), &string(3, ""), &string(4, "")].concat()
}

fn decode(api_version: &str, kind: &str, parts: &[&[u8]]) -> Result<Value, String> {
    decode_bytes(&envelope(api_version, kind, &parts.concat()))
}

fn decode_bytes(bytes: &[u8]) -> Result<Value, String> {
    decode_protobuf(Schema::builtin(), bytes).map_err(|error| error.to_string())
}

/// What `kubectl create deployment` sends, in short.
fn deployment() -> Vec<u8> {
    let empty_meta = [string(1, ""), string(2, ""), integer(7, 0), field(8, &[])].concat();
    let port = [string(1, ""), integer(2, 0), integer(3, 80), string(4, ""), string(5, "")].concat();
    let container = [string(1, "web"), string(2, "nginx"), field(6, &[&port]), field(8, &[]), integer(16, 0)].concat();
    let pod = [field(2, &[&container]), string(3, ""), integer(11, 0), integer(4, 0)].concat();
    let labels = field(1, &[&string(1, "app"), &string(2, "web")]);
    let spec = [
        integer(1, 0),
        field(2, &[&labels]),
        field(3, &[&field(1, &[&empty_meta]), &field(2, &[&pod])]),
        field(4, &[&string(1, "")]),
        integer(5, 0),
        integer(7, 0),
    ]
    .concat();
    let status = [integer(1, 0), integer(2, 0)].concat();
    [field(1, &[&string(1, "web"), &field(8, &[])]), field(2, &[&spec]), field(3, &[&status])].concat()
}

#[test]
fn zeros_that_nobody_set_are_left_out() {
    let expected = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": {},
                "spec": {
                    "containers": [{ "name": "web", "image": "nginx", "ports": [{ "containerPort": 80 }], "resources": {} }],
                    "terminationGracePeriodSeconds": 0,
                },
            },
            "strategy": {},
        },
        "status": {},
    });
    assert_eq!(decode("apps/v1", "Deployment", &[&deployment()]), Ok(expected));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_kind_of_value_takes_its_json_form() {
    let named = |s: &str| field(3, &[&integer(1, 1), &integer(2, 0), &string(3, s)]);
    let cpu = field(3, &[&string(1, "cpu"), &field(2, &[&string(1, "100m")])]);
    for (api_version, kind, raw, expected) in [
        (
            "v1",
            "Secret",
            [field(2, &[&string(1, "a"), &string(2, "hello")]), field(2, &[&string(1, "b")]), string(3, "Opaque")]
                .concat(),
            json!({"data": {"a": "aGVsbG8=", "b": ""}, "type": "Opaque"}),
        ),
        (
            "v1",
            "Service",
            field(2, &[&field(1, &[&integer(3, 80), &field(4, &[&integer(1, 0), &integer(2, 8080)]), &integer(5, 0)])]),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            field(2, &[&field(1, &[&integer(1, 1), &string(3, "50%")])]),
            json!({"spec": {"minAvailable": "50%"}}),
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            field(2, &[&string(1, "me"), &field(4, &[&integer(1, 1_700_000_000), &integer(2, 1_002_000)])]),
            json!({"spec": {"holderIdentity": "me", "renewTime": "2023-11-14T22:13:20.001002Z"}}),
        ),
        (
            "v1",
            "Namespace",
            field(
                1,
                &[
                    &field(8, &[&integer(1, 1_700_000_000), &integer(2, 5)]),
                    &field(17, &[&field(7, &[&string(1, r#"{"f:a":{}}"#)])]),
                ],
            ),
            json!({"metadata": {"creationTimestamp": "2023-11-14T22:13:20Z", "managedFields": [{"fieldsV1": {"f:a": {}}}]}}),
        ),
        (
            "v1",
            "Pod",
            field(
                2,
                &[
                    &field(1, &[&string(1, "v"), &field(2, &[&field(2, &[&string(1, "")])])]),
                    &integer(25, -10),
                    &integer(27, 0),
                ],
            ),
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "priority": -10, "shareProcessNamespace": false}}),
        ),
        (
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            field(2, &[&string(3, "u"), &field(5, &[&string(1, "k"), &field(2, &[&string(1, "a"), &string(1, "b")])])]),
            json!({"spec": {"user": "u", "extra": {"k": ["a", "b"]}}}),
        ),
        (
            "v1",
            "LimitRange",
            field(2, &[&field(1, &[&string(1, "Pod"), &cpu])]),
            json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "100m"}}]}}),
        ),
        (
            "batch/v1",
            "Job",
            field(
                2,
                &[&field(
                    11,
                    &[&field(
                        1,
                        &[&string(1, "FailJob"), &field(2, &[&string(2, "In"), &field(3, &[&[1, 2]]), &integer(3, 3)])],
                    )],
                )],
            ),
            json!({"spec": {"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2, 3]}}]}}}),
        ),
        (
            "apps/v1",
            "DeleteOptions",
            [integer(1, 0), string(4, "Orphan")].concat(),
            json!({"gracePeriodSeconds": 0, "propagationPolicy": "Orphan"}),
        ),
        ("autoscaling/v1", "Scale", field(2, &[&integer(1, 0)]), json!({"spec": {}})),
        (
            "apps/v1",
            "ControllerRevision",
            [field(2, &[&string(1, r#"{"a":1}"#)]), integer(3, 7)].concat(),
            json!({"data": {"a": 1}, "revision": 7}),
        ),
        (
            "v1",
            "ConfigMap",
            [integer(90, 3), string(200, "x"), field(2, &[&named("x")])].concat(),
            json!({"data": {"": ""}}),
        ),
    ] {
        let mut expected = expected;
        expected["apiVersion"] = api_version.into();
        expected["kind"] = kind.into();
        assert_eq!(decode(api_version, kind, &[&raw]), Ok(expected), "{kind}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for (bytes, expected) in [
        (b"{}".to_vec(), "couldn't get version/kind; provided data does not appear to be a protobuf message"),
        (MAGIC.to_vec(), r#"no kind "" is registered for version """#),
        ([MAGIC, &[0x0a, 0x05]].concat(), "unexpected EOF"),
        ([MAGIC, &[0x08, 0x05]].concat(), "proto: wrong wireType for field Unknown.1"),
        ([MAGIC, &string(3, "gzip")].concat(), "proto: field contentEncoding has an invalid value"),
        (envelope("example.org/v1", "Toy", &[]), r#"no kind "Toy" is registered for version "example.org/v1""#),
        (envelope("v1", "Pod", &[0x0a, 0x7f]), "unexpected EOF"),
        (envelope("v1", "Pod", &integer(1, 1)), "proto: wrong wireType for field metadata"),
        (envelope("v1", "Pod", &field(1, &[&field(1, &[&[0xff]])])), "proto: field name contains invalid UTF-8"),
        (envelope("v1", "ConfigMap", &field(2, &[]).repeat(MAX_VALUES + 1)), "proto: too many values"),
        (
            envelope("v1", "Namespace", &field(1, &[&field(8, &[&integer(1, i64::MAX)])])),
            "proto: field creationTimestamp has an invalid value",
        ),
        (
            envelope("apps/v1", "ControllerRevision", &field(2, &[&string(1, "{")])),
            "proto: field data has an invalid value",
        ),
    ] {
        let refusal = decode_bytes(&bytes).expect_err(expected);
        assert!(refusal.starts_with(expected), "{refusal} is not {expected}");
    }
    let large = decode_protobuf(Schema::builtin(), &vec![0; MAX_REQUEST_BODY + 1]);
    assert!(matches!(large, Err(DecodeError::TooLarge)));
}

#[test]
fn a_message_in_pieces_is_one() {
    let pieces = [field(1, &[&string(1, "a")]), field(1, &[&string(3, "b")])].concat();
    let expected = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}});
    assert_eq!(decode("v1", "Namespace", &[&pieces]), Ok(expected));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(kind in 0_usize..4, raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let (api_version, kind) = [("v1", "Pod"), ("v1", "Secret"), ("apps/v1", "Deployment"), ("batch/v1", "Job")][kind];
        let _either = decode_bytes(&envelope(api_version, kind, &raw));
        let _refused = decode_bytes(&[MAGIC, &raw].concat());
    }

    #[test]
    fn damaged_messages_are_decoded_or_refused(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = envelope("apps/v1", "Deployment", &deployment());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _either = decode_bytes(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _either = decode_bytes(&bytes);
    }
}
