//! Paths that are about no resource: health, version, metrics, documents and the list of paths.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Response};
use serde_json::json;
use skiff_shared::version::{GIT_VERSION, KUBERNETES};

use super::query::Query;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use super::{ApiState, documents, metrics, routes};

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
pub(crate) fn open(state: &ApiState, path: &str, query: &Query, headers: &HeaderMap) -> Option<Response<Body>> {
    let (endpoint, check) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match endpoint {
        // `/healthz/` is no path.
        "livez" | "readyz" | "healthz" if check.is_empty() && path.ends_with('/') => None,
        "version" if check.is_empty() => Some(match routes::check_accept(headers, &[respond::JSON]) {
            Ok(()) => respond::bytes(200, respond::JSON, version()),
            Err(refused) => respond::refusal(&refused),
        }),
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
        (false, false) => text(200, "ok"),
        (failed, _) => text(if failed { 500 } else { 200 }, format!("{report}{endpoint} check {outcome}\n")),
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
pub(crate) async fn path(call: &Call, path: &str) -> Result<Response<Body>, Status> {
    let state = &call.state;
    Ok(match path {
        "/" | "/index.html" => index(state),
        "/metrics" => respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", metrics::document(state)),
        "/.well-known/openid-configuration" | "/.well-known/openid-configuration/" => {
            public(documents::plain(call, path).await)
        }
        "/openid/v1/jwks" | "/openid/v1/jwks/" => keys(state),
        _ => match open(state, path, &call.query, &call.headers) {
            Some(response) => response,
            None => return documents::answer(call, path).await,
        },
    })
}

/// Whether something is served under a path that is about no resource.
pub(crate) fn serves(call: &Call, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let known = ["/version", "/.well-known/openid-configuration", "/openid/v1/jwks"];
    known.contains(&path) || call.state.documents.paths().iter().any(|document| document == path)
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

/// The answer to paths that nobody serves: a Status like every refusal, also where apiserver says `404 page not found`.
/// kubectl shows the same for both.
pub(crate) fn not_found() -> Response<Body> {
    respond::refusal(&Status::no_such_resource())
}

/// Text that browsers are not to take for anything else.
fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = respond::bytes(code, respond::TEXT, text);
    respond::set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn index(state: &ApiState) -> Response<Body> {
    let mut paths = state.documents.paths();
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/apis/",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v3/",
            "/openid/v1/jwks",
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
