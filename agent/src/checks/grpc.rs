//! The standard gRPC health service (`grpc.health.v1.Health/Check`), asked without TLS.

use std::time::Duration;

use hyper::body::{Bytes, HttpBody};
use hyper::client::conn;
use hyper::{Body, HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Agent, Answer, MAX_ANSWER, authority, dial_error};

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`; its names are in order of their numbers.
const STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: usize = 1;
/// `UNIMPLEMENTED` among gRPC's codes.
const UNIMPLEMENTED: &str = "12";

/// Asks for the health of a service.
pub(super) async fn run(host: &str, port: u16, service: &str, within: Duration) -> Answer {
    match timeout(within, check(host, port, service)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::Bad(why),
        Err(_) => Answer::Bad(format!(
            "timeout: failed to connect service {:?} within {}s: context deadline exceeded",
            authority(host, port),
            within.as_secs()
        )),
    }
}

async fn check(host: &str, port: u16, service: &str) -> Result<Answer, String> {
    let failed = |error: hyper::Error| format!("error: health rpc probe failed: {error}");
    let connected = TcpStream::connect((host, port)).await;
    let stream = connected.map_err(|error| {
        let why = dial_error(host, port, &error);
        format!("error: failed to connect service {:?}: {why}", authority(host, port))
    })?;
    let (mut sender, connection) = conn::Builder::new().http2_only(true).handshake(stream).await.map_err(failed)?;
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post(format!("http://{}/grpc.health.v1.Health/Check", authority(host, port)))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", Agent::Probe.name())
        .body(Body::from(message(service)))
        .map_err(|error| format!("error: health rpc probe failed: {error}"))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if let Some(refused) = refusal(response.headers()) {
        return Ok(refused);
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk: Bytes = chunk.map_err(failed)?;
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err("error: health rpc probe failed: the answer is too long".to_owned());
        }
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(failed)?;
    Ok(trailers.as_ref().and_then(refusal).unwrap_or_else(|| judge(&bytes)))
}

/// What a status other than OK says.
fn refusal(headers: &HeaderMap) -> Option<Answer> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").filter(|code| *code != "0")?;
    let message = text("grpc-message").unwrap_or_default();
    Some(Answer::Bad(if code == UNIMPLEMENTED {
        format!("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}")
    } else {
        format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")
    }))
}

/// `HealthCheckRequest` in gRPC's framing: a flag, a length, then field 1 as text.
fn message(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        field.push(0x0a);
        put_varint(&mut field, service.len());
        field.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &field].concat()
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

/// The status of a `HealthCheckResponse` in gRPC's framing; a missing field is 0.
fn judge(bytes: &[u8]) -> Answer {
    let status = match bytes.get(5..) {
        Some([0x08, status, ..]) => usize::from(*status),
        Some([]) => 0,
        Some(_) | None => return Answer::Bad("error: health rpc probe failed: bad answer".to_owned()),
    };
    if status == SERVING {
        return Answer::Good;
    }
    let name = STATUS.get(status).copied().unwrap_or("UNKNOWN");
    Answer::Bad(format!("service unhealthy (responded with {name:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_answers_read() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let unhealthy = |name: &str| Answer::Bad(format!("service unhealthy (responded with \"{name}\")"));
        for (bytes, answer) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Answer::Good),
            (&[0, 0, 0, 0, 2, 8, 2], unhealthy("NOT_SERVING")),
            (&[0, 0, 0, 0, 0], unhealthy("UNKNOWN")),
            (&[0, 0], Answer::Bad("error: health rpc probe failed: bad answer".into())),
        ] {
            assert_eq!(judge(bytes), answer, "{bytes:?}");
        }
    }
}
