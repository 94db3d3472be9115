//! The API as a client meets it: requests in, answers out, over a small table of kinds and a volatile store.

mod apply;
mod changes;
mod components;
mod connect;
mod eviction;
mod identity;
mod pod;
mod proxy;
mod reads;
mod refusals;
mod semantics;
mod strategies;
mod streams;
mod tls;
mod writes;

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use skiff_shared::wire::stream::{DialRequest, LogsRequest, StreamRequest};
use tokio::sync::watch;

use super::auth::certificate_user;
use super::router::handle;
use super::{
    ApiState, Authenticator, Body, Check, Document, Documents, LogStream, NodeStream, NodeStreams, Peer, StreamError,
};
use crate::auth::jwt::Signer;
use crate::objects::{Objects, User};
use crate::registry::{Column, Hooks, Kind, Registry};
use crate::store::{Expected, Key, MemoryStore, Op, Store, Write};

/// An API over objects that were put into its store.
struct Api {
    state: Arc<ApiState>,
    store: Arc<MemoryStore>,
    shutdown: watch::Sender<bool>,
}

/// A finished answer.
struct Answer {
    code: u16,
    response: Response<()>,
    text: String,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }

    fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Api {
    async fn with(objects: &[(&'static str, Value)]) -> Self {
        Self::over(Registry::new(kinds()), objects).await
    }

    async fn over(registry: Registry, objects: &[(&'static str, Value)]) -> Self {
        let store = MemoryStore::new();
        let registry = Arc::new(registry);
        let objects_api =
            Objects::new(store.clone(), registry, crate::objects::Networks::new([10, 43, 0, 0].into(), 16));
        let check = Check { name: "store", ready_only: true, run: Box::new(|| Err("closed".into())) };
        let state =
            Arc::new(ApiState::new(objects_api, Arc::new(Tokens), Arc::new(Node), Arc::new(Papers), vec![check]));
        let api = Self { state, store, shutdown: watch::Sender::new(false) };
        for (resource, object) in objects {
            api.put(resource, object.clone()).await;
        }
        api
    }

    async fn put(&self, resource: &str, object: Value) {
        let text = |f: &str| object["metadata"][f].as_str().unwrap_or_default().to_owned();
        let key = Key { resource: resource.into(), namespace: text("namespace").into(), name: text("name").into() };
        let expected = self.store.snapshot().get(&key).map_or(Expected::Absent, |o| Expected::At(o.revision));
        self.store.commit(vec![Write { key, expected, op: Op::Put(object) }]).await.unwrap();
    }

    /// Sends a request as an administrator and returns its answer as it comes.
    async fn open(&self, method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let peer = Arc::new(Peer { user: Some(admin()), ..Peer::default() });
        handle(self.state.clone(), peer, self.shutdown.subscribe(), request).await
    }

    async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        finish(self.open(method, url, headers, body).await).await
    }

    async fn get(&self, url: &str) -> Answer {
        self.send("GET", url, &[], "").await
    }
}

async fn finish(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let code = parts.status.as_u16();
    Answer {
        code,
        response: Response::from_parts(parts, ()),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        body: bytes,
    }
}

fn admin() -> User {
    User { name: "kubernetes-admin".into(), groups: vec!["system:masters".into()], ..User::default() }
}

struct Tokens;

impl Authenticator for Tokens {
    fn bearer(&self, token: &str) -> Option<User> {
        (token == "good").then(|| User { name: "robot".into(), ..User::default() })
    }

    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<User> {
        chain.first().and_then(|certificate| certificate_user(certificate)).filter(|user| user.name != "stranger")
    }

    fn signer(&self) -> Option<&Signer> {
        static SIGNER: LazyLock<Signer> = LazyLock::new(crate::auth::jwt::tests::signer);
        Some(&SIGNER)
    }
}

/// A node whose logs say what was asked of it; following, they do not end.
struct Node;

#[async_trait]
impl NodeStreams for Node {
    async fn logs(&self, node: &str, request: LogsRequest) -> Result<LogStream, StreamError> {
        if node == "away" {
            return Err(StreamError::NotConnected(node.to_owned()));
        }
        let line = format!("{node} {} {:?}\n", request.container, request.tail_lines);
        let lines = stream::iter([Ok(Bytes::from(line))]);
        Ok(if request.follow { lines.chain(stream::pending()).boxed() } else { lines.boxed() })
    }

    async fn open(&self, node: &str, request: StreamRequest) -> Result<NodeStream, StreamError> {
        if node == "away" {
            return Err(StreamError::NotConnected(node.to_owned()));
        }
        if let StreamRequest::Dial(DialRequest { ip, port: 9, .. }) = request {
            return Err(StreamError::Failed(format!("dial tcp {ip}:9: connect: connection refused")));
        }
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(pod::serve(far, request));
        let (recv, send) = tokio::io::split(near);
        Ok(NodeStream { send: Box::new(send), recv: Box::new(recv) })
    }
}

struct Papers;

impl Documents for Papers {
    fn get(&self, path: &str, _accept: &str) -> Option<Document> {
        let body = Bytes::from_static(br#"{"kind":"APIVersions"}"#);
        (path == "/api").then(|| Document {
            content_type: "application/json".into(),
            body,
            gzip: false,
            etag: Some("e1".into()),
        })
    }

    fn paths(&self) -> Vec<String> {
        vec!["/api".into()]
    }
}

fn hooks() -> Hooks {
    Hooks {
        parts: &[],
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        validate: |_, _| Vec::new(),
        warn: |_, _| Vec::new(),
        field: |_, _| None,
        has_generation: false,
        validate_status: None,
        next_generation: |_, _| false,
        columns: &[],
        row: |_, _| Vec::new(),
        row_fields: &[],
        completed: |_| None,
        from_stored: None,
        to_stored: None,
    }
}

fn kind(
    group: &'static str,
    kind: &'static str,
    list_kind: &'static str,
    plural: &'static str,
    storage: &str,
    subresources: &'static [&'static str],
    hooks: Hooks,
) -> Arc<Kind> {
    Arc::new(Kind {
        group,
        version: "v1",
        kind,
        list_kind,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: !matches!(plural, "namespaces" | "nodes"),
        subresources,
        schema: "",
        storage: storage.into(),
        hooks,
    })
}

const POD_COLUMNS: &[Column] = &[
    Column { name: "Name", kind: "string", format: "name", description: "the name", priority: 0 },
    Column { name: "Status", kind: "string", format: "", description: "the phase", priority: 0 },
];

fn kinds() -> Vec<Arc<Kind>> {
    let pods = Hooks {
        field: |pod, path| match path {
            "spec.nodeName" => Some(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()),
            _ => None,
        },
        columns: POD_COLUMNS,
        row: |pod, _| vec![pod["metadata"]["name"].clone(), pod["status"]["phase"].clone()],
        ..hooks()
    };
    // Another view of config maps, as events have two.
    let notes = Hooks {
        from_stored: Some(|mut object| {
            object["kind"] = "Note".into();
            object
        }),
        ..hooks()
    };
    vec![
        kind(
            "",
            "Pod",
            "PodList",
            "pods",
            "pods",
            &["status", "log", "binding", "exec", "attach", "portforward", "proxy"],
            pods,
        ),
        kind("", "Service", "ServiceList", "services", "services", &["status", "proxy"], hooks()),
        kind("", "Node", "NodeList", "nodes", "nodes", &["status", "proxy"], hooks()),
        kind("", "ConfigMap", "ConfigMapList", "configmaps", "configmaps", &[], hooks()),
        kind("", "Namespace", "NamespaceList", "namespaces", "namespaces", &["status", "finalize"], hooks()),
        kind("apps", "Deployment", "DeploymentList", "deployments", "deployments.apps", &["status", "scale"], hooks()),
        kind("test.io", "Note", "NoteList", "notes", "configmaps", &[], notes),
    ]
}

fn pod(namespace: &str, name: &str) -> (&'static str, Value) {
    let status = json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]});
    let metadata = json!({"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "labels": {"app": name}});
    let spec = json!({"nodeName": "edge-1", "containers": [{"name": "main"}]});
    ("pods", json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}))
}

fn config_map(name: &str, content: &str) -> (&'static str, Value) {
    let metadata = json!({"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
    ("configmaps", json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"text": content}}))
}

/// The names of the items of a list.
fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}
