//! Request bodies: read within their limit, and parsed from JSON or YAML.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::status::Status;
use crate::registry::schema::{ContentType, DecodeError, parse_body, unrecognized};

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

/// The media type of a body, without parameters; empty when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Parses an object of a kind, and lists the fields that it names more than once.
pub(crate) fn object(headers: &HeaderMap, body: &[u8], kind: &str) -> Result<(Value, Vec<String>), Status> {
    parse(headers, body).map_err(|e| e.status(|cause| unrecognized(kind, cause, body)))
}

/// Parses a configuration to apply, which is YAML or, as clients send it, JSON; and lists the fields that it names
/// more than once.
pub(crate) fn configuration(body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let parsed = parse_body(body, ContentType::Json).or_else(|_| parse_body(body, ContentType::Yaml));
    parsed.map_err(|e| match e {
        DecodeError::TooLarge => Status::too_large(MAX_REQUEST_BODY),
        e @ (DecodeError::Json { .. } | DecodeError::Yaml { .. }) => {
            Status::bad_request(format!("error decoding YAML: {e}"))
        }
    })
}

/// The `DeleteOptions` in a body; `None` for an empty body.
pub(crate) fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    parse(headers, body).map(|(value, _)| Some(value)).map_err(|e| e.status(str::to_owned))
}

/// Why a body is no object.
enum Refusal {
    MediaType,
    Decode(DecodeError),
}

impl Refusal {
    fn status(self, describe: impl Fn(&str) -> String) -> Status {
        match self {
            Self::MediaType => Status::unsupported_media_type(&["application/json", "application/yaml"]),
            Self::Decode(DecodeError::TooLarge) => Status::too_large(MAX_REQUEST_BODY),
            Self::Decode(e @ (DecodeError::Json { .. } | DecodeError::Yaml { .. })) => {
                Status::bad_request(describe(&e.to_string()))
            }
        }
    }
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<(Value, Vec<String>), Refusal> {
    let content_type = match media_type(headers) {
        "" | "application/json" => ContentType::Json,
        "application/yaml" => ContentType::Yaml,
        _ => return Err(Refusal::MediaType),
    };
    parse_body(body, content_type).map_err(Refusal::Decode)
}
