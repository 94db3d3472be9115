//! Large lists in every form: complete, and never in one piece.

use std::io::Read;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use serde_json::json;

use super::super::negotiate::Include;
use super::*;
use crate::registry::Registry;
use crate::registry::schema::decode_protobuf;
use crate::store::Key;

const ITEMS: usize = 400;
const ITEM: usize = 8 * 1024;

/// Config maps, each of more than [`ITEM`] bytes.
fn page(items: usize) -> Page {
    let object = |n: usize| {
        let name = format!("m{n:05}");
        let key = Key { resource: "configmaps".into(), namespace: "default".into(), name: name.as_str().into() };
        let metadata = json!({"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let text = format!("line {n}\n\n  indented: {}\n", "x".repeat(ITEM));
        let value = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"text": text}});
        Arc::new(Object::encode(key, 7, value).unwrap())
    };
    let meta =
        ListMeta { resource_version: "9".into(), continue_token: Some("on".into()), remaining_item_count: Some(3) };
    Page { items: (0..items).map(object).collect(), meta }
}

fn renderer(view: View) -> Renderer {
    Renderer { kind: Registry::builtin().resource("", "v1", "configmaps").unwrap().clone(), view, now: 1_800_000_000 }
}

fn form(format: Format, view: View, pretty: bool, gzip: bool) -> Negotiated {
    Negotiated { format, view, pretty, gzip, of_list: None }
}

/// The whole answer and its longest piece. Pieces are dropped as they come, so the longest is what was in memory.
async fn taken(form: &Negotiated, page: Page) -> (Response<()>, Vec<u8>, usize) {
    let (parts, mut body) = answer(form, renderer(form.view), page).await.into_parts();
    let (mut all, mut longest) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        longest = longest.max(data.len());
        all.extend_from_slice(&data);
    }
    (Response::from_parts(parts, ()), all, longest)
}

fn parsed(response: &Response<()>, body: &[u8]) -> Value {
    match response.headers()["content-type"].to_str().unwrap() {
        JSON => serde_json::from_slice(body).unwrap(),
        YAML => serde_saphyr::from_slice(body).unwrap(),
        PROTOBUF => decode_protobuf_of_any_size(body),
        other => panic!("{other}"),
    }
}

/// The decoder takes no more than a request may have; what is longer only has to have the length that it says.
fn decode_protobuf_of_any_size(body: &[u8]) -> Value {
    if let Ok(list) = decode_protobuf(Schema::builtin(), body) {
        return list;
    }
    let mut rest = &body[4..];
    let (mut length, mut shift) = (0_usize, 0);
    rest = &rest[2 + usize::from(rest[1])..];
    assert_eq!(rest[0], 0x12);
    rest = &rest[1..];
    while let [byte, after @ ..] = rest {
        length |= usize::from(byte & 0x7f) << shift;
        (rest, shift) = (after, shift + 7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    assert_eq!((rest.len(), rest.ends_with(ENVELOPE_END)), (length + ENVELOPE_END.len(), true));
    Value::Null
}

#[tokio::test]
async fn no_form_of_a_large_list_is_in_memory_as_a_whole() {
    const TABLE: View = View::Table { version: "v1", include: Include::Object };
    for (format, view, pretty, gzip) in [
        (Format::Json, View::Object, false, false),
        (Format::Json, View::Object, false, true),
        (Format::Json, View::Object, true, false),
        (Format::Json, TABLE, false, false),
        (Format::Json, TABLE, true, true),
        (Format::Yaml, View::Object, false, false),
        (Format::Yaml, TABLE, false, false),
        (Format::Protobuf, View::Object, false, false),
        (Format::Protobuf, View::Object, false, true),
    ] {
        let form = form(format, view, pretty, gzip);
        let (response, mut body, longest) = taken(&form, page(ITEMS)).await;
        let bound = if format == Format::Protobuf { KEPT } else { GZIP_FROM } + 2 * ITEM;
        assert!(longest <= bound, "{form:?}: {longest} bytes at once");
        assert_eq!(response.headers().contains_key("content-encoding"), gzip, "{form:?}");
        if gzip {
            let packed = std::mem::take(&mut body);
            GzDecoder::new(&packed[..]).read_to_end(&mut body).unwrap();
        }
        assert!(body.len() > ITEMS * ITEM, "{form:?}");
        let list = parsed(&response, &body);
        let items =
            if list.is_null() { continue } else { list["items"].as_array().or(list["rows"].as_array()).unwrap() };
        let last = &items[ITEMS - 1];
        let object = if view == View::Object { last } else { &last["object"] };
        assert_eq!((items.len(), &object["metadata"]["name"]), (ITEMS, &json!("m00399")), "{form:?}");
    }
}

#[tokio::test]
async fn short_lists_say_the_same_in_every_form() {
    for (items, view) in [
        (0, View::Object),
        (1, View::Object),
        (3, View::Object),
        (0, View::Metadata { version: "v1" }),
        (2, View::Metadata { version: "v1" }),
    ] {
        let expected = taken(&form(Format::Json, view, false, true), page(items)).await;
        assert!(!expected.0.headers().contains_key("content-encoding"), "short answers are not compressed");
        let expected = parsed(&expected.0, &expected.1);
        assert_eq!(expected["metadata"], json!({"resourceVersion": "9", "continue": "on", "remainingItemCount": 3}));
        for (format, pretty) in [(Format::Json, true), (Format::Yaml, false), (Format::Protobuf, false)] {
            let (response, body, _) = taken(&form(format, view, pretty, true), page(items)).await;
            let list = parsed(&response, &body);
            if format == Format::Protobuf {
                let none = Vec::new();
                let count = list["items"].as_array().unwrap_or(&none).len();
                assert_eq!(
                    (count, &list["kind"], &list["metadata"]),
                    (items, &expected["kind"], &expected["metadata"])
                );
                for (item, whole) in
                    list["items"].as_array().unwrap_or(&none).iter().zip(expected["items"].as_array().unwrap())
                {
                    assert_eq!(item["metadata"], whole["metadata"]);
                    assert_eq!(item["data"], whole["data"]);
                }
                continue;
            }
            assert_eq!(list, expected, "{format:?}");
        }
    }
}
