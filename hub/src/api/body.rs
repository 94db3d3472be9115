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

/// Parses an object that should be of this kind, and lists the fields that it names more than once.
pub(crate) fn object(kind: &str, headers: &HeaderMap, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    parse(headers, body, |error| unrecognized(kind, &error.to_string(), body))
}

/// The `DeleteOptions` in a body; `None` for an empty body.
pub(crate) fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    parse(headers, body, |error| format!("unable to decode DeleteOptions: {error}")).map(|(value, _)| Some(value))
}

fn parse(
    headers: &HeaderMap,
    body: &[u8],
    refusal: impl FnOnce(DecodeError) -> String,
) -> Result<(Value, Vec<String>), Status> {
    let content_type = match media_type(headers) {
        "" | "application/json" => ContentType::Json,
        "application/yaml" => ContentType::Yaml,
        _ => return Err(Status::unsupported_media_type(&["application/json", "application/yaml"])),
    };
    parse_body(body, content_type).map_err(|error| match error {
        DecodeError::TooLarge => Status::too_large(MAX_REQUEST_BODY),
        error @ (DecodeError::Json { .. } | DecodeError::Yaml { .. }) => Status::bad_request(refusal(error)),
    })
}
