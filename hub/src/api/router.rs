//! From a request to its answer: who asks, may they, what is it about, how long may it take.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, Uri};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant as Deadline;

use super::audit::Record;
use super::auth::{authenticate, authorize};
use super::body::Slot;
use super::components::COMPONENTS;
use super::deadline::deadline;
use super::fairness::{Class, Holder, Place};
use super::impersonate::impersonated;
use super::metrics::Labels;
use super::negotiate::{Format, Negotiated, Offer, negotiate, of_refusal};
use super::proxy::{is_proxy, proxy};
use super::query::Query;
use super::request::{RequestInfo, ResourcePath, Verb};
use super::respond::{self, Body};
use super::server::Peer;
use super::status::Status;
use super::{ApiState, body, components, connect, health, logs, read, routes, stream, websocket_token, write};
use crate::objects::{Objects, User, new_uid};
use crate::registry::schema::Schema;
use crate::registry::{Kind, discovery};

/// Longest path and query. Selectors can be long; nothing else is.
const MAX_URL: usize = 32 * 1024;

/// Most headers of a request, and most bytes of them: room for tokens and for impersonation. What is far beyond is
/// refused by the connection, without a Status.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// A request that has passed authentication and authorization.
pub(crate) struct Call {
    pub(crate) state: Arc<ApiState>,
    pub(crate) user: User,
    pub(crate) query: Query,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The client's address, where it is known.
    pub(crate) client: Option<IpAddr>,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// Whether the kind it is about has a protobuf form.
    typed: bool,
    /// The connection itself, for requests that take it over.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The request's place among those in flight, kept for as long as it lasts.
    pub(crate) place: Arc<Place>,
    /// What the audit log is to know of it.
    pub(crate) audit: Option<Record>,
}

impl Call {
    /// The form in which the client wants its answer.
    pub(crate) fn form(&self) -> Result<Negotiated, Status> {
        negotiate(&self.headers, &self.query, if self.typed { Offer::Objects } else { Offer::Untyped })
    }

    /// The form in which the client wants the events of a watch.
    pub(crate) fn events_form(&self) -> Result<Negotiated, Status> {
        negotiate(&self.headers, &self.query, if self.typed { Offer::Events } else { Offer::UntypedEvents })
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
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let started = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let audit_id = request.headers().get(AUDIT_ID).and_then(|v| v.to_str().ok()).map_or_else(new_uid, str::to_owned);
    let (log, fairness) = (state.audit.clone(), state.fairness.clone());
    let record = Record::begin(log.as_ref(), &audit_id, &mut request, peer.address, Timestamp::now());
    let (parts, body) = request.into_parts();
    let mut body = Slot::new(body);
    let format = of_refusal(&parts.headers);
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    if let Some(record) = &record {
        record.about(&info);
    }
    let dry_run = query.all("dryRun").any(|v| v == "All");
    let labels = Labels::of(&info, dry_run, state.objects.registry());
    let served = state.clone();
    let mut response = limited(state, &peer, shutdown, parts, (query, info), &mut body)
        .await
        // Whoever takes nothing that is served gets JSON.
        .unwrap_or_else(|status| respond::refusal_as(if status.code == 406 { Format::Json } else { format }, &status));
    if method == Method::HEAD {
        response = respond::head_only(response);
    }
    if response.status().is_client_error() && !body.is_end_stream() {
        // Whoever is refused may be anyone, so this is bounded by address.
        if let Some(_place) = fairness.admit(Holder::Anonymous(peer.address), Class::Mutating) {
            body::drain(&mut body).await;
        }
    }
    if let (Some(log), Some(record)) = (&log, record) {
        response = record.end(log, response).await;
    }
    respond::set(&mut response, HeaderName::from_static(AUDIT_ID), &audit_id);
    served.metrics.answered(labels, response.status().as_u16(), started.elapsed());
    tracing::debug!(%method, path = uri.path(), code = response.status().as_u16(), elapsed = ?started.elapsed(), audit_id, "answered a request");
    response
}

/// Names a request in the log and in its answer; a client may bring its own.
const AUDIT_ID: &str = "audit-id";

/// The user that a request acts as; the audit log is told who is behind it.
fn become_whom(user: User, headers: &HeaderMap, objects: &Objects, audit: Option<&Record>) -> Result<User, Status> {
    let Some(record) = audit else { return impersonated(user, headers, objects) };
    record.identify(&user);
    let becomes = impersonated(user.clone(), headers, objects)?;
    if becomes != user {
        record.impersonates(&becomes);
    }
    Ok(becomes)
}

/// Admits a request, and bounds the time it takes.
async fn limited<B>(
    state: Arc<ApiState>,
    peer: &Peer,
    shutdown: watch::Receiver<bool>,
    mut parts: Parts,
    (query, info): (Query, RequestInfo),
    body: &mut Slot<B>,
) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    check_head(&parts)?;
    let time = deadline(&query)?;
    let about_no_resource = info.verb == Verb::Get && info.resource.is_none();
    if let Some(response) =
        about_no_resource.then(|| health::open(&state, &info.path, &query, &parts.headers)).flatten()
    {
        return Ok(response);
    }
    let user = authenticate(peer.user.as_ref(), &parts.headers, &*state.authenticator)?;
    peer.known.store(true, Ordering::Relaxed);
    websocket_token::remove(&mut parts.headers);
    let audit = Record::of(&parts.extensions);
    let user = become_whom(user, &parts.headers, &state.objects, audit.as_ref())?;
    let place = state.fairness.admit(Holder::of(&user), Class::of(&info));
    let place = Arc::new(place.ok_or_else(Status::busy)?);
    authorize(&user, &info, &query, &state.objects, audit.as_ref())?;
    let upgrade = parts.extensions.remove();
    let typed = is_typed(&state, &info);
    let client = peer.address;
    let Parts { method, uri, headers, .. } = parts;
    let place_of_call = place.clone();
    let call = Call {
        state,
        user,
        query,
        method,
        uri,
        headers,
        client,
        shutdown,
        typed,
        upgrade,
        place: place_of_call,
        audit,
    };
    if info.is_long_running() {
        let response = dispatch(&call, &info, body).await?;
        return Ok(response.map(|body| held(body, place)));
    }
    let until = Deadline::now() + time;
    let response =
        tokio::time::timeout_at(until, dispatch(&call, &info, body)).await.map_err(|_| Status::timeout())??;
    // What is all there needs its place no longer; a list that is made as it goes does.
    let complete = response.body().size_hint().exact().is_some();
    Ok(if complete { response } else { response.map(|body| call.state.fairness.until(until, body, place)) })
}

