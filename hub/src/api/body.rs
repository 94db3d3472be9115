//! Request bodies: read within their limit, and parsed from JSON or YAML.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::status::Status;
use crate::objects::FieldValidation;
use crate::registry::Kind;

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

/// Parses an object, and lists what strict clients want to hear of (duplicate fields).
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<(Value, Vec<String>), Parse> {
    match media_type(headers) {
        "" | "application/json" => serde_json::from_slice(body)
            .map(|v| (v, Vec::new()))
            .map_err(|e| Parse::Syntax(format!("json parse error: {e}"))),
        "application/yaml" => serde_saphyr::from_slice(body)
            .map(|v| (v, Vec::new()))
            .map_err(|e| Parse::Syntax(format!("yaml parse error: {e}"))),
        _ => Err(Parse::MediaType),
    }
}

/// Why a body is no object.
#[derive(Debug)]
pub(crate) enum Parse {
    /// Neither JSON nor YAML by its content type.
    MediaType,
    /// Not what its content type says.
    Syntax(String),
}

impl Parse {
    fn status(self, subject: &str) -> Status {
        match self {
            Self::MediaType => Status::unsupported_media_type(&["application/json", "application/yaml"]),
            Self::Syntax(why) => Status::bad_request(format!("{subject}: couldn't get version/kind; {why}")),
        }
    }
}

/// The object of a create or update, and the warnings its reading gives.
pub(crate) fn object(
    headers: &HeaderMap,
    body: &[u8],
    kind: &Kind,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let (value, notes) = parse(headers, body)
        .map_err(|e| e.status(&format!("the object provided is unrecognized (must be of type {})", kind.kind)))?;
    match validation {
        FieldValidation::Strict if !notes.is_empty() => {
            let (kind, version, notes) = (kind.kind, kind.version, notes.join(", "));
            Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {notes}"
            )))
        }
        FieldValidation::Strict | FieldValidation::Warn => Ok((value, notes)),
        FieldValidation::Ignore => Ok((value, Vec::new())),
    }
}

/// The `DeleteOptions` in a body; `None` for an empty body.
pub(crate) fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    parse(headers, body).map(|(value, _)| Some(value)).map_err(|e| e.status("unable to decode DeleteOptions"))
}
