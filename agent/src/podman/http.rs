//! A small HTTP/1.1 client over Podman's unix socket, for the calls podman-api gets wrong (see `real`).
//!
//! One connection a call: connecting a unix socket is cheap, and nothing idle is kept.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::client::conn;
use hyper::upgrade::Upgraded;
use hyper::{Body, Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ByteStream, PodmanError, Result};

/// Longest JSON answer that is read: thousands of containers in one listing.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The client of one socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    path: PathBuf,
    patience: Duration,
}

/// Podman's form of an error.
#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
}

impl Client {
    /// A client that waits at most `patience` for the start of an answer and for the whole of a short one.
    pub(super) fn new(path: PathBuf, patience: Duration) -> Self {
        Self { path, patience }
    }

    /// `unix:///…`, for messages.
    pub(super) fn socket(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Sends a request and reads a JSON answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T> {
        let operation = operation(&method, path);
        let answer = self.bytes(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|e| PodmanError::Answer { operation, source: Box::new(e) })
    }

    /// Sends a request whose answer does not matter.
    pub(super) async fn done(&self, method: Method, path: &str) -> Result<()> {
        self.bytes(method, path, None).await.map(|_| ())
    }

    /// Sends a body; the answer does not matter.
    pub(super) async fn send_json(&self, method: Method, path: &str, body: Vec<u8>) -> Result<()> {
        self.bytes(method, path, Some(body)).await.map(|_| ())
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes> {
        let operation = operation(&method, path);
        let call = async {
            let response = self.send(method, path, body).await?;
            read_all(response.into_body(), MAX_ANSWER).await.map_err(|e| self.unreachable(&operation, e))
        };
        match timeout(self.patience, call).await {
            Ok(result) => result,
            Err(late) => Err(self.unreachable(&operation, late)),
        }
    }

    /// Sends a request and gives the answer as it comes, for as long as it lasts.
    pub(super) async fn stream(&self, method: Method, path: &str) -> Result<ByteStream> {
        let operation = operation(&method, path);
        let response = match timeout(self.patience, self.send(method, path, None)).await {
            Ok(response) => response?,
            Err(late) => return Err(self.unreachable(&operation, late)),
        };
        let client = self.clone();
        let chunks = response.into_body().map(move |chunk| chunk.map_err(|e| client.unreachable(&operation, e)));
        Ok(chunks.boxed())
    }

    /// Sends a request whose answer turns the connection over to raw bytes both ways.
    pub(super) async fn hijack(&self, path: &str, body: Option<Vec<u8>>) -> Result<Upgraded> {
        let operation = operation(&Method::POST, path);
        let call = async {
            let response = self.request(Method::POST, path, body, true).await?;
            hyper::upgrade::on(response).await.map_err(|e| self.unreachable(&operation, e))
        };
        match timeout(self.patience, call).await {
            Ok(connection) => connection,
            Err(late) => Err(self.unreachable(&operation, late)),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response<Body>> {
        self.request(method, path, body, false).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        upgrade: bool,
    ) -> Result<Response<Body>> {
        let operation = operation(&method, path);
        let lost = |e: Box<dyn std::error::Error + Send + Sync>| self.unreachable(&operation, e);
        let stream = UnixStream::connect(&self.path).await.map_err(|e| lost(Box::new(e)))?;
        let (mut sender, connection) = conn::handshake(stream).await.map_err(|e| lost(Box::new(e)))?;
        // The connection ends with its one answer, or when that is dropped: nothing to wait for.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Podman broke");
            }
        });
        let mut request = Request::builder();
        if upgrade {
            request = request.header("Connection", "Upgrade").header("Upgrade", "tcp");
        }
        let request = request
            .method(method)
            .uri(format!("/v4.0.0/libpod{path}"))
            .header("Host", "podman")
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Body::empty, Body::from))
            .map_err(|e| lost(Box::new(e)))?;
        let response = sender.send_request(request).await.map_err(|e| lost(Box::new(e)))?;
        let upgraded = upgrade && response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded || response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        Err(fault(response).await)
    }

    fn unreachable(&self, operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PodmanError {
        PodmanError::Unreachable { operation: operation.to_owned(), socket: self.socket(), source: source.into() }
    }
}

fn operation(method: &Method, path: &str) -> String {
    format!("{method} {}", path.split('?').next().unwrap_or(path))
}

async fn fault(response: Response<Body>) -> PodmanError {
    let status = response.status();
    let body = read_all(response.into_body(), 64 * 1024).await.unwrap_or_default();
    let message = match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) if !fault.message.is_empty() => fault.message,
        Ok(_) | Err(_) => format!("Podman answered {status}"),
    };
    match status {
        StatusCode::NOT_FOUND => PodmanError::NotFound { message },
        StatusCode::CONFLICT => PodmanError::Conflict { message },
        other => PodmanError::Failed { code: other.as_u16(), message },
    }
}

async fn read_all(mut body: Body, max: usize) -> std::result::Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if all.len() + chunk.len() > max {
            return Err(format!("the answer is longer than {max} bytes").into());
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
