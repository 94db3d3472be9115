//! A client of the hub's HTTPS API with the administrator's certificate, for what kubectl cannot or will not do.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the API is and how to prove who asks. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("address", &self.address).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Api {
    /// Takes address, CA, certificate and key from a kubeconfig as the hub writes it.
    ///
    /// # Errors
    /// When one of them is missing or unusable.
    pub fn from_kubeconfig(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let address = field(&text, "server")?.trim_start_matches("https://").parse().map_err(io::Error::other)?;
        let ca =
            CertificateDer::from_pem_slice(&decoded(&text, "certificate-authority-data")?).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca).map_err(io::Error::other)?;
        let certificate = decoded(&text, "client-certificate-data")?;
        let chain =
            CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(&decoded(&text, "client-key-data")?).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
        let tls = builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?;
        Ok(Self { address, tls: Arc::new(tls) })
    }

    /// Opens a connection for a client that speaks HTTP itself.
    ///
    /// # Errors
    /// When TCP or TLS fails.
    pub async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(self.tls.clone()).connect(name, tcp).await
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When TCP, TLS or HTTP fails.
    pub async fn connect(&self) -> io::Result<Connection> {
        let (sender, connection) = handshake(TokioIo::new(self.tls().await?)).await.map_err(io::Error::other)?;
        // It ends with the sender, or with an error that the sender sees too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, host: self.address.to_string() })
    }

    /// One request over a connection of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Reply> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.connect().await?.send(method, path, "application/json", body).await
    }

    /// [`Api::call`] without a body, from code that is not async (on a thread of its own, so that it also works
    /// inside a runtime).
    ///
    /// # Errors
    /// When there is no answer.
    pub fn blocking(&self, method: &str, path: &str) -> io::Result<Reply> {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.call(method, path, None))
        };
        std::thread::scope(|scope| scope.spawn(ask).join())
            .unwrap_or_else(|_| Err(io::Error::other("the call panicked")))
    }
}

/// A kept-alive connection: one request after the other.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks before the whole answer is there.
    pub async fn send(&mut self, method: &str, path: &str, kind: &str, body: impl Into<Bytes>) -> io::Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", kind)
            .body(Full::new(body.into()))
            .map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let (head, body) = self.sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// The value of the first `name: value` line.
fn field<'a>(kubeconfig: &'a str, name: &str) -> io::Result<&'a str> {
    let lines = kubeconfig.lines().map(|l| l.trim_start_matches(['-', ' ']));
    let mut values = lines.filter_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    values
        .next()
        .map(|v| v.trim().trim_matches('"'))
        .ok_or_else(|| io::Error::other(format!("kubeconfig has no {name}")))
}

fn decoded(kubeconfig: &str, name: &str) -> io::Result<Vec<u8>> {
    STANDARD.decode(field(kubeconfig, name)?).map_err(io::Error::other)
}

/// The body of a plain `GET` to a port of this machine; empty where the connection breaks.
///
/// # Panics
/// When nobody listens.
pub fn plain_get(port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    // A break here shows in the answer.
    drop(write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}
