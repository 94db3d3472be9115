//! Watches over WebSocket: one event a message, as text. What the client sends is ignored.

use std::io;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::CONTENT_TYPE;
use tokio::io::{AsyncRead, AsyncWrite};

use super::handshake::Handshake;
use crate::api::respond::{self, Body};
use crate::api::router::Call;
use crate::api::status::Status;
use crate::api::websocket::{Opcode, Reader, Writer};

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
        Some((accepted, ())) => Ok(accepted.serve(call, move |io| serve(io, answer.into_body()))),
        None => Ok(answer),
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static, body: Body) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let mut reader = Reader::new(read, writer.clone());
    let gone = async { while let Ok(Some(_)) = reader.piece().await {} };
    tokio::select! {
        told = tell(body, &writer) => if let Err(error) = told {
            tracing::debug!(%error, "a watch over WebSocket broke");
        },
        () = gone => {}
    }
    // A client that is gone is told nothing.
    drop(writer.shutdown().await);
}

async fn tell(mut body: Body, writer: &Writer) -> io::Result<()> {
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        message.extend_from_slice(&data);
        // An event has no line breaks but the one that ends it.
        if message.ends_with(b"\n") {
            writer.message(Opcode::Text, &[&message]).await?;
            message.clear();
        }
    }
    writer.close().await
}
