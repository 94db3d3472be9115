//! From a request to its answer: who asks, may they, what is it about, how long may it take.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response};
use jiff::Timestamp;
use ring::rand::SecureRandom;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::audit::Record;
use super::auth::{authenticate, authorize};
use super::components::COMPONENTS;
use super::impersonate::impersonated;
use super::negotiate::{Negotiated, negotiate};
use super::query::Query;
use super::request::{RequestInfo, ResourcePath, Verb};
use super::respond::{self, Body};
use super::server::Peer;
use super::status::Status;
use super::{ApiState, body, components, connect, health, logs, read, stream, write};
use crate::objects::User;
use crate::registry::{Kind, discovery};

/// How long a request may take, long-running ones aside: apiserver's `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest path and query. Selectors can be long; nothing else is.
const MAX_URL: usize = 32 * 1024;

/// A request that has passed authentication and authorization.
pub(crate) struct Call {
    pub(crate) state: Arc<ApiState>,
    pub(crate) user: User,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// The connection itself, for requests that take it over.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The request's place among those in flight, kept for as long as it lasts.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
    /// What the audit log is to know of it.
    pub(crate) audit: Option<Record>,
}

impl Call {
    /// The form in which the client wants its answer.
    pub(crate) fn form(&self) -> Result<Negotiated, Status> {
        negotiate(&self.headers, &self.query)
    }
}

/// Answers one request.
pub(crate) async fn handle<B>(
    state: Arc<ApiState>,
    peer: Arc<Peer>,
    shutdown: watch::Receiver<bool>,
    mut request: Request<B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let started = Instant::now();
    state.requests.fetch_add(1, Ordering::Relaxed);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let audit_id = request.headers().get(AUDIT_ID).and_then(|v| v.to_str().ok()).map_or_else(new_id, str::to_owned);
    let log = state.audit.clone();
    let record = Record::begin(log.as_ref(), &audit_id, &mut request, Timestamp::now());
    let (parts, mut body) = request.into_parts();
    let mut response =
        limited(state, &peer, shutdown, parts, &mut body).await.unwrap_or_else(|status| respond::refusal(&status));
    if response.status().is_client_error() {
        body::drain(&mut body).await;
    }
    if let (Some(log), Some(record)) = (&log, record) {
        response = record.end(log, response).await;
    }
    respond::set(&mut response, HeaderName::from_static(AUDIT_ID), &audit_id);
    tracing::debug!(%method, path = uri.path(), code = response.status().as_u16(), elapsed = ?started.elapsed(), audit_id, "answered a request");
    response
}

/// Names a request in the log and in its answer; a client may bring its own.
const AUDIT_ID: &str = "audit-id";

/// A random (version 4) UUID.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // The id only helps to find log lines; zeros do no harm.
        bytes = [0; 16];
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [hex(&bytes[..4]), hex(&bytes[4..6]), hex(&bytes[6..8]), hex(&bytes[8..10]), hex(&bytes[10..])].join("-")
}

/// Admits a request, and bounds the time it takes.
async fn limited<B>(
    state: Arc<ApiState>,
    peer: &Peer,
    shutdown: watch::Receiver<bool>,
    mut parts: Parts,
    body: &mut B,
) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if parts.uri.path_and_query().is_some_and(|p| p.as_str().len() > MAX_URL) {
        return Err(Status::new(414, "RequestURITooLong", "the request URI is too long"));
    }
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    let about_no_resource = info.verb == Verb::Get && info.resource.is_none();
    if let Some(response) = about_no_resource.then(|| health::open(&state, &info.path, &query)).flatten() {
        return Ok(response);
    }
    let user = authenticate(peer.user.as_ref(), &parts.headers, &*state.authenticator)?;
    let user = impersonated(user, &parts.headers, &state.objects)?;
    let audit = Record::of(&parts.extensions).inspect(|record| record.identify(&user, &info));
    authorize(&user, &info, &query, &state.objects)?;
    let place = Arc::new(admit(&state, &info)?);
    let upgrade = parts.extensions.remove();
    let call = Call { state, user, query, headers: parts.headers, shutdown, upgrade, place: place.clone(), audit };
    if info.is_long_running() {
        let response = dispatch(&call, &info, body).await?;
        return Ok(response.map(|body| held(body, place)));
    }
    tokio::time::timeout(REQUEST_TIMEOUT, dispatch(&call, &info, body)).await.unwrap_or_else(|_| Err(Status::timeout()))
}

