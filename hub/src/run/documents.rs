//! The API's discovery and OpenAPI documents, from the table of kinds.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::api::{Document, Documents};
use crate::auth::jwt::Signer;
use crate::registry::Registry;
use crate::registry::discovery::{self, Aggregated};
use crate::registry::openapi::{self, Cache, Which};
use crate::registry::schema::{Schema, encode_protobuf};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Makes documents on demand.
#[derive(Debug)]
pub(super) struct RegistryDocuments {
    registry: Arc<Registry>,
    /// `HOST:PORT` under which clients reach this hub.
    address: String,
    openapi: Cache,
}

impl RegistryDocuments {
    pub(super) fn new(registry: Arc<Registry>, address: String) -> Self {
        Self { registry, address, openapi: Cache::default() }
    }

    fn discovery(&self, segments: &[&str], accept: &str) -> Option<Document> {
        let registry = &self.registry;
        let value = match segments {
            ["api"] => return Some(self.root(true, accept)),
            ["apis"] => return Some(self.root(false, accept)),
            ["api", version] => discovery::api_resources(registry, "", version)?,
            ["apis", group] => discovery::api_group(registry, group)?,
            ["apis", group, version] => discovery::api_resources(registry, group, version)?,
            _ => return None,
        };
        Some(plain(value, accept))
    }

    /// `/api` and `/apis`, aggregated where the client asks for it first.
    fn root(&self, core: bool, accept: &str) -> Document {
        match aggregated(accept) {
            Some(wanted) => wanted.document(&discovery::aggregated(&self.registry, core, wanted.version)),
            None if core => plain(discovery::api_versions(&self.address), accept),
            None => plain(discovery::api_groups(&self.registry), accept),
        }
    }

    fn openapi(&self, which: &Which, content_type: &'static str) -> Option<Document> {
        let document = self.openapi.get(&self.registry, which)?;
        Some(Document {
            content_type: content_type.into(),
            body: document.gzip.clone(),
            gzip: true,
            etag: Some(document.hash.clone()),
        })
    }
}

impl Documents for RegistryDocuments {
    fn get(&self, path: &str, accept: &str) -> Option<Document> {
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        match segments.as_slice() {
            [".well-known", "openid-configuration"] => Some(json(&Signer::configuration(&self.address), JSON.into())),
            ["openapi", "v2"] if accept.contains(openapi::PROTOBUF_ACCEPT) => {
                self.openapi(&Which::V2Protobuf, openapi::PROTOBUF_CONTENT_TYPE)
            }
            ["openapi", "v2"] => self.openapi(&Which::V2Json, JSON),
            ["openapi", "v3"] => Some(json(&openapi::v3_index(&self.registry), JSON.into())),
            ["openapi", "v3", rest @ ..] => self.openapi(&Which::V3(rest.join("/")), JSON),
            _ => self.discovery(&segments, accept),
        }
    }

    fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = ["/api", "/apis", "/openapi/v2", "/openapi/v3"].map(str::to_owned).into();
        for kind in self.registry.kinds() {
            let version = if kind.group.is_empty() { "/api/".to_owned() } else { format!("/apis/{}/", kind.group) };
            paths.push(version.trim_end_matches('/').to_owned());
            paths.push(format!("{version}{}", kind.version));
        }
        paths.sort();
        paths.dedup();
        paths
    }
}

/// A form of the aggregated document.
struct Wanted {
    media: &'static str,
    version: Aggregated,
    /// The version's name.
    name: &'static str,
}

/// The aggregated form that one entry of an `Accept` header asks for.
fn aggregated(entry: &str) -> Option<Wanted> {
    let parameter = |text: &str| entry.split(';').any(|p| p.trim() == text);
    let media = entry.split(';').next().unwrap_or_default().trim();
    let media = [JSON, PROTOBUF].into_iter().find(|served| *served == media)?;
    if !parameter("as=APIGroupDiscoveryList") || !parameter("g=apidiscovery.k8s.io") {
        return None;
    }
    let versions = [(Aggregated::V2, "v2"), (Aggregated::V2Beta1, "v2beta1")];
    let (version, name) = versions.into_iter().find(|(_, name)| parameter(&format!("v={name}")))?;
    Some(Wanted { media, version, name })
}

