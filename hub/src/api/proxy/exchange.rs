//! One request to a pod and its answer, or a connection that changes its protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use skiff_shared::telemetry::Chain;
use skiff_shared::wire::stream::{DialRequest, StreamRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::respond::{self, Body};
use super::super::router::Call;
use super::super::server::ended;
use super::super::status::Status;
use super::target::Backend;
use super::{BoxError, headers, out_of_reach};

/// How long a pod has for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Most bytes of an answer's head, as of a request's.
const MAX_HEAD: usize = 64 * 1024;

type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A request on its way to a pod.
pub(super) struct Exchange<'a> {
    pub(super) call: &'a Call,
    pub(super) backend: Backend,
    /// The proxy's path.
    pub(super) prefix: &'a str,
    /// The path behind it; empty where it ends with `proxy`.
    pub(super) rest: &'a str,
}

/// What serves the connection to the pod. It ends with this.
struct Carrier(JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exchange<'_> {
    /// Carries the request and its answer, both as streams.
    pub(super) async fn carry<B>(self, body: Option<B>) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let body = body.map_or_else(nothing, |body| body.map_err(Into::into).boxed_unsync());
        let (carrier, response) = self.ask(body, false).await?;
        Ok(self.answer(carrier, response))
    }

    /// Carries a change of protocols, and then the connection. A pod that refuses has its answer passed on.
    pub(super) async fn upgrade(self, client: OnUpgrade) -> Result<Response<Body>, Status> {
        let (carrier, mut response) = self.ask(nothing(), true).await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Ok(self.answer(carrier, response));
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let message = format!("invalid upgrade response: status code {}", status.as_u16());
            return Err(Status::new(500, "", message));
        }
        let pod = hyper::upgrade::on(&mut response);
        let (place, mut shutdown) = (self.call.place.clone(), self.call.shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                carried = tunnel(client, pod) => match carried {
                    Ok(()) => {}
                    Err(error) => tracing::debug!(error, "a proxied connection broke"),
                },
                () = ended(&mut shutdown) => {}
            }
            drop((carrier, place));
        });
        let (mut parts, _) = response.into_parts();
        headers::back(&mut parts.headers, true, self.prefix, &self.backend.host(), &self.asked_host());
        Ok(rebuilt(parts.status, parts.headers, respond::full(Bytes::new())))
    }

    async fn ask(&self, body: RequestBody, upgrade: bool) -> Result<(Carrier, Response<Incoming>), Status> {
        let broken = |e: hyper::Error| {
            out_of_reach(&if e.is_incomplete_message() { "EOF".to_owned() } else { Chain(&e).to_string() })
        };
        let request = self.request(body, upgrade).map_err(|e| Status::bad_request(e.to_string()))?;
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io).await.map_err(broken)?;
        let carrier = Carrier(tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection to a proxied pod broke");
            }
        }));
        Ok((carrier, sender.send_request(request).await.map_err(broken)?))
    }

    fn request(&self, body: RequestBody, upgrade: bool) -> Result<Request<RequestBody>, hyper::http::Error> {
        let query = self.call.uri.query().map_or(String::new(), |q| format!("?{q}"));
        let path = if self.rest.is_empty() { "/" } else { self.rest };
        let mut request =
            Request::builder().method(self.call.method.clone()).uri(format!("{path}{query}")).body(body)?;
        let uri = format!("{}{}", self.prefix, self.rest);
        *request.headers_mut() =
            headers::onwards(&self.call.headers, upgrade, self.call.client, &uri, &self.backend.host());
        if let Some(Ok(asked)) = self.call.uri.authority().map(|a| HeaderValue::from_str(a.as_str())) {
            request.headers_mut().insert(HOST, asked);
        }
        Ok(request)
    }

    /// The host that the client asked for: the hub.
    fn asked_host(&self) -> String {
        let header = || self.call.headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        self.call.uri.authority().map_or_else(header, |a| a.as_str()).to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Status> {
        let Backend { node, pod, ip, port, https } = &self.backend;
        let request = StreamRequest::Dial(DialRequest { pod: pod.clone(), ip: *ip, port: *port });
        let stream = self.call.state.streams.open(node, request).await.map_err(|e| out_of_reach(&e.to_string()))?;
        let plain = tokio::io::join(stream.recv, stream.send);
        if !https {
            return Ok(Box::new(plain));
        }
        let handshake = TlsConnector::from(TLS.clone()).connect(ServerName::from(*ip), plain);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(tls)) => Ok(Box::new(tls)),
            Ok(Err(error)) => Err(out_of_reach(&format!("tls: {error}"))),
            Err(_) => Err(out_of_reach("net/http: TLS handshake timeout")),
        }
    }

    /// The pod's answer as it goes to the client. The connection lasts as long as its body.
    fn answer(&self, carrier: Carrier, response: Response<Incoming>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        headers::back(&mut parts.headers, false, self.prefix, &self.backend.host(), &self.asked_host());
        // The length in the answer to HEAD is that of another answer's body.
        if body.is_end_stream() && self.call.method != Method::HEAD {
            return rebuilt(parts.status, parts.headers, respond::full(Bytes::new()));
        }
        let mut shutdown = self.call.shutdown.clone();
        let down = Box::pin(async move { ended(&mut shutdown).await });
        let frames =
            TryStreamExt::map_err(BodyStream::new(body), io::Error::other).take_until(down).inspect(move |_| {
                let _ = &carrier;
            });
        rebuilt(parts.status, parts.headers, StreamBody::new(frames).boxed_unsync())
    }
}

impl Backend {
    fn host(&self) -> String {
        SocketAddr::from((self.ip, self.port)).to_string()
    }
}

fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn rebuilt(status: StatusCode, headers: hyper::HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Carries bytes both ways until either side has said all, as Kubernetes does: few peers listen to one that is gone.
async fn tunnel(client: OnUpgrade, pod: OnUpgrade) -> Result<(), BoxError> {
    let (client, pod) = tokio::try_join!(client, pod)?;
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_pod, mut to_pod) = tokio::io::split(TokioIo::new(pod));
    tokio::select! {
        done = tokio::io::copy(&mut from_pod, &mut to_client) => done?,
        done = tokio::io::copy(&mut from_client, &mut to_pod) => done?,
    };
    // Whoever has not been told all waits for the end of the stream.
    let flush = async {
        tokio::io::AsyncWriteExt::shutdown(&mut to_client).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut to_pod).await
    };
    Ok(flush.await?)
}

/// TLS to pods: encrypted, but nobody knows which certificate a pod should have.
static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let provider = skiff_shared::tls::provider();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of its own defaults")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
});

/// Takes any certificate, as apiserver does of pods.
#[derive(Debug)]
struct Anyone(Vec<rustls::SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.clone()
    }
}
