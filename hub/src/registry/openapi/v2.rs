//! OpenAPI version 2: one document of everything served, as JSON and as protobuf.

use serde_json::{Map, Value, json};

use super::super::Registry;
use super::definitions::{Style, closure, styled};
use super::paths::{self, Operation, Path};
use super::{Compressor, Document, VERSION, hash, proto};

/// `/openapi/v2` as JSON.
pub fn v2_json(registry: &Registry) -> Document {
    let paths = paths::paths(registry, None);
    let paths_json = paths_json(&paths).to_string();
    let info = json!({ "title": "Kubernetes", "version": VERSION });
    let mut out = Compressor::new();
    out.write(format!("{{\"swagger\":\"2.0\",\"info\":{info},\"paths\":{paths_json},\"definitions\":{{").as_bytes());
    for (index, (name, json)) in closure(paths::definitions(&paths)).iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.write(format!("{comma}\"{name}\":").as_bytes());
        out.write(styled(json, Style::V2).as_bytes());
    }
    out.write(b"}}");
    out.finish(hash(&paths_json))
}

/// `/openapi/v2` as protobuf, which kubectl asks for. The content type is [`super::PROTOBUF_CONTENT_TYPE`].
pub fn v2_protobuf(registry: &Registry) -> Document {
    let paths = paths::paths(registry, None);
    let paths_json = paths_json(&paths);
    let mut document = proto::Document::new(VERSION);
    document.paths(&paths_json);
    for (name, json) in closure(paths::definitions(&paths)) {
        // One definition at a time: parsed, encoded, dropped.
        let schema: Value = serde_json::from_str(&styled(&json, Style::V2)).expect("an embedded definition is JSON");
        document.definition(&name, &schema);
    }
    let mut out = Compressor::new();
    out.write(&document.finish());
    out.finish(hash(&format!("protobuf {paths_json}")))
}

fn paths_json(paths: &[Path]) -> Value {
    Value::Object(paths.iter().map(|path| (path.url.clone(), item(path))).collect())
}

fn item(path: &Path) -> Value {
    let mut out: Map<String, Value> =
        path.operations.iter().map(|operation| (operation.method.to_owned(), describe(operation))).collect();
    let parameters: Vec<Value> = path
        .parameters
        .iter()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true }))
        .collect();
    if !parameters.is_empty() {
        out.insert("parameters".into(), parameters.into());
    }
    Value::Object(out)
}

fn describe(operation: &Operation) -> Value {
    let mut out = operation.common();
    let mut parameters: Vec<Value> = operation
        .query
        .iter()
        .map(|(name, kind, description)| {
            json!({
                "name": name, "in": "query", "type": kind, "uniqueItems": true, "description": description,
            })
        })
        .collect();
    if !operation.body.is_empty() {
        parameters.push(json!({ "name": "body", "in": "body", "schema": reference(&operation.body) }));
        out["consumes"] = operation.consumes().into();
    }
    out["parameters"] = parameters.into();
    let schema = if operation.answer.is_empty() { json!({ "type": "string" }) } else { reference(&operation.answer) };
    out["responses"] = json!({ "200": { "description": "OK", "schema": schema } });
    out
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

#[cfg(test)]
mod tests {
    use super::super::samples::registry;
    use super::*;

    #[test]
    fn the_json_document_is_complete() {
        let document: Value = serde_json::from_slice(&v2_json(&registry()).plain()).expect("JSON");
        assert_eq!(document["swagger"], "2.0");
        let text = document.to_string();
        for (name, _) in text.split("#/definitions/").skip(1).filter_map(|rest| rest.split_once('"')) {
            assert!(document["definitions"][name].is_object(), "{name}");
        }
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert!(patch["parameters"].as_array().is_some_and(|all| all.iter().any(|p| p["name"] == "fieldValidation")));
    }
}
