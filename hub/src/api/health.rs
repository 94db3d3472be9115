//! Paths that are about no resource: health, version, metrics, documents and the list of paths.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use hyper::{HeaderMap, Response};
use serde_json::json;
use skiff_shared::version::{GIT_VERSION, KUBERNETES};

use super::metrics;
use super::query::Query;
use super::respond::{self, Body};
use super::status::Status;
use super::{ApiState, Document};

/// The commit that `deploy/up` built, and zeros in other builds: clients expect hexadecimal digits.
const COMMIT: &str = match option_env!("SKIFF_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

/// One question of the health endpoints.
pub struct Check {
    /// Its name under `/readyz/NAME`.
    pub name: &'static str,
    /// Whether only `/readyz` asks it; else `/livez` and `/healthz` do too.
    pub ready_only: bool,
    /// The answer; the reason of a failure goes to the log.
    pub run: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.name)
    }
}

/// The answer of a path that anyone may ask without being known; `None` for other paths.
pub(crate) fn open(state: &ApiState, path: &str, query: &Query) -> Option<Response<Body>> {
    let (endpoint, check) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match endpoint {
        // `/healthz/` is no path.
        "livez" | "readyz" | "healthz" if check.is_empty() && path.ends_with('/') => None,
        "version" if check.is_empty() => Some(respond::bytes(200, respond::JSON, version())),
        "livez" | "readyz" | "healthz" => Some(health(state, endpoint, check, query)),
        _ => None,
    }
}

fn health(state: &ApiState, endpoint: &str, only: &str, query: &Query) -> Response<Body> {
    let mut checks: Vec<_> = state.checks.iter().filter(|c| endpoint == "readyz" || !c.ready_only).collect();
    let ping = Check { name: "ping", ready_only: false, run: Box::new(|| Ok(())) };
    checks.insert(0, &ping);
    if !only.is_empty() {
        checks.retain(|c| c.name == only);
        return checks.first().map_or_else(not_found, |check| single(check));
    }
    let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = false;
    for check in checks {
        report.push_str(&if excluded.remove(check.name) {
            format!("[+]{} excluded: ok\n", check.name)
        } else if passes(check) {
            format!("[+]{} ok\n", check.name)
        } else {
            failed = true;
            format!("[-]{} failed: reason withheld\n", check.name)
        });
    }
    if !excluded.is_empty() {
        let names: Vec<_> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    let outcome = if failed { "failed" } else { "passed" };
    match (failed, query.optional_flag("verbose").is_some()) {
        (false, false) => respond::bytes(200, respond::TEXT, "ok"),
        (failed, _) => respond::bytes(
            if failed { 500 } else { 200 },
            respond::TEXT,
            format!("{report}{endpoint} check {outcome}\n"),
        ),
    }
}

/// Whether a check passes; the log is told why not.
fn passes(check: &Check) -> bool {
    (check.run)().inspect_err(|why| tracing::warn!(check = check.name, why, "a health check failed")).is_ok()
}

/// The answer of one check's own path.
fn single(check: &Check) -> Response<Body> {
    let (code, text) = if passes(check) { (200, "ok") } else { (500, "internal server error: reason withheld\n") };
    respond::bytes(code, respond::TEXT, text)
}

fn version() -> Vec<u8> {
    let (major, minor) = KUBERNETES.trim_start_matches('v').split_once('.').unwrap_or_default();
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let value = json!({
        "major": major,
        "minor": minor.split('.').next().unwrap_or_default(),
        "gitVersion": GIT_VERSION,
        "gitCommit": COMMIT,
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{machine}", std::env::consts::OS),
    });
    value.to_string().into_bytes()
}

/// The answer of a path that is about no resource, for an authorized user.
pub(crate) async fn path(state: &Arc<ApiState>, path: &str, headers: &HeaderMap) -> Response<Body> {
    match path {
        "/" => index(state),
        "/metrics" => respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", metrics::document(state)),
        "/.well-known/openid-configuration" | "/.well-known/openid-configuration/" => {
            find_document(state, path, headers).await.map_or_else(not_found, |d| public(document(d, headers)))
        }
        "/openid/v1/jwks" | "/openid/v1/jwks/" => keys(state),
        _ => find_document(state, path, headers).await.map_or_else(not_found, |d| document(d, headers)),
    }
}

/// The keys by which others verify the tokens of service accounts.
fn keys(state: &ApiState) -> Response<Body> {
    let Some(signer) = state.authenticator.signer() else { return not_found() };
    public(respond::bytes(200, "application/jwk-set+json", signer.keys().to_string()))
}

/// A document that others may keep for an hour.
fn public(mut response: Response<Body>) -> Response<Body> {
    respond::set(&mut response, CACHE_CONTROL, "public, max-age=3600");
    response
}

/// A document may have to be built first, which takes too long for the event loop.
async fn find_document(state: &Arc<ApiState>, path: &str, headers: &HeaderMap) -> Option<Document> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (state, path) = (state.clone(), path.to_owned());
    tokio::task::spawn_blocking(move || state.documents.get(&path, &accept)).await.ok().flatten()
}

/// The answer to paths outside the API. Every refusal is a Status, also where apiserver says `404 page not found`:
/// kubectl shows the same for both.
pub(crate) fn not_found() -> Response<Body> {
    respond::refusal(&Status::no_such_resource())
}

fn index(state: &ApiState) -> Response<Body> {
    let mut paths = state.documents.paths();
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/openid/v1/jwks",
            "/metrics",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    let ping = ("ping", false);
    for (name, ready_only) in state.checks.iter().map(|c| (c.name, c.ready_only)).chain([ping]) {
        let endpoints = ["/healthz", "/livez", "/readyz"].into_iter().filter(|e| !ready_only || *e == "/readyz");
        paths.extend(endpoints.map(|endpoint| format!("{endpoint}/{name}")));
    }
    paths.sort();
    paths.dedup();
    respond::bytes(200, respond::JSON, json!({"paths": paths}).to_string())
}

fn document(document: Document, headers: &HeaderMap) -> Response<Body> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let tag = document.etag.map(|t| format!("\"{t}\""));
    let known = tag
        .as_ref()
        .is_some_and(|tag| text(IF_NONE_MATCH).split(',').any(|t| t.trim().trim_start_matches("W/") == tag));
    let takes_gzip = text(ACCEPT_ENCODING).contains("gzip");
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
