//! Frames over asynchronous byte streams.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::frame::{Decoder, FrameError, HEADER, Header, Message, decode, encode};
use crate::wire::stream::channel::{self, CHUNK_HEADER, Channel, MAX_CHUNK};

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameIoError {
    /// The peer broke the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream or its connection broke.
    #[error("the stream broke")]
    Io(#[source] io::Error),
    /// The peer ended the stream where a frame was due.
    #[error("the peer ended the stream")]
    Ended,
}

/// Reads messages from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of at most `max` bytes.
    pub fn new(stream: R, max: usize) -> Self {
        Self { stream, decoder: Decoder::new(max) }
    }

    /// Changes the limit for the frames to come.
    pub fn set_max(&mut self, max: usize) {
        self.decoder.set_max(max);
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// Cancel-safe: bytes go straight into the reader's buffer, so that a dropped call loses nothing.
    ///
    /// # Errors
    /// [`FrameIoError`]; the reader is of no use afterwards.
    pub async fn read<M: Message>(&mut self) -> Result<Option<M>, FrameIoError> {
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(Some(message));
            }
            if self.stream.read_buf(self.decoder.room()).await.map_err(FrameIoError::Io)? == 0 {
                self.decoder.finish::<M>()?;
                return Ok(None);
            }
        }
    }
}

/// Reads one message and not a byte more, so that raw bytes may follow it on the stream.
///
/// Not cancel-safe: a dropped call leaves the stream within the frame. Unknown kinds count as malformed here, since
/// nobody waits for a second frame.
///
/// # Errors
/// [`FrameIoError`].
pub async fn read_one<M: Message>(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<M, FrameIoError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await.map_err(ended)?;
    let header = Header::parse::<M>(header, max)?;
    let mut payload = Vec::new();
    let read = stream.take(header.length as u64).read_to_end(&mut payload).await.map_err(FrameIoError::Io)?;
    if read < header.length {
        return Err(FrameIoError::Ended);
    }
    decode(header.kind, &payload)?.ok_or(FrameIoError::Frame(FrameError::Mismatched { frame: "unknown" }))
}

/// Writes one message.
///
/// Not cancel-safe: a dropped call leaves the stream within the frame. Give each stream one writer that finishes.
///
/// # Errors
/// [`FrameIoError`].
pub async fn write<M: Message>(stream: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), FrameIoError> {
    stream.write_all(&encode(message)?).await.map_err(FrameIoError::Io)
}

/// Reads one chunk of an exec or attach stream into `buffer`; `None` at the end of the stream.
///
/// Not cancel-safe: a dropped call leaves the stream within the chunk.
///
/// # Errors
/// When the stream breaks, or carries something else.
pub async fn read_chunk(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<Option<Channel>, io::Error> {
    let mut header = [0; CHUNK_HEADER];
    match stream.read_exact(&mut header).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let (channel, length) = channel::parse_header(header).map_err(io::Error::other)?;
    buffer.resize(length, 0);
    stream.read_exact(buffer).await?;
    Ok(Some(channel))
}

/// Writes bytes as chunks of a channel; no bytes are one empty chunk. Waits for the reader.
///
/// # Errors
/// When the stream breaks.
pub async fn write_chunks(
    stream: &mut (impl AsyncWrite + Unpin),
    channel: Channel,
    bytes: &[u8],
) -> Result<(), io::Error> {
    let mut rest = bytes;
    let mut chunk = Vec::with_capacity(CHUNK_HEADER + rest.len().min(MAX_CHUNK));
    loop {
        chunk.clear();
        rest = channel::encode(channel, rest, &mut chunk);
        stream.write_all(&chunk).await?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn ended(error: io::Error) -> FrameIoError {
    if error.kind() == io::ErrorKind::UnexpectedEof { FrameIoError::Ended } else { FrameIoError::Io(error) }
}
