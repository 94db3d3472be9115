//! GET of one object and LIST.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Response;
use jiff::Timestamp;

use super::listing::{Page, answer};
use super::negotiate::Negotiated;
use super::options::{Freshness, ListOptions, freshness};
use super::pages::Continue;
use super::render::{ListMeta, Renderer};
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use crate::registry::{Kind, Registry};
use crate::store::{Key, Object, Revision, Snapshot};
use crate::watch::Scope;

/// How long a request for a revision that is not there yet waits for it: apiserver's bound for its watch cache.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);

impl Call {
    pub(crate) fn renderer(&self, kind: &Arc<Kind>, form: &Negotiated) -> Renderer {
        Renderer { kind: kind.clone(), view: form.view, now: Timestamp::now().as_second() }
    }

    /// Waits until the store is at a revision.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<(), Status> {
        let mut revisions = self.state.objects.store().revisions();
        let wait = tokio::time::timeout(WAIT_FOR_REVISION, revisions.wait_for(|r| *r >= revision)).await;
        match wait {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the hub is shutting down")),
            Err(_) => Err(Status::too_large_revision(revision, self.state.objects.snapshot().revision())),
        }
    }

    /// The stored object a path names.
    pub(crate) fn find(&self, kind: &Kind, path: &ResourcePath) -> Result<Arc<Object>, Status> {
        let namespace = if kind.namespaced { path.namespace.as_str() } else { "" };
        let key = Key { resource: kind.storage.clone(), namespace: namespace.into(), name: path.name.as_str().into() };
        self.state
            .objects
            .snapshot()
            .get(&key)
            .cloned()
            .ok_or_else(|| Status::not_found(&sought(kind, path), &path.name))
    }
}

/// The resource that refusals name.
fn sought(kind: &Kind, path: &ResourcePath) -> String {
    match (path.subresource.as_str(), kind.group) {
        // The core group has no Scale of its own.
        ("scale", "") => format!("{}/scale.autoscaling", kind.plural),
        ("scale", group) => format!("{}/scale.{group}", kind.plural),
        _ => kind.group_resource(),
    }
}

/// Answers with one object, or its Scale.
pub(crate) async fn get(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    match freshness(&call.query, false)? {
        Freshness::NotOlderThan(revision) | Freshness::Exact(revision) => call.wait_for(revision).await?,
        Freshness::Newest | Freshness::Any => {}
    }
    let object = call.find(kind, path)?;
    form.fits(kind, false)?;
    Ok(one(call, kind, path, &form, 200, &object))
}

/// One object as the answer to any verb.
pub(crate) fn one(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    form: &Negotiated,
    code: u16,
    object: &Object,
) -> Response<Body> {
    let renderer = call.renderer(kind, form);
    let body = if path.subresource == "scale" { renderer.scale(object) } else { renderer.single(object, true) };
    respond::json(code, form, body)
}

/// Answers with a list.
pub(crate) async fn list(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    form.fits(kind, true)?;
    let options = ListOptions::parse(&call.query, kind, false)?;
    let snapshot = snapshot(call, &options).await?;
    let page = page(call.state.objects.registry(), &snapshot, &scope(kind, path, &options), &options);
    if page.meta.continue_token.is_some() {
        call.state.pages.pin(&snapshot, call.state.objects.snapshot().revision(), Instant::now());
    }
    Ok(answer(&form, call.renderer(kind, &form), page).await)
}

/// What a list or watch selects.
pub(crate) fn scope(kind: &Arc<Kind>, path: &ResourcePath, options: &ListOptions) -> Scope {
    let namespace = (kind.namespaced && !path.namespace.is_empty()).then(|| path.namespace.clone());
    Scope { kind: kind.clone(), namespace, labels: options.labels.clone(), fields: options.fields.clone() }
}

/// The state a list shows.
pub(crate) async fn snapshot(call: &Call, options: &ListOptions) -> Result<Snapshot, Status> {
    let newest = || call.state.objects.snapshot();
    if let Some(token) = &options.continue_at {
        return match token.rv {
            None => Ok(newest()),
            Some(rv) => exact(call, rv).ok_or_else(|| token.expired()),
        };
    }
    match options.freshness {
        Freshness::Newest | Freshness::Any => Ok(newest()),
        Freshness::NotOlderThan(revision) => {
            call.wait_for(revision).await?;
            Ok(newest())
        }
        Freshness::Exact(revision) => {
            call.wait_for(revision).await?;
            let gone = || Status::new(410, "Expired", "The resourceVersion for the provided list is too old.");
            exact(call, revision).ok_or_else(gone)
        }
    }
}

/// The state at a revision: the newest, one that is kept for a list that goes on, or one that the retained changes lead
/// back to.
fn exact(call: &Call, revision: Revision) -> Option<Snapshot> {
    let newest = call.state.objects.snapshot();
    if newest.revision() == revision {
        return Some(newest);
    }
    call.state.pages.at(revision, Instant::now()).ok()?.or_else(|| {
        let later = call.state.objects.store().changes(revision, usize::MAX).ok()?;
        Some(newest.rewound(revision, &later))
    })
}

/// The objects of a page, in the order of namespace and name.
pub(crate) fn page(registry: &Registry, snapshot: &Snapshot, scope: &Scope, options: &ListOptions) -> Page {
    let start = options.continue_at.as_ref();
    let mut rest = snapshot
        .list(&scope.kind.storage, scope.namespace.as_deref())
        .filter(|o| start.is_none_or(|s| s.precedes(o)))
        .filter(|o| scope.matches(registry, o));
    let limit = options.limit.unwrap_or(usize::MAX);
    let items: Vec<_> = rest.by_ref().take(limit).cloned().collect();
    let more = rest.next().is_some();
    let last = items.last().filter(|_| more);
    // As in Kubernetes, the count is left out where a selector makes it costly to know.
    let counted = last.is_some() && scope.labels.is_empty() && scope.fields.is_empty();
    let meta = ListMeta {
        resource_version: snapshot.revision().to_string(),
        continue_token: last.map(|o| Continue::after(o, snapshot.revision()).encode()),
        remaining_item_count: counted.then(|| 1 + rest.count()),
    };
    Page { items, meta }
}
