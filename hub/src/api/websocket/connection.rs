//! The two halves of a connection, and its handshake's key.

use std::fmt;
use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use super::frame::{self, Decoder, Frame, MAX_PIECE, Opcode};

/// What a server proves with that it speaks the protocol.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// Reads messages and answers pings.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: R,
    decoder: Decoder,
    writer: Writer,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R, writer: Writer) -> Self {
        Self { stream, decoder: Decoder::new(), writer }
    }

    /// The next piece of a message: what it is made of, whether it begins and ends there, and its bytes. `None` at the
    /// connection's end.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<(Opcode, bool, bool, bytes::Bytes)>> {
        loop {
            match self.decoder.frame().map_err(io::Error::other)? {
                Some(Frame::Piece { opcode, first, bytes, last }) => return Ok(Some((opcode, first, last, bytes))),
                Some(Frame::Ping(bytes)) => self.writer.pong(&bytes).await?,
                Some(Frame::Pong) => {}
                Some(Frame::Close) => return Ok(None),
                None => {
                    let buffer = self.decoder.buffer();
                    buffer.reserve(MAX_PIECE);
                    if self.stream.read_buf(buffer).await? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// Writes messages, from several tasks; each waits until the connection takes its own.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<Box<dyn AsyncWrite + Send + Unpin>>>);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(crate) fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(stream))))
    }

    /// Sends a message that consists of `parts`.
    pub(crate) async fn message(&self, opcode: Opcode, parts: &[&[u8]]) -> io::Result<()> {
        let length = parts.iter().map(|p| p.len()).sum();
        let mut bytes = frame::message(opcode, length);
        bytes.extend(parts.concat());
        self.write(&bytes).await
    }

    async fn pong(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(&frame::pong(bytes)).await
    }

    /// Says goodbye; the client is to answer.
    pub(crate) async fn close(&self) -> io::Result<()> {
        self.write(&frame::close()).await
    }

    /// Ends this side.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        self.0.lock().await.shutdown().await
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.0.lock().await;
        stream.write_all(bytes).await?;
        stream.flush().await
    }
}
