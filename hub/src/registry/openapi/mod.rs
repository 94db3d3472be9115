//! OpenAPI documents, version 2 and 3: what `kubectl explain`, client-side validation and `kubectl apply` read.
//!
//! Documents are put together on demand from the embedded definitions and the table of kinds (only what is served),
//! straight into a compressor: nothing but the compressed form is kept.

mod definitions;
pub(crate) mod packages;
mod paths;
mod proto;
#[cfg(test)]
pub(crate) mod samples;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

pub use v2::{v2_json, v2_protobuf};
pub use v3::{v3_document, v3_index};

/// Media type of version 2 as protobuf, as clients ask for it (`Accept`).
pub const PROTOBUF_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// Media type of version 2 as protobuf, as it is answered (`Content-Type`): with the `@` of the request no client can
/// parse it.
pub const PROTOBUF_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The Kubernetes version whose types these are.
const VERSION: &str = "v1.33.0";

/// A document, compressed.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document for `Content-Encoding: gzip`.
    pub gzip: Bytes,
    /// Its hash; the `ETag` is this in quotes.
    pub hash: String,
}

impl Document {
    /// The document for clients that do not accept gzip.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        GzDecoder::new(&*self.gzip).read_to_end(&mut out).expect("what was compressed here is valid gzip");
        out
    }
}

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// `/openapi/v2` as JSON.
    V2Json,
    /// `/openapi/v2` as protobuf ([`PROTOBUF_CONTENT_TYPE`]).
    V2Protobuf,
    /// `/openapi/v3/PATH`, where the path is `api/v1` or `apis/GROUP/VERSION`.
    V3(String),
}

/// Keeps the documents that were asked for, compressed. One per table of kinds.
#[derive(Debug, Default)]
pub struct Cache {
    documents: Mutex<BTreeMap<Which, Arc<Document>>>,
}

impl Cache {
    /// The document; `None` when there is no such version.
    ///
    /// Building one takes some tens of milliseconds: call it off the event loop the first time.
    pub fn get(&self, registry: &super::Registry, which: &Which) -> Option<Arc<Document>> {
        // The lock is held while building, so that many clients at once build one document once.
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = documents.get(which) {
            return Some(document.clone());
        }
        let document = Arc::new(match which {
            Which::V2Json => v2_json(registry),
            Which::V2Protobuf => v2_protobuf(registry),
            Which::V3(path) => v3_document(registry, path)?,
        });
        documents.insert(which.clone(), document.clone());
        Some(document)
    }
}

/// Compresses a document piece by piece.
struct Compressor(GzEncoder<Vec<u8>>);

impl Compressor {
    fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::default()))
    }

    fn write(&mut self, piece: &[u8]) {
        self.0.write_all(piece).expect("writing to memory does not fail");
    }

    fn finish(self, hash: String) -> Document {
        let mut gzip = self.0.finish().expect("writing to memory does not fail");
        gzip.shrink_to_fit();
        Document { gzip: gzip.into(), hash }
    }
}

/// A hash of what a document is made from: the embedded definitions and the paths.
fn hash(paths: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(definitions::BYTES);
    context.update(paths.as_bytes());
    context.finish().as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_built_once_and_kept_compressed() {
        let (registry, cache) = (samples::registry(), Cache::default());
        let apps = Which::V3("apis/apps/v1".into());
        let first = cache.get(&registry, &apps).expect("there is apps/v1");
        assert!(Arc::ptr_eq(&first, &cache.get(&registry, &apps).expect("still there")));
        assert!(cache.get(&registry, &Which::V3("apis/apps/v9".into())).is_none());
        assert!(first.gzip.len() * 4 < first.plain().len());
    }

    #[test]
    fn only_what_clients_must_send_is_required() {
        let definitions = definitions::closure(
            [
                "core.v1.Pod",
                "core.v1.Event",
                "events.v1.Event",
                "core.v1.LocalObjectReference",
                "apps.v1.ControllerRevision",
            ]
            .map(|name| format!("io.k8s.api.{name}")),
        );
        let required = |name: &str| {
            let text = definitions::styled(&definitions[&format!("io.k8s.api.{name}")], definitions::Style::V2);
            let definition: serde_json::Value = serde_json::from_str(&text).unwrap();
            definition.get("required").cloned()
        };
        assert_eq!(required("core.v1.Pod"), None);
        assert_eq!(required("core.v1.LocalObjectReference"), None);
        assert_eq!(required("core.v1.Event"), Some(serde_json::json!(["involvedObject", "metadata"])));
        assert_eq!(required("events.v1.Event"), Some(serde_json::json!(["eventTime"])));
        assert_eq!(required("apps.v1.ControllerRevision"), Some(serde_json::json!(["revision"])));
    }
}