impl Wanted {
    /// The document in this form. Clients keep it and ask by its hash whether it is still the same.
    fn document(&self, value: &Value) -> Document {
        let content_type = format!("{};g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.media, self.name);
        let text = value.to_string();
        let digest = ring::digest::digest(&ring::digest::SHA512, text.as_bytes());
        let etag = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let message = (self.media == PROTOBUF).then(|| encode_protobuf(Schema::builtin(), value)).flatten();
        let body = message.unwrap_or_else(|| text.into_bytes()).into();
        Document { content_type: content_type.into(), body, gzip: false, etag: Some(etag) }
    }
}

/// A document that is not aggregated: JSON, or YAML or protobuf where the client asks for these.
fn plain(mut value: Value, accept: &str) -> Document {
    let media = accept.split(';').next().unwrap_or_default().trim();
    let made = |content_type: &'static str, body: Vec<u8>| Document {
        content_type: content_type.into(),
        body: body.into(),
        gzip: false,
        etag: None,
    };
    let encoded = match media {
        YAML => serde_saphyr::to_string(&value).ok().map(|text| made(YAML, text.into())),
        PROTOBUF => {
            // As JSON, `/api` says no version.
            value["apiVersion"] = "v1".into();
            encode_protobuf(Schema::builtin(), &value).map(|body| made(PROTOBUF, body))
        }
        _ => None,
    };
    encoded.unwrap_or_else(|| json(&value, JSON.into()))
}

fn json(value: &Value, content_type: Cow<'static, str>) -> Document {
    Document { content_type, body: Bytes::from(value.to_string()), gzip: false, etag: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::schema::decode_protobuf;

    fn kind_of(path: &str, accept: &str) -> Option<(String, String)> {
        let documents = RegistryDocuments::new(Arc::new(Registry::builtin()), "192.0.2.1:6443".into());
        let document = documents.get(path, accept)?;
        let value: Value = serde_json::from_slice(&document.body).unwrap_or_default();
        Some((value["kind"].as_str().unwrap_or_default().to_owned(), document.content_type.into_owned()))
    }

    #[test]
    fn the_keys_of_tokens_are_where_the_hub_is_reached() {
        let documents = RegistryDocuments::new(Arc::new(Registry::builtin()), "192.0.2.1:6443".into());
        let document = documents.get("/.well-known/openid-configuration", "").unwrap();
        let value: Value = serde_json::from_slice(&document.body).unwrap();
        assert_eq!(value["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    }

    #[test]
    fn discovery_has_the_form_that_is_asked_for() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (path, accept, kind) in [
            ("/api", "application/json", "APIVersions"),
            ("/apis", "", "APIGroupList"),
            ("/api", v2, "APIGroupDiscoveryList"),
            ("/apis", old, "APIGroupDiscoveryList"),
            ("/api/v1", "", "APIResourceList"),
            ("/apis/apps", "", "APIGroup"),
            ("/apis/apps/v1", "", "APIResourceList"),
        ] {
            assert_eq!(kind_of(path, accept).map(|(k, _)| k).as_deref(), Some(kind), "{path} {accept}");
        }
        let documents = RegistryDocuments::new(Arc::new(Registry::builtin()), "192.0.2.1:6443".into());
        for path in ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"] {
            let lines = documents.get(path, YAML).unwrap();
            assert!(lines.content_type == YAML && lines.body.windows(6).any(|text| text == b"kind: "), "{path}");
            let [message, text] = [PROTOBUF, JSON].map(|accept| documents.get(path, accept).unwrap());
            let mut expected: Value = serde_json::from_slice(&text.body).unwrap();
            expected["apiVersion"] = "v1".into();
            assert_eq!(message.content_type, PROTOBUF);
            let decoded = decode_protobuf(Schema::builtin(), &message.body).unwrap();
            assert_eq!((&decoded["kind"], &decoded["groups"]), (&expected["kind"], &expected["groups"]), "{path}");
            assert_eq!(decoded["resources"][0]["verbs"], expected["resources"][0]["verbs"], "{path}");
        }
        // As a real API server writes the verbs of a resource: a message of their own.
        let nodes = documents.get("/apis/node.k8s.io/v1", PROTOBUF).unwrap().body;
        let verbs = b"\x22\x43\x0a\x06create\x0a\x06delete\x0a\x10deletecollection\x0a\x03get\x0a\x04list\x0a\x05patch\x0a\x06update\x0a\x05watch";
        assert!(nodes.windows(verbs.len()).any(|w| w == verbs), "{nodes:?}");
        for version in ["v2", "v2beta1"] {
            let form = |media| format!("{media};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            let [message, text] = [PROTOBUF, JSON].map(|media| documents.get("/apis", &form(media)).unwrap());
            assert_eq!(message.content_type, form(PROTOBUF));
            assert!(message.etag.is_some_and(|etag| Some(etag) == text.etag), "{version}");
            let decoded = decode_protobuf(Schema::builtin(), &message.body).unwrap();
            let expected: Value = serde_json::from_slice(&text.body).unwrap();
            assert_eq!(decoded["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
            assert_eq!(decoded["items"][0]["versions"], expected["items"][0]["versions"], "{version}");
        }
        assert_eq!(kind_of("/apis/nope.example/v1", ""), None);
        assert_eq!(kind_of("/api", v2).map(|(_, t)| t).as_deref(), Some(v2));
    }
}
