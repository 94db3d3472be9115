//! A client that costs little beside what it measures: requests made beforehand, answers hardly looked at.

use std::io;

use serde_json::{Value, json};
use skiff_tests::api::Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What ends a chunked body. JSON holds no bare line ends, so it cannot come earlier.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// An HTTP/1.1 connection that is kept alive.
pub(crate) struct Lean {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Lean {
    pub(crate) async fn connect(api: &Api) -> Self {
        let stream = api.tls().await.expect("the hub takes a connection");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a whole request and reads the whole answer; gives its status and the bytes of its body (with chunk heads).
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        let head = self.begin(request).await?;
        let status = status(&self.buffer);
        match content_length(&self.buffer[..head]) {
            Some(length) => while self.buffer.len() < head + length && self.read().await? > 0 {},
            None => while !self.buffer.ends_with(LAST_CHUNK) && self.read().await? > 0 {},
        }
        Ok((status, self.buffer.len() - head))
    }

    /// Sends a request and reads up to the end of the answer's head, which is where that stands.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> io::Result<usize> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                return Ok(at + 4);
            }
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what comes next of an endless answer, in place of what was read before.
    pub(crate) async fn next(&mut self) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.read().await?;
        Ok(&self.buffer)
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn status(answer: &[u8]) -> u16 {
    answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok()).unwrap_or_default()
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok())
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &Value) -> Vec<u8> {
    with_body("POST", path, "application/json", body)
}

/// A merge patch.
pub(crate) fn patch(path: &str, body: &Value) -> Vec<u8> {
    with_body("PATCH", path, "application/merge-patch+json", body)
}

fn with_body(method: &str, path: &str, kind: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: hub\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A request without a body.
pub(crate) fn get(path: &str, accept: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: hub\r\naccept: {accept}\r\n\r\n").into_bytes()
}

/// The pod that all parts create. Pods of another scheduler are left alone by the hub's own.
pub(crate) fn pod(name: &str, scheduler: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "load", "pod": name}},
        "spec": {"schedulerName": scheduler, "containers": [{"name": "main", "image": "localhost/test:1",
            "env": [{"name": "MODE", "value": "load"}], "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}}}]}})
}

/// Makes a namespace, waits for its service account, and fills it with pods over some connections at once.
pub(crate) async fn fill(api: &Api, namespace: &str, pods: usize, connections: usize, scheduler: &'static str) {
    make_namespace(api, namespace).await;
    let create = |first: usize| {
        let (api, path) = (api.clone(), format!("/api/v1/namespaces/{namespace}/pods"));
        async move {
            let mut lean = Lean::connect(&api).await;
            for number in (first..pods).step_by(connections) {
                let (status, _) = lean
                    .send(&post(&path, &pod(&format!("pod-{number:05}"), scheduler)))
                    .await
                    .expect("the hub answers");
                assert_eq!(status, 201, "{}", String::from_utf8_lossy(&lean.buffer));
            }
        }
    };
    let workers: Vec<_> = (0..connections).map(|first| tokio::spawn(create(first))).collect();
    for worker in workers {
        worker.await.expect("a worker ends in order");
    }
}

/// Makes a namespace and waits until pods can be made in it.
pub(crate) async fn make_namespace(api: &Api, namespace: &str) {
    let mut lean = Lean::connect(api).await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let (status, _) = lean.send(&post("/api/v1/namespaces", &object)).await.expect("the hub answers");
    assert!(matches!(status, 201 | 409), "the namespace {namespace} gives {status}");
    let account = get(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"), "application/json");
    while lean.send(&account).await.expect("the hub answers").0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