fn admit(state: &ApiState, info: &RequestInfo) -> Result<OwnedSemaphorePermit, Status> {
    let places = if info.is_long_running() { &state.long_running } else { &state.in_flight };
    let busy = |_| {
        Status::too_many_requests("the server has received too many requests and has asked us to try again later", 1)
    };
    places.clone().try_acquire_owned().map_err(busy)
}

/// A body that keeps its place among the long-running requests until it ends.
fn held(body: Body, place: Arc<OwnedSemaphorePermit>) -> Body {
    body.map_frame(move |frame| {
        let _ = &place;
        frame
    })
    .boxed_unsync()
}

async fn dispatch<B>(call: &Call, info: &RequestInfo, body: &mut B) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(path) = &info.resource else {
        if info.verb == Verb::Get {
            return Ok(health::path(&call.state, &info.path, &call.headers).await);
        }
        let known = call.state.documents.paths().contains(&info.path);
        let refused = || Status::method_not_allowed(&info.verb.to_string(), &info.path);
        return Err(if known { refused() } else { Status::no_such_resource() });
    };
    let kinds = call.state.objects.registry();
    if !kinds.kinds().iter().any(|k| k.group == path.group && k.version == path.version) {
        return Ok(health::not_found());
    }
    let kind = kinds.resource(&path.group, &path.version, &path.resource).ok_or_else(Status::no_such_resource)?.clone();
    check_path(&kind, path, info.verb)?;
    match info.verb {
        Verb::Create if connect::is_connect(path) => connect::connect(call, &kind, path).await,
        Verb::Get if path.subresource == "log" => logs::logs(call, &kind, path).await,
        Verb::Get if &*kind.storage == COMPONENTS => components::get(call, &kind, path),
        Verb::List if &*kind.storage == COMPONENTS => components::list(call, &kind, path),
        Verb::Get => read::get(call, &kind, path).await,
        Verb::List => read::list(call, &kind, path).await,
        Verb::Watch => stream::watch(call, &kind, path).await,
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
            let bytes = body::read(body).await?;
            if let Some(record) = &call.audit {
                record.request_body(&bytes);
            }
            change(call, &kind, path, info.verb, &bytes).await
        }
        Verb::Unknown => Err(not_allowed(&kind, path, info.verb)),
    }
}

async fn change(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    verb: Verb,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    match verb {
        Verb::Create => write::create(call, kind, path, bytes).await,
        Verb::Update => write::update(call, kind, path, bytes).await,
        Verb::Patch => write::patch(call, kind, path, bytes).await,
        Verb::Delete => write::delete(call, kind, path, bytes).await,
        Verb::DeleteCollection => write::delete_collection(call, kind, path, bytes).await,
        Verb::Get | Verb::List | Verb::Watch | Verb::Unknown => Err(not_allowed(kind, path, verb)),
    }
}

fn not_allowed(kind: &Kind, path: &ResourcePath, verb: Verb) -> Status {
    let sub = if path.subresource.is_empty() { String::new() } else { format!("/{}", path.subresource) };
    Status::method_not_allowed(&verb.to_string(), &format!("{}{sub}", kind.group_resource()))
}

/// Whether the kind has such a path, and the path such a verb.
fn check_path(kind: &Kind, path: &ResourcePath, verb: Verb) -> Result<(), Status> {
    let own_namespace = kind.plural == "namespaces" && kind.group.is_empty();
    let misplaced = !kind.namespaced && !path.namespace.is_empty() && !own_namespace;
    let unknown_subresource = !path.subresource.is_empty() && !kind.subresources.contains(&path.subresource.as_str());
    // An object of a namespaced kind has no path without its namespace.
    let homeless = kind.namespaced && path.namespace.is_empty() && !path.name.is_empty();
    if misplaced || unknown_subresource || homeless {
        return Err(Status::no_such_resource());
    }
    if verb_allowed(kind, path, verb) { Ok(()) } else { Err(not_allowed(kind, path, verb)) }
}

/// Whether discovery promises the verb, and the path has what the verb needs.
fn verb_allowed(kind: &Kind, path: &ResourcePath, verb: Verb) -> bool {
    let named = !path.name.is_empty();
    let placed = !kind.namespaced || !path.namespace.is_empty();
    let promised = if path.subresource.is_empty() {
        discovery::verbs(kind)
    } else {
        discovery::subresource(kind, &path.subresource).verbs
    };
    let complete = match verb {
        Verb::Create => placed && named != path.subresource.is_empty(),
        Verb::DeleteCollection => placed && !named,
        Verb::Update | Verb::Patch | Verb::Delete | Verb::Get => named,
        Verb::List | Verb::Watch => true,
        Verb::Unknown => false,
    };
    complete && promised.contains(&verb.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4_uuids() {
        let id = new_id();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, new_id());
    }
}
