//! What a route takes and gives, judged by its headers before anything is read: the first of apiserver's two checks, in
//! the words of its router.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};

use super::connect::is_connect;
use super::request::{ResourcePath, Verb};
use super::respond::{JSON, PROTOBUF, PROTOBUF_WATCH, YAML};
use super::status::Status;
use super::write::PATCHES;

/// What routes of objects give.
pub(crate) const OBJECTS: &[&str] = &[JSON, YAML, PROTOBUF];
/// What routes of collections give.
const COLLECTIONS: &[&str] = &[JSON, YAML, PROTOBUF, "application/json;stream=watch", PROTOBUF_WATCH];

/// Checks the media types of a request about a resource.
///
/// # Errors
/// 415 and 406, as apiserver's router words them.
pub(crate) fn check(headers: &HeaderMap, path: &ResourcePath, verb: Verb) -> Result<(), Status> {
    if is_connect(path) || path.subresource == "log" {
        return Ok(());
    }
    if verb == Verb::Patch && !PATCHES.contains(&media(text(headers, CONTENT_TYPE))) {
        let length = text(headers, CONTENT_LENGTH);
        // Only what was sent can be of a wrong type.
        let empty = matches!(length, "" | "0");
        return Err(if empty { not_acceptable(headers, verb, &[]) } else { Status::no_route(415, None) });
    }
    let gives = if matches!(verb, Verb::List | Verb::Watch) { COLLECTIONS } else { OBJECTS };
    if accepts(headers, gives) { Ok(()) } else { Err(not_acceptable(headers, verb, gives)) }
}

/// Checks that a client takes one of the media types of a route that only reads.
pub(crate) fn check_accept(headers: &HeaderMap, gives: &[&str]) -> Result<(), Status> {
    if accepts(headers, gives) { Ok(()) } else { Err(not_acceptable(headers, Verb::Get, gives)) }
}

/// Whether a path about no resource is one of apiserver's router, which knows GET alone; the others take all methods.
pub(crate) fn reads_only(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    matches!(
        segments.as_slice(),
        ["version" | "api"] | ["api", _] | ["apis", _, _] | [".well-known", _] | ["openid", ..]
    )
}

fn not_acceptable(headers: &HeaderMap, verb: Verb, gives: &[&str]) -> Status {
    let writes = matches!(verb, Verb::Create | Verb::Update | Verb::Patch);
    // What has no body at all may have wanted to send one.
    let code = if writes && !headers.contains_key(CONTENT_LENGTH) { 415 } else { 406 };
    Status::no_route(code, Some(gives))
}

/// Whether a client names one of the media types, or takes all. Wildcards of a part are not looked at.
fn accepts(headers: &HeaderMap, gives: &[&str]) -> bool {
    let accept = text(headers, ACCEPT);
    accept.is_empty() || accept.split(',').map(media).any(|m| m == "*/*" || gives.contains(&m))
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// A media type without its parameters.
fn media(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_name_what_they_give() {
        let objects = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let collections =
            format!("{objects}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch");
        let not_acceptable = |gives: &str| format!("406: Not Acceptable\n\nAvailable representations: {gives}");
        let nothing_sent = |gives: &str| format!("415: Unsupported Media Type\n\nAvailable representations: {gives}");
        let merge = "application/merge-patch+json";
        for (verb, accept, content_type, length, expected) in [
            (Verb::Get, "", "", "", String::new()),
            (Verb::Get, "*/*", "", "", String::new()),
            (Verb::Get, "text/html, application/yaml;q=0.1", "", "", String::new()),
            (Verb::Get, "application/json;q=0", "", "", String::new()),
            (Verb::Get, "application/*", "", "", not_acceptable(objects)),
            (Verb::Get, "APPLICATION/JSON", "", "", not_acceptable(objects)),
            (Verb::List, "application/cbor", "", "", not_acceptable(&collections)),
            (Verb::Watch, "text/html", "", "", not_acceptable(&collections)),
            (Verb::Create, "text/html", JSON, "2", not_acceptable(objects)),
            (Verb::Create, "text/html", JSON, "", nothing_sent(objects)),
            (Verb::Create, "", "text/plain", "2", String::new()),
            (Verb::Delete, "text/html", "", "", not_acceptable(objects)),
            (Verb::Patch, "", merge, "2", String::new()),
            (Verb::Patch, "", "application/merge-patch+json; charset=utf-8", "2", String::new()),
            (Verb::Patch, "", JSON, "2", "415: Unsupported Media Type".into()),
            (Verb::Patch, "", "", "0", not_acceptable("")),
            (Verb::Patch, "", "", "", nothing_sent("")),
            (Verb::Patch, "text/html", merge, "2", not_acceptable(objects)),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(ACCEPT, accept), (CONTENT_TYPE, content_type), (CONTENT_LENGTH, length)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let path = ResourcePath { resource: "pods".into(), ..ResourcePath::default() };
            let outcome = check(&headers, &path, verb).err().map_or(String::new(), |status| status.message);
            assert_eq!(outcome, expected, "{verb} {accept} {content_type} {length}");
        }
    }

    #[test]
    fn some_paths_only_read() {
        for (path, expected) in [
            ("/version", true),
            ("/api/v1", true),
            ("/apis/apps/v1", true),
            ("/openid/v1/jwks", true),
            ("/apis", false),
            ("/apis/apps", false),
            ("/", false),
            ("/openapi/v2", false),
        ] {
            assert_eq!(reads_only(path), expected, "{path}");
        }
    }
}
