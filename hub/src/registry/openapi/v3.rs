//! OpenAPI version 3: an index, and one document per group and version.

use serde_json::{Map, Value, json};

use super::super::Registry;
use super::definitions::{Style, closure, styled};
use super::paths::{self, Operation, Path};
use super::{Compressor, Document, VERSION, hash};

/// `/openapi/v3`: the documents with their hashes, by which clients cache them.
pub fn v3_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for kind in registry.kinds() {
        let path = paths::root(kind.group, kind.version)[1..].to_owned();
        if !paths.contains_key(&path) {
            let hash = hash(&paths_json(registry, kind.group, kind.version).to_string());
            paths.insert(path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }));
        }
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/PATH`, where the path is `api/v1` or `apis/GROUP/VERSION`; `None` when there is no such version.
pub fn v3_document(registry: &Registry, path: &str) -> Option<Document> {
    let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let paths = paths::paths(registry, Some((group, version)));
    if paths.is_empty() {
        return None;
    }
    let paths_json = paths_json(registry, group, version).to_string();
    let mut out = Compressor::new();
    let info = json!({ "title": "Kubernetes", "version": VERSION });
    out.write(
        format!("{{\"openapi\":\"3.0.0\",\"info\":{info},\"paths\":{paths_json},\"components\":{{\"schemas\":{{")
            .as_bytes(),
    );
    for (index, (name, json)) in closure(paths::definitions(&paths)).iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.write(format!("{comma}\"{name}\":").as_bytes());
        out.write(alternatives(name, styled(json, Style::V3)).as_bytes());
    }
    out.write(b"}}}");
    Some(out.finish(hash(&paths_json)))
}

/// The types whose values are of one of two: only version 3 can say so.
const ALTERNATIVES: [(&str, [&str; 2]); 2] = [
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", ["string", "number"]),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", ["integer", "string"]),
];

fn alternatives(name: &str, definition: String) -> String {
    match ALTERNATIVES.iter().find(|(known, _)| *known == name) {
        Some((_, [one, other])) => {
            let either = format!(r#""oneOf":[{{"type":"{one}"}},{{"type":"{other}"}}]"#);
            definition.replace(r#""type":"string""#, &either)
        }
        None => definition,
    }
}

fn paths_json(registry: &Registry, group: &str, version: &str) -> Value {
    Value::Object(
        paths::paths(registry, Some((group, version)))
            .into_iter()
            .map(|path| (path.url.clone(), item(&path)))
            .collect(),
    )
}

fn item(path: &Path) -> Value {
    let mut out: Map<String, Value> =
        path.operations.iter().map(|operation| (operation.method.to_owned(), describe(operation))).collect();
    let parameters: Vec<Value> = path
        .parameters
        .iter()
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true },
            })
        })
        .collect();
    if !parameters.is_empty() {
        out.insert("parameters".into(), parameters.into());
    }
    Value::Object(out)
}

fn describe(operation: &Operation) -> Value {
    let mut out = operation.common();
    let parameters: Vec<Value> = operation.query.iter().map(|(name, kind, description)| json!({
        "name": name, "in": "query", "description": description, "schema": { "type": kind, "uniqueItems": true },
    })).collect();
    out["parameters"] = parameters.into();
    if !operation.body.is_empty() {
        let content: Map<String, Value> =
            operation.consumes().iter().map(|media| ((*media).to_owned(), schema(&operation.body))).collect();
        out["requestBody"] = json!({ "content": content, "required": operation.action != "delete" && operation.action != "deletecollection" });
    }
    let answer =
        if operation.answer.is_empty() { json!({ "schema": { "type": "string" } }) } else { schema(&operation.answer) };
    let media = if operation.answer.is_empty() { "text/plain" } else { "application/json" };
    out["responses"] = json!({ "200": { "description": "OK", "content": { media: answer } } });
    out
}

fn schema(definition: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{definition}") } })
}

#[cfg(test)]
mod tests {
    use super::super::samples::registry;
    use super::*;

    fn document(path: &str) -> Value {
        serde_json::from_slice(&v3_document(&registry(), path).expect("served").plain()).expect("a document is JSON")
    }

    #[test]
    fn the_index_names_every_version_with_the_hash_of_its_document() {
        let index = v3_index(&registry());
        let names: Vec<&String> = index["paths"].as_object().expect("paths").keys().collect();
        assert_eq!(names, ["api/v1", "apis/apps/v1", "apis/events.k8s.io/v1"]);
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL");
        let hash = v3_document(&registry(), "apis/apps/v1").expect("served").hash;
        assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    }

    #[test]
    fn values_of_two_types_are_told_as_such() {
        let schemas = &document("apis/apps/v1")["components"]["schemas"];
        let port = &schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!(
            (&port["oneOf"], port.get("type"), &port["format"]),
            (&json!([{"type": "integer"}, {"type": "string"}]), None, &json!("int-or-string"))
        );
        let quantity = &schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"];
        assert_eq!(quantity["oneOf"], json!([{"type": "string"}, {"type": "number"}]));
    }

    #[test]
    fn kubectl_finds_the_field_validation_parameter_of_patch() {
        let document = document("apis/apps/v1");
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        let names: Vec<&Value> = patch["parameters"].as_array().expect("a list").iter().map(|p| &p["name"]).collect();
        for name in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            assert!(names.iter().any(|n| *n == name), "{name}");
        }
    }

    #[test]
    fn every_reference_of_a_document_is_in_it() {
        for path in ["api/v1", "apis/apps/v1", "apis/events.k8s.io/v1"] {
            let document = document(path);
            let text = document.to_string();
            let references = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split_once('"'));
            for (name, _) in references {
                assert!(document["components"]["schemas"][name].is_object(), "{path}: {name}");
            }
        }
        assert_eq!(v3_document(&registry(), "apis/nonsense/v1").map(|d| d.hash), None);
        assert_eq!(v3_document(&registry(), "").map(|d| d.hash), None);
    }

    #[test]
    fn operations_are_what_discovery_says() {
        let document = document("api/v1");
        let methods = |url: &str| -> Vec<String> {
            document["paths"][url].as_object().expect(url).keys().filter(|k| *k != "parameters").cloned().collect()
        };
        assert_eq!(methods("/api/v1/pods"), ["get"]);
        assert_eq!(methods("/api/v1/namespaces"), ["get", "post"]);
        assert_eq!(methods("/api/v1/namespaces/{namespace}/pods"), ["delete", "get", "post"]);
        assert_eq!(methods("/api/v1/namespaces/{namespace}/pods/{name}"), ["delete", "get", "patch", "put"]);
        assert_eq!(methods("/api/v1/namespaces/{namespace}/pods/{name}/log"), ["get"]);
        assert_eq!(methods("/api/v1/namespaces/{namespace}/pods/{name}/binding"), ["post"]);
        assert_eq!(methods("/api/v1/namespaces/{name}/finalize"), ["put"]);
        let get = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["get"];
        assert_eq!(get["operationId"], "readCoreV1NamespacedPod");
    }
}
