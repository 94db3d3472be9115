//! Request bodies: read within their limit, and parsed from JSON, YAML or protobuf.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::body::{Frame, SizeHint};
use hyper::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::status::Status;
use crate::objects::Source;
use crate::registry::schema::{
    ContentType, DecodeError, Schema, decode_protobuf, duplicate_keys, no_object, parse_body, unrecognized,
};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A request's body, until someone takes it to stream it on.
pub(crate) struct Slot<B>(Option<B>);

impl<B> Slot<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Some(body))
    }

    /// The body; what is left here is empty.
    pub(crate) fn take(&mut self) -> Option<B> {
        self.0.take()
    }
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Slot<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

/// Reads a whole body of at most 3 MiB.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_REQUEST_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(Status::too_large(MAX_REQUEST_BODY)),
        Err(e) => Err(Status::bad_request(format!("the request body could not be read: {e}"))),
    }
}

/// Most bytes of a refused request's body that are read and dropped, and how long that may take.
const DRAIN_BYTES: usize = 8 * MAX_REQUEST_BODY;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Reads on what is left of a refused request's body: a client that is still sending may take a stream that ends under
/// it for a failure and never see why it was refused (RFC 9113, 8.1).
pub(crate) async fn drain<B>(body: &mut B)
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let mut left = DRAIN_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    if tokio::time::timeout(DRAIN_TIME, rest).await.is_err() {
        tracing::debug!("a refused client went on sending");
    }
}

/// The media type of a body, without parameters; empty when there is none. One with broken parameters is none that
/// anybody knows.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let sound = |parameter: &str| parameter.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
    let parameters = parameters.trim().trim_end_matches(';');
    let known = !media.trim().is_empty() && (parameters.is_empty() || parameters.split(';').all(sound));
    if known { media.trim() } else { text }
}

/// Parses an object of a kind. Beside it comes what the strict check goes by.
pub(crate) fn object(headers: &HeaderMap, body: &Bytes, kind: &str) -> Result<(Value, Source), Status> {
    let refuse = |cause: &str| unrecognized(kind, cause, body);
    let (mut value, duplicates) = parse(headers, body).map_err(|e| e.status(refuse))?;
    if let Some(cause) = no_object(&value) {
        return Err(Status::bad_request(refuse(&cause)));
    }
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    let source = match media_type(headers) {
        YAML => Source::Yaml(duplicates),
        PROTOBUF => Source::default(),
        _ => Source::Json(body.clone(), !duplicates.is_empty()),
    };
    Ok((value, source))
}

/// Parses a configuration to apply, which is YAML or, as clients send it, JSON; either has the lines of keys that it has
/// twice.
pub(crate) fn configuration(body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let parsed = parse_body(body, ContentType::Json)
        .map(|(value, duplicates)| (value, if duplicates.is_empty() { duplicates } else { duplicate_keys(body) }))
        .or_else(|_| parse_body(body, ContentType::Yaml));
    parsed.map_err(|e| Refusal::Decode(e).status(|cause| format!("error decoding YAML: {cause}")))
}

/// The `DeleteOptions` in a body; `None` for an empty body.
pub(crate) fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    let (mut value, _) = parse(headers, body).map_err(|e| e.status(str::to_owned))?;
    if let Some(cause) = no_object(&value) {
        return Err(Status::bad_request(cause));
    }
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    // Options have no version of their own: clients send those of the group that they delete from.
    if !matches!(text("kind"), "" | "DeleteOptions") {
        let version = if text("apiVersion").is_empty() { "v1" } else { text("apiVersion") };
        let kind = text("kind");
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme {OPTIONS_SCHEME:?}"
        )));
    }
    match Schema::builtin().decode(DELETE_OPTIONS, &mut value).errors.into_iter().next() {
        Some(error) => Err(Status::bad_request(error)),
        None => Ok(Some(value)),
    }
}

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// What Kubernetes calls the table of the types that options have.
const OPTIONS_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

/// Why a body is no object.
enum Refusal {
    MediaType,
    Decode(DecodeError),
}

impl Refusal {
    fn status(self, describe: impl Fn(&str) -> String) -> Status {
        match self {
            Self::MediaType => Status::unsupported_media_type(&[JSON, YAML, PROTOBUF]),
            Self::Decode(DecodeError::TooLarge) => Status::too_large(MAX_REQUEST_BODY),
            Self::Decode(other) => Status::bad_request(describe(&other.to_string())),
        }
    }
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<(Value, Vec<String>), Refusal> {
    let parsed = match media_type(headers) {
        "" | JSON => parse_body(body, ContentType::Json),
        YAML => parse_body(body, ContentType::Yaml),
        PROTOBUF => decode_protobuf(Schema::builtin(), body).map(|object| (object, Vec::new())),
        _ => return Err(Refusal::MediaType),
    };
    parsed.map_err(Refusal::Decode)
}
