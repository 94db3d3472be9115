//! An HTTP request, as a kubelet makes it: any certificate is taken, and redirects to the same host are followed.

use std::time::Duration;

use futures_util::StreamExt;
use hyper::client::conn;
use hyper::header::{HOST, HeaderName, HeaderValue, LOCATION};
use hyper::{Body, Request, Response, Uri};
use skiff_shared::pod::HttpGet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Agent, Answer, MAX_ANSWER, authority, dial_error, tls};

/// So many redirects are followed (Go's client: 10).
const MAX_REDIRECTS: u32 = 10;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    https: bool,
    host: String,
    port: u16,
    path: String,
}

/// Asks, and follows where it is sent on the same host.
pub(super) async fn run(address: &str, get: &HttpGet, agent: Agent, within: Duration) -> Answer {
    let host = if get.host.is_empty() { address } else { &get.host };
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let mut place = Place { https: get.https, host: host.to_owned(), port: get.port, path };
    if get.port == 0 {
        return Answer::Unknown("invalid port number: 0".to_owned());
    }
    let asked = place.url();
    let walk = async {
        for _ in 0..=MAX_REDIRECTS {
            let answer = ask(&place, get, agent).await.map_err(|why| format!("Get \"{}\": {why}", place.url()))?;
            match redirect(&place, &answer) {
                Some(Ok(next)) => place = next,
                Some(Err(elsewhere)) => return Ok(Answer::Warning(elsewhere)),
                None => return Ok(judge(agent, answer).await),
            }
        }
        Err(format!("Get \"{}\": stopped after {MAX_REDIRECTS} redirects", place.url()))
    };
    match timeout(within, walk).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::Bad(why),
        Err(_) => Answer::Bad(format!(
            "Get \"{asked}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

/// For probes the status decides; a hook only has to be answered.
async fn judge(agent: Agent, answer: Response<Body>) -> Answer {
    let status = answer.status().as_u16();
    let body = start_of(answer.into_body()).await;
    if agent == Agent::Lifecycle || (200..400).contains(&status) {
        return Answer::Good;
    }
    tracing::debug!(status, body = %String::from_utf8_lossy(&body), "a probe failed");
    Answer::Bad(format!("HTTP probe failed with statuscode: {status}"))
}

async fn start_of(mut body: Body) -> Vec<u8> {
    let mut start = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        let room = MAX_ANSWER - start.len();
        start.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if start.len() == MAX_ANSWER {
            break;
        }
    }
    start
}

/// Where an answer sends its reader: a place on the same host, or words about another.
fn redirect(at: &Place, answer: &Response<Body>) -> Option<Result<Place, String>> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let uri: Uri = location.parse().ok()?;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let Some(host) = uri.host() else {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return Some(Ok(Place { path, ..at.clone() }));
    };
    if host != at.host {
        return Some(Err(format!("Probe terminated redirects, Response body: {location}")));
    }
    let https = uri.scheme_str().map_or(at.https, |scheme| scheme == "https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    Some(Ok(Place { https, host: host.to_owned(), port, path: path.to_owned() }))
}

async fn ask(place: &Place, get: &HttpGet, agent: Agent) -> Result<Response<Body>, String> {
    let connected = TcpStream::connect((place.host.as_str(), place.port)).await;
    let stream = connected.map_err(|error| dial_error(&place.host, place.port, &error))?;
    let request = request(place, get, agent)?;
    if place.https {
        send(tls::connect(stream).await.map_err(|e| e.to_string())?, request).await
    } else {
        send(stream, request).await
    }
}

fn request(place: &Place, get: &HttpGet, agent: Agent) -> Result<Request<Body>, String> {
    let path: Uri = place.path.parse().map_err(|_| "invalid path".to_owned())?;
    let mut request = Request::get(path).body(Body::empty()).map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    for (name, value) in &get.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let mut default = |name: &'static str, value: &str| {
        if let (false, Ok(value)) = (headers.contains_key(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    default("user-agent", agent.name());
    default("accept", "*/*");
    default(HOST.as_str(), &authority(&place.host, place.port));
    default("connection", "close");
    Ok(request)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<Response<Body>, String> {
    let (mut sender, connection) = conn::handshake(stream).await.map_err(|e| e.to_string())?;
    // The connection ends with its one answer, or when that is dropped: nothing to wait for.
    tokio::spawn(async move { drop(connection.await) });
    sender
        .send_request(request)
        .await
        .map_err(|error| if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() })
}

impl Place {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", authority(&self.host, self.port), self.path)
    }
}
