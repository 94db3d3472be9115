//! What the fuzz targets in `tests/fuzz` call: bytes in, no answer but a panic where the hub misbehaves. Built only by
//! cargo-fuzz.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use skiff_shared::wire::stream::{LogsRequest, StreamRequest};
use tokio::sync::watch;

use super::router::handle;
use super::{
    ApiState, Authenticator, Document, Documents, LogStream, NodeStream, NodeStreams, Peer, StreamError, spdy,
    websocket,
};
use crate::objects::{Networks, Objects, User};
use crate::registry::Registry;
use crate::registry::patch::{apply_merge, strategic};
use crate::registry::schema::{Schema, decode_protobuf};
use crate::store::{Expected, Key, MemoryStore, Op, Store, Write};

/// One request by an administrator: `METHOD URL`, headers a line each, an empty line, the body. Whatever it is, the
/// answer is no failure of the server, and a refusal is a `Status` of its code.
pub fn request(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    let watches = request.uri().query().is_some_and(|q| q.contains("watch") || q.contains("follow"))
        || request.uri().path().contains("/watch/");
    let shown = format!("{} {}", request.method(), request.uri());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let peer = Arc::new(Peer { user: Some(admin()), ..Peer::default() });
        let shutdown = watch::Sender::new(false);
        let response = handle(api().await, peer, shutdown.subscribe(), request).await;
        let code = response.status().as_u16();
        assert!(code < 500 || matches!(code, 501 | 503 | 504), "{shown}: {code}");
        if watches && code < 300 {
            return;
        }
        let body = response.into_body().collect().await.expect("an answer is whole").to_bytes();
        if code >= 400 {
            let status: Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!(status["code"], json!(code), "{shown}: {}", String::from_utf8_lossy(&body));
        }
    });
}

/// Bytes of a SPDY connection, in two parts.
pub fn spdy(data: &[u8]) {
    let mut decoder = spdy::Decoder::new();
    for part in data.chunks(data.len() / 2 + 1) {
        decoder.buffer().extend_from_slice(part);
        while let Ok(Some(_)) = decoder.frame() {}
    }
}

/// Bytes of a WebSocket connection, in two parts.
pub fn websocket(data: &[u8]) {
    let mut decoder = websocket::Decoder::new();
    for part in data.chunks(data.len() / 2 + 1) {
        decoder.buffer().extend_from_slice(part);
        while let Ok(Some(_)) = decoder.frame() {}
    }
}

/// An object, an empty line, a patch of it: a merge patch and a strategic merge patch. A patch that can be applied again
/// changes nothing then, unless it has directives, which speak of the moment.
pub fn patch(data: &[u8]) {
    const POD: &str = "io.k8s.api.core.v1.Pod";
    let Some(cut) = data.windows(2).position(|w| w == b"\n\n") else { return };
    let (Ok(object), Ok(patch)) = (serde_json::from_slice(&data[..cut]), serde_json::from_slice(&data[cut..])) else {
        return;
    };
    let again = |apply: &dyn Fn(&mut Value) -> bool| {
        let mut once: Value = Value::clone(&object);
        if apply(&mut once) && !data.contains(&b'$') {
            let mut twice = once.clone();
            assert!(!apply(&mut twice) || once == twice, "{once} became {twice}");
        }
    };
    again(&|object| apply_merge(object, &patch).is_ok());
    again(&|object| strategic(Schema::builtin(), POD, object, &patch).is_ok());
}

/// A protobuf request body.
pub fn protobuf(data: &[u8]) {
    if let Ok(mut object) = decode_protobuf(Schema::builtin(), data) {
        Schema::builtin().decode("io.k8s.api.core.v1.Pod", &mut object);
    }
}

fn parse(data: &[u8]) -> Option<Request<Full<Bytes>>> {
    let cut = data.windows(2).position(|w| w == b"\n\n").unwrap_or(data.len());
    let mut lines = std::str::from_utf8(&data[..cut]).ok()?.lines();
    let (method, url) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(url.parse::<Uri>().ok()?);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    let body = data.get(cut + 2..).unwrap_or_default().to_vec();
    request.body(Full::new(body.into())).ok().filter(|r| r.uri().path().starts_with('/'))
}

fn admin() -> User {
    User { name: "kubernetes-admin".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// An API over a few objects, made anew so that each input starts from the same state.
async fn api() -> Arc<ApiState> {
    let store = MemoryStore::new();
    let registry = Arc::new(Registry::builtin());
    let meta = |name: &str| json!({"name": name, "namespace": "default", "uid": "u1", "labels": {"app": "web"}});
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "edge"});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
    let selector = json!({"matchLabels": {"app": "web"}});
    let objects = [
        ("namespaces", "Namespace", "v1", json!({"metadata": {"name": "default", "uid": "u0"}})),
        ("serviceaccounts", "ServiceAccount", "v1", json!({"metadata": meta("default")})),
        ("pods", "Pod", "v1", json!({"metadata": meta("web"), "spec": spec})),
        ("configmaps", "ConfigMap", "v1", json!({"metadata": meta("web"), "data": {"k": "v"}})),
        (
            "deployments.apps",
            "Deployment",
            "apps/v1",
            json!({"metadata": meta("web"), "spec": {"replicas": 1, "selector": selector, "template": template}}),
        ),
    ];
    for (resource, kind, version, mut object) in objects {
        object["kind"] = kind.into();
        object["apiVersion"] = version.into();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().into();
        let key = Key { resource: resource.into(), namespace: text("namespace"), name: text("name") };
        let write = Write { key, expected: Expected::Absent, op: Op::Put(object) };
        store.commit(vec![write]).await.expect("a store in memory takes writes");
    }
    let objects = Objects::new(store, registry, Networks::new([10, 43, 0, 0].into(), 16));
    Arc::new(ApiState::new(objects, Arc::new(Nobody), Arc::new(Nobody), Arc::new(Nobody), Vec::new()))
}

/// No tokens, no nodes, no documents.
struct Nobody;

impl Authenticator for Nobody {
    fn bearer(&self, _token: &str) -> Option<User> {
        None
    }

    fn certificate(&self, _chain: &[CertificateDer<'_>]) -> Option<User> {
        None
    }
}

#[async_trait]
impl NodeStreams for Nobody {
    async fn logs(&self, node: &str, _request: LogsRequest) -> Result<LogStream, StreamError> {
        Err(StreamError::NotConnected(node.to_owned()))
    }

    async fn open(&self, node: &str, _request: StreamRequest) -> Result<NodeStream, StreamError> {
        Err(StreamError::NotConnected(node.to_owned()))
    }
}

impl Documents for Nobody {
    fn get(&self, _path: &str, _accept: &str) -> Option<Document> {
        None
    }

    fn paths(&self) -> Vec<String> {
        Vec::new()
    }
}
