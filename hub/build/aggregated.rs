//! The types of aggregated discovery (`apidiscovery.k8s.io`), which `k8s-openapi` does not have.

use serde_json::{Map, Value, json};

use crate::kinds::Definitions;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const DISCOVERY: &str = "io.k8s.api.apidiscovery.v2";

/// Their JSON schemas. Versions `v2` and `v2beta1` have the same fields.
pub(crate) fn definitions() -> Definitions {
    let text = || json!({ "type": "string" });
    let of = |package: &str, name: &str| json!({ "$ref": format!("#/definitions/{package}.{name}") });
    let many = |item: Value| json!({ "type": "array", "items": item });
    let kind = || of(META, "GroupVersionKind");
    [
        (
            format!("{META}.GroupVersionKind"),
            "A kind, by its group and version.",
            vec![("group", text()), ("version", text()), ("kind", text())],
        ),
        (
            format!("{DISCOVERY}.APIGroupDiscoveryList"),
            "The groups of an API server with all that they hold.",
            vec![
                ("apiVersion", text()),
                ("kind", text()),
                ("metadata", of(META, "ListMeta")),
                ("items", many(of(DISCOVERY, "APIGroupDiscovery"))),
            ],
        ),
        (
            format!("{DISCOVERY}.APIGroupDiscovery"),
            "The versions of a group, the preferred one first.",
            vec![
                ("apiVersion", text()),
                ("kind", text()),
                ("metadata", of(META, "ObjectMeta")),
                ("versions", many(of(DISCOVERY, "APIVersionDiscovery"))),
            ],
        ),
        (
            format!("{DISCOVERY}.APIVersionDiscovery"),
            "The resources of a version.",
            vec![
                ("version", text()),
                ("resources", many(of(DISCOVERY, "APIResourceDiscovery"))),
                ("freshness", text()),
            ],
        ),
        (
            format!("{DISCOVERY}.APIResourceDiscovery"),
            "A resource: its names and what can be done with it.",
            vec![
                ("resource", text()),
                ("responseKind", kind()),
                ("scope", text()),
                ("singularResource", text()),
                ("verbs", many(text())),
                ("shortNames", many(text())),
                ("categories", many(text())),
                ("subresources", many(of(DISCOVERY, "APISubresourceDiscovery"))),
            ],
        ),
        (
            format!("{DISCOVERY}.APISubresourceDiscovery"),
            "A subresource: what it exchanges and what can be done with it.",
            vec![
                ("subresource", text()),
                ("responseKind", kind()),
                ("acceptedTypes", many(kind())),
                ("verbs", many(text())),
            ],
        ),
    ]
    .into_iter()
    .map(|(name, description, fields)| (name, schema(description, fields)))
    .collect()
}

fn schema(description: &str, fields: Vec<(&str, Value)>) -> Value {
    let properties: Map<String, Value> = fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
    json!({ "description": description, "type": "object", "properties": properties })
}
