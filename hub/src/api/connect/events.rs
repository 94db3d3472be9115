//! Watches over WebSocket: one event a message, as text; and logs: their bytes as they come. What the client sends is
//! ignored.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::CONTENT_TYPE;
use tokio::io::{AsyncRead, AsyncWrite};

use super::handshake::Handshake;
use crate::api::respond::{self, Body};
use crate::api::router::Call;
use crate::api::status::Status;
use crate::api::websocket::{Opcode, Reader, Writer};

/// How messages carry what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A line a message, as text.
    Lines,
    /// Bytes as they come.
    Binary,
    /// Bytes as they come, as text in base64.
    Base64,
}

/// The subprotocols of logs.
const BYTES: &[(&str, Form)] = &[("binary.k8s.io", Form::Binary), ("base64.binary.k8s.io", Form::Base64)];

/// The answer with a log, as the client wants to have it.
///
/// # Errors
/// 400 for a handshake that cannot be accepted.
pub(crate) fn bytes(call: &Call, answer: Response<Body>) -> Result<Response<Body>, Status> {
    if !Handshake::is_websocket(&call.headers) {
        return Ok(answer);
    }
    match Handshake::read(call)?.websocket(BYTES, Some(Form::Binary))? {
        Some((accepted, form)) => Ok(accepted.serve(call, move |io| serve(io, answer.into_body(), form))),
        None => Ok(answer),
    }
}

/// The answer to a watch, whose events come as lines, as the client wants to have it.
///
/// # Errors
/// 400 for a handshake that cannot be accepted.
pub(crate) fn events(call: &Call, answer: Response<Body>) -> Result<Response<Body>, Status> {
    let lines = answer.headers().get(CONTENT_TYPE).is_some_and(|t| t == respond::JSON);
    if !lines || !Handshake::is_websocket(&call.headers) {
        return Ok(answer);
    }
    let handshake = Handshake::read(call)?;
    // There is no protocol but events: a client that names one, whatever it is, has it confirmed.
    let only: Vec<(&str, ())> = match handshake.protocols() {
        [only] => vec![(only, ())],
        _ => Vec::new(),
    };
    match handshake.websocket(&only, Some(()))? {
        Some((accepted, ())) => Ok(accepted.serve(call, move |io| serve(io, answer.into_body(), Form::Lines))),
        None => Ok(answer),
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static, body: Body, form: Form) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let mut reader = Reader::new(read, writer.clone());
    let gone = async { while let Ok(Some(_)) = reader.piece().await {} };
    tokio::select! {
        told = tell(body, &writer, form) => if let Err(error) = told {
            tracing::debug!(%error, "a watch or log over WebSocket broke");
        },
        () = gone => {}
    }
    // A client that is gone is told nothing.
    drop(writer.shutdown().await);
}

async fn tell(mut body: Body, writer: &Writer, form: Form) -> io::Result<()> {
    if form != Form::Lines {
        // Says that all is well before there is anything to tell.
        send(writer, form, b"").await?;
    }
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        message.extend_from_slice(&data);
        // An event has no line breaks but the one that ends it.
        if form != Form::Lines || message.ends_with(b"\n") {
            send(writer, form, &message).await?;
            message.clear();
        }
    }
    writer.close().await
}

async fn send(writer: &Writer, form: Form, message: &[u8]) -> io::Result<()> {
    match form {
        Form::Lines => writer.message(Opcode::Text, &[message]).await,
        Form::Binary => writer.message(Opcode::Binary, &[message]).await,
        Form::Base64 => writer.message(Opcode::Text, &[STANDARD.encode(message).as_bytes()]).await,
    }
}
