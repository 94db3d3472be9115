//! Answers: their bodies and headers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::negotiate::{Format, Negotiated};
use super::status::Status;
use crate::registry::schema::{Schema, encode_protobuf};

/// The body of every answer. An error in it only cuts the connection or stream.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The media type of JSON answers.
pub(crate) const JSON: &str = "application/json";
/// The media type of YAML answers.
pub(crate) const YAML: &str = "application/yaml";
/// The media type of protobuf answers.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The media type of watches in protobuf.
pub(crate) const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// The media type of plain text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of logs: they are bytes of no known charset.
pub(crate) const LOG: &str = "text/plain";

/// Answers smaller than this are not compressed: apiserver's threshold, below which gzip costs more than it saves.
pub(crate) const GZIP_FROM: usize = 128 * 1024;

/// An answer of bytes that are there already.
pub(crate) fn bytes(code: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    with_body(code, content_type, full(body))
}

/// A body of bytes that are there already.
pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An answer that comes in pieces.
pub(crate) fn streamed(
    content_type: &str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    with_body(200, content_type, StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

fn with_body(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, CONTENT_TYPE, content_type);
    // As apiserver: answers are one user's and are never to be stored.
    set(&mut response, CACHE_CONTROL, "no-cache, private");
    response
}

/// Sets a header; a value that is no header value is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A refusal.
pub(crate) fn refusal(status: &Status) -> Response<Body> {
    refusal_as(Format::Json, status)
}

/// A refusal in the encoding that the client takes.
pub(crate) fn refusal_as(format: Format, status: &Status) -> Response<Body> {
    let (content_type, body) = encoded(format, status.to_json().into());
    let mut response = bytes(status.code, content_type, body);
    if let Some(seconds) = status.retry_after() {
        set(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    response
}

/// One JSON value, in the form the client wants.
pub(crate) fn json(code: u16, form: &Negotiated, body: Bytes) -> Response<Body> {
    let (content_type, body) = if form.pretty && form.format == Format::Json {
        (JSON, reformat(&body, |v| serde_json::to_vec_pretty(v).ok()))
    } else {
        encoded(form.format, body)
    };
    if form.gzip && body.len() > GZIP_FROM {
        return compressed(code, content_type, &body);
    }
    bytes(code, content_type, body)
}

/// A JSON value in another encoding, and that encoding's media type.
pub(crate) fn encoded(format: Format, body: Bytes) -> (&'static str, Bytes) {
    match format {
        Format::Json => (JSON, body),
        Format::Yaml => (YAML, reformat(&body, yaml)),
        Format::Protobuf => {
            let value = serde_json::from_slice(&body).ok();
            match value.and_then(|value| encode_protobuf(Schema::builtin(), &value)) {
                Some(message) => (PROTOBUF, message.into()),
                // Only what has a protobuf form is offered in it.
                None => (JSON, body),
            }
        }
    }
}

fn yaml(value: &Value) -> Option<Vec<u8>> {
    serde_saphyr::to_string(value).ok().map(String::into_bytes)
}

fn reformat(body: &Bytes, write: impl Fn(&Value) -> Option<Vec<u8>>) -> Bytes {
    // What cannot be written otherwise stays JSON, which is YAML too.
    serde_json::from_slice(body).ok().and_then(|value| write(&value)).map_or_else(|| body.clone(), Bytes::from)
}

fn compressed(code: u16, content_type: &str, body: &[u8]) -> Response<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let done = encoder.write_all(body).and_then(|()| encoder.finish());
    match done {
        Ok(small) => {
            let mut response = bytes(code, content_type, small);
            mark_gzip(&mut response);
            response
        }
        Err(_) => bytes(code, content_type, Bytes::copy_from_slice(body)),
    }
}

fn mark_gzip(response: &mut Response<Body>) {
    set(response, CONTENT_ENCODING, "gzip");
    set(response, VARY, "Accept-Encoding");
}

/// A streamed answer, compressed on the way.
pub(crate) fn gzipped(
    content_type: &str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
) -> Response<Body> {
    let state = Some((pieces, GzEncoder::new(Vec::new(), Compression::fast())));
    let stream = stream::try_unfold(state, async |state| {
        let Some((mut pieces, mut encoder)) = state else { return Ok(None) };
        while let Some(piece) = pieces.next().await {
            encoder.write_all(&piece?)?;
            if !encoder.get_ref().is_empty() {
                let out = Bytes::from(std::mem::take(encoder.get_mut()));
                return Ok(Some((out, Some((pieces, encoder)))));
            }
        }
        Ok(Some((Bytes::from(encoder.finish()?), None)))
    });
    let mut response = streamed(content_type, stream);
    mark_gzip(&mut response);
    response
}

/// The head of an answer, for HEAD. HTTP/2 has nothing else that would keep the body back.
pub(crate) fn head_only(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        set(&mut response, CONTENT_LENGTH, &length.to_string());
    }
    response.map(|_| full(Bytes::new()))
}

/// Most characters that the warnings of an answer have together before each is cut: clients bound the head of an answer.
const WARNED_CHARACTERS: usize = 4 * 1024;
/// What a warning is cut to.
const CUT_CHARACTERS: usize = 256;

/// Adds `Warning` headers, each text once, and no more than clients take.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for text in bounded(warnings) {
        let escaped: String = text
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// The warnings that are told, as far as they are.
fn bounded(warnings: &[String]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let texts = warnings.iter().map(String::as_str).filter(|text| !text.is_empty() && seen.insert(*text));
    let texts: Vec<&str> = texts.collect();
    if texts.iter().map(|text| text.chars().count()).sum::<usize>() <= WARNED_CHARACTERS {
        return texts;
    }
    let mut told = 0;
    let fits = |text: &&str| {
        let room = told < WARNED_CHARACTERS;
        told += text.chars().count();
        room
    };
    texts.into_iter().map(cut).take_while(fits).collect()
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(CUT_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_once_and_bounded() {
        let strings = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(bounded(&strings(&["a", "", "b", "a"])), ["a", "b"]);
        let (long, short) = ("é".repeat(4096), "x".repeat(300));
        assert_eq!(bounded(&strings(&[&long])), [long.as_str()]);
        assert_eq!(bounded(&strings(&[&long, "y", &short])), ["é".repeat(256).as_str(), "y", &short[..256]]);
        let many: Vec<String> = (0..10_000).map(|n| format!("unknown field \"{n:0>300}\"")).collect();
        let told = bounded(&many);
        assert_eq!(told.len(), 16);
        assert!(told.iter().all(|text| text.len() == 256));
    }

    #[test]
    fn warnings_are_quoted() {
        let mut response = bytes(200, JSON, "{}");
        warn(&mut response, &["unknown field \"spec.x\"\n".to_owned(), "second".to_owned()]);
        let values: Vec<_> = response.headers().get_all(WARNING).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(values, [r#"299 - "unknown field \"spec.x\"""#, r#"299 - "second""#]);
    }
}
