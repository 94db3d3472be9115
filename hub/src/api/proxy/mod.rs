//! `proxy` of pods, services and nodes: a request goes on to the pod as it came, but for what is the hub's own business,
//! over its node's connection; a node's is answered here in its kubelet's stead.
//!
//! Bodies are streamed both ways, each side read only as fast as the other takes it. Unlike apiserver's, this proxy does
//! not rewrite links in HTML, for which it would have to hold whole pages.

mod exchange;
mod headers;
mod kubelet;
mod target;
mod usage;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::header::LOCATION;
use hyper::{Method, Response};

use super::body::Slot;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use exchange::Exchange;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a path leads through a proxy.
pub(crate) fn is_proxy(path: &ResourcePath) -> bool {
    path.group.is_empty()
        && !path.name.is_empty()
        && path.subresource == "proxy"
        && matches!(path.resource.as_str(), "pods" | "services" | "nodes")
}

/// Passes a request on, and its answer back.
pub(crate) async fn proxy<B>(call: &Call, path: &ResourcePath, body: &mut Slot<B>) -> Result<Response<Body>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    // `api/v1/nodes/NAME/proxy`, or the same with `namespaces/NAME` before it.
    let segments = if path.namespace.is_empty() { 5 } else { 7 };
    let (prefix, rest) = split(call.uri.path(), segments);
    let backend = match path.resource.as_str() {
        "pods" => target::pod(&call.state.objects.snapshot(), path)?,
        "services" => {
            let turn = call.state.turns.fetch_add(1, Ordering::Relaxed);
            target::service(&call.state.objects.snapshot(), path, turn)?
        }
        _ => return kubelet::answer(call, path, rest).await,
    };
    if let Some(upgrade) = call.upgrade.clone().filter(|_| headers::asks_for_upgrade(&call.headers)) {
        return Exchange { call, backend, prefix, rest }.upgrade(upgrade).await;
    }
    if let Some(redirect) = redirect(call, rest) {
        return Ok(redirect);
    }
    Exchange { call, backend, prefix, rest }.carry(body.take()).await
}

/// The path up to the end of its first `segments` segments, and the rest.
fn split(path: &str, segments: usize) -> (&str, &str) {
    let lead = path.len() - path.trim_start_matches('/').len();
    match path[lead..].match_indices('/').nth(segments - 1) {
        Some((at, _)) => path.split_at(lead + at),
        None => (path, ""),
    }
}

/// A browser that asks for `…/proxy` must come back with `…/proxy/`, or relative links would lead elsewhere.
fn redirect(call: &Call, rest: &str) -> Option<Response<Body>> {
    if !rest.is_empty() || ![Method::GET, Method::HEAD].contains(&call.method) {
        return None;
    }
    let query = call.uri.query().map_or(String::new(), |q| format!("?{q}"));
    let mut response = respond::bytes(301, respond::TEXT, "");
    respond::set(&mut response, LOCATION, &format!("{}/{query}", call.uri.path()));
    Some(response)
}

/// 503 in Kubernetes' words.
fn out_of_reach(why: &str) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_behind_the_proxy_is_kept_as_it_is() {
        for (path, segments, expected) in [
            ("/api/v1/namespaces/a/pods/web:80/proxy", 7, ("/api/v1/namespaces/a/pods/web:80/proxy", "")),
            ("/api/v1/namespaces/a/pods/web:80/proxy/", 7, ("/api/v1/namespaces/a/pods/web:80/proxy", "/")),
            ("/api/v1/namespaces/a/pods/w/proxy/x%2Fy//z/", 7, ("/api/v1/namespaces/a/pods/w/proxy", "/x%2Fy//z/")),
            ("//api/v1/nodes/n/proxy/pods", 5, ("//api/v1/nodes/n/proxy", "/pods")),
        ] {
            assert_eq!(split(path, segments), expected, "{path}");
        }
    }
}
