//! Discovery and OpenAPI documents as answers: the form a client takes, entity tags, and hashes that name one content.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, HeaderName, IF_NONE_MATCH, LOCATION, VARY};
use hyper::{HeaderMap, Response};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::health::{self, not_found};
use super::negotiate::{Documented, document_form, takes_gzip};
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use super::{ApiState, Document, routes};

/// Answers with the document under a path.
///
/// # Errors
/// 406 when the client takes none of its forms.
pub(crate) async fn answer(call: &Call, path: &str) -> Result<Response<Body>, Status> {
    let Some(what) = documented(path) else { return Ok(not_found()) };
    if what != Documented::OpenApi && !health::serves(call, path) {
        return Ok(not_found());
    }
    if what != Documented::OpenApi && path.trim_end_matches('/') != "/apis" {
        routes::check_accept(&call.headers, routes::OBJECTS)?;
    }
    let form = match document_form(&call.headers, what) {
        Ok(form) => form,
        // The one place that refuses without words.
        Err(refused) if what == Documented::OpenApi => return Ok(respond::bytes(refused.code, respond::TEXT, "")),
        Err(refused) => return Err(refused),
    };
    let Some(found) = find(&call.state, path, form).await else { return Ok(not_found()) };
    let asked = call.query.get("hash").filter(|_| path.starts_with("/openapi/v3/"));
    Ok(match (asked, &found.etag) {
        (Some(hash), Some(etag)) if hash != etag => moved(&format!("{path}?hash={etag}")),
        (asked, _) => whole(found, &call.headers, asked.is_some()),
    })
}

/// Answers with the document under a path, which has one form.
pub(crate) async fn plain(call: &Call, path: &str) -> Response<Body> {
    let found = find(&call.state, path, String::new()).await;
    found.map_or_else(not_found, |document| whole(document, &call.headers, false))
}

/// What kind of document a path is about; `None` where none can be.
fn documented(path: &str) -> Option<Documented> {
    match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["api"] | ["api", ""] | ["apis"] | ["apis", ""] => Some(Documented::Root),
        ["api" | "apis", ..] => Some(Documented::Group),
        ["openapi", "v2"] | ["openapi", "v3", ..] if !path.ends_with('/') => Some(Documented::OpenApi),
        _ => None,
    }
}

/// A document may have to be built first, which takes too long for the event loop.
async fn find(state: &Arc<ApiState>, path: &str, form: String) -> Option<Document> {
    let (state, path) = (state.clone(), path.to_owned());
    tokio::task::spawn_blocking(move || state.documents.get(&path, &form)).await.ok().flatten()
}

/// Leads to the document of now from one that was.
fn moved(to: &str) -> Response<Body> {
    let text = format!("<a href=\"{to}\">Moved Permanently</a>.\n\n");
    let mut response = respond::bytes(301, "text/html; charset=utf-8", text);
    respond::set(&mut response, LOCATION, to);
    response
}

/// The document, or that the client has it; what is asked for by its hash never changes.
fn whole(document: Document, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let tag = document.etag.map(|t| format!("\"{t}\""));
    let known = tag
        .as_ref()
        .is_some_and(|tag| text(IF_NONE_MATCH).split(',').any(|t| t.trim().trim_start_matches("W/") == tag));
    let takes_gzip = takes_gzip(headers);
    let body = if document.gzip && !takes_gzip { unpack(&document.body) } else { document.body };
    let mut response = if known {
        respond::bytes(304, &document.content_type, "")
    } else {
        respond::bytes(200, &document.content_type, body)
    };
    respond::set(&mut response, VARY, "Accept, Accept-Encoding");
    if document.gzip && takes_gzip && !known {
        respond::set(&mut response, CONTENT_ENCODING, "gzip");
    }
    if let Some(tag) = tag {
        respond::set(&mut response, ETAG, &tag);
    }
    if immutable {
        respond::set(&mut response, CACHE_CONTROL, "public, immutable");
        let expires = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(1.year());
        respond::set(&mut response, EXPIRES, &expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
    response
}

/// Documents are the hub's own, so their size needs no bound and their gzip is sound.
fn unpack(body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    match GzDecoder::new(body).read_to_end(&mut out) {
        Ok(_) => out.into(),
        Err(e) => {
            tracing::error!(error = %e, "a document of the hub cannot be unpacked");
            Bytes::new()
        }
    }
}
