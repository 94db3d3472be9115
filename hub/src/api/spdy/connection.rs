//! The two halves of a connection.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use super::frame::{self, Decoder, Frame, MAX_PIECE, Reset};

/// Reads frames. Pings are answered by who reads.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: R,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, decoder: Decoder::new() }
    }

    /// The next frame; `None` at the connection's end. Cancel safe.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            let buffer = self.decoder.buffer();
            buffer.reserve(MAX_PIECE);
            if self.stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Writes frames, from several tasks; each waits until the connection takes its own.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<Half>>);

struct Half {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    replied: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(crate) fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Arc::new(Mutex::new(Half { stream: Box::new(stream), replied: false })))
    }

    /// Accepts a stream.
    pub(crate) async fn reply(&self, stream: u32) -> io::Result<()> {
        let mut half = self.0.lock().await;
        let first = !std::mem::replace(&mut half.replied, true);
        half.write(&[&frame::reply(stream, first)]).await
    }

    /// Sends bytes on a stream, and its end where `fin`.
    pub(crate) async fn data(&self, stream: u32, bytes: &[u8], fin: bool) -> io::Result<()> {
        self.0.lock().await.write(&[&frame::data(stream, bytes.len(), fin), bytes]).await
    }

    /// Ends a stream at once.
    pub(crate) async fn reset(&self, stream: u32, why: Reset) -> io::Result<()> {
        self.0.lock().await.write(&[&frame::reset(stream, why)]).await
    }

    /// Answers a ping.
    pub(crate) async fn pong(&self, id: u32) -> io::Result<()> {
        self.0.lock().await.write(&[&frame::ping(id)]).await
    }

    /// Says goodbye and ends this side.
    pub(crate) async fn close(&self, last: u32) -> io::Result<()> {
        let mut half = self.0.lock().await;
        half.write(&[&frame::go_away(last)]).await?;
        half.stream.shutdown().await
    }
}

impl Half {
    async fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            self.stream.write_all(part).await?;
        }
        self.stream.flush().await
    }
}