/// Bounds what comes before the body.
fn check_head(parts: &Parts) -> Result<(), Status> {
    if parts.uri.path_and_query().is_some_and(|p| p.as_str().len() > MAX_URL) {
        return Err(Status::new(414, "RequestURITooLong", "the request URI is too long"));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if parts.headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Status::new(431, "RequestHeaderFieldsTooLarge", "the request's header fields are too large"));
    }
    Ok(())
}

/// Whether a request is about a kind whose types are built in.
fn is_typed(state: &ApiState, info: &RequestInfo) -> bool {
    let kind = info
        .resource
        .as_ref()
        .and_then(|path| state.objects.registry().resource(&path.group, &path.version, &path.resource));
    kind.is_some_and(|kind| Schema::builtin().contains(kind.schema))
}

/// A body that keeps its place among the long-running requests until it ends.
fn held(body: Body, place: Arc<Place>) -> Body {
    body.map_frame(move |frame| {
        let _ = &place;
        frame
    })
    .boxed_unsync()
}

async fn dispatch<B>(call: &Call, info: &RequestInfo, body: &mut Slot<B>) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(path) = &info.resource else {
        if call.method != Method::GET && routes::reads_only(&info.path) && health::serves(call, &info.path) {
            return Err(Status::method_not_allowed());
        }
        return health::path(call, &info.path).await;
    };
    let kinds = call.state.objects.registry();
    let kind = kinds.resource(&path.group, &path.version, &path.resource).ok_or_else(Status::no_such_resource)?.clone();
    if is_proxy(path) {
        // Every method reaches a proxy.
        check_path(&kind, path, Verb::Get)?;
        return proxy(call, path, body).await;
    }
    check_path(&kind, path, if call.method == Method::HEAD { Verb::Unknown } else { info.verb })?;
    routes::check(&call.headers, path, info.verb)?;
    let mut answer = serve(call, info, &kind, path, body).await?;
    if let Some(warning) = deprecation(&kind) {
        respond::warn(&mut answer, &[warning.to_owned()]);
    }
    Ok(answer)
}

/// What clients of a kind that Kubernetes 1.33 advises against are told with every answer.
fn deprecation(kind: &Kind) -> Option<&'static str> {
    let endpoints = kind.group.is_empty() && kind.kind == "Endpoints";
    endpoints.then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

async fn serve<B>(
    call: &Call,
    info: &RequestInfo,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    body: &mut Slot<B>,
) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match info.verb {
        Verb::Get | Verb::Create if connect::is_connect(path) => connect::connect(call, kind, path).await,
        Verb::Get if path.subresource == "log" => connect::bytes(call, logs::logs(call, kind, path).await?),
        Verb::Get if &*kind.storage == COMPONENTS => components::get(call, kind, path),
        Verb::List if &*kind.storage == COMPONENTS => components::list(call, kind, path).await,
        Verb::Get => read::get(call, kind, path).await,
        Verb::List => read::list(call, kind, path).await,
        Verb::Watch => connect::events(call, stream::watch(call, kind, path).await?),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
            let bytes = body::read(body).await?;
            if let Some(record) = &call.audit {
                record.request_body(&bytes);
            }
            change(call, kind, path, info.verb, &bytes).await
        }
        Verb::Unknown => Err(Status::method_not_allowed()),
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
        Verb::Get | Verb::List | Verb::Watch | Verb::Unknown => Err(Status::method_not_allowed()),
    }
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
    if !verb_allowed(kind, path, verb) {
        return Err(Status::method_not_allowed());
    }
    let invalid = |why: &str| Status::bad_request(format!("Name parameter invalid: {:?}: {why}", path.name));
    match path.name.as_str() {
        "." => Err(invalid("may not be '.'")),
        ".." => Err(invalid("may not be '..'")),
        name if name.contains('/') => Err(invalid("may not contain '/'")),
        name if name.contains('%') => Err(invalid("may not contain '%'")),
        _ => Ok(()),
    }
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
