//! Frames, in and out.

use bytes::{Buf, Bytes, BytesMut};

use super::headers::{Inflater, empty_block};

/// Most bytes of data given out at once, however long the frame they came in.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// Longest control frame. A header block of Kubernetes' clients has a few hundred bytes.
const MAX_CONTROL: usize = 16 * 1024;

const HEADER: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Headers of a stream, in order; names are in lower case.
pub(crate) type Headers = Vec<(String, String)>;

/// Why a connection cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Another protocol, or another version.
    #[error("not SPDY/3.1: version {0}")]
    Version(u16),
    /// A control frame is over the limit, or under what its type needs.
    #[error("a control frame of type {kind} has {length} bytes")]
    Length {
        /// Type.
        kind: u16,
        /// Announced length.
        length: usize,
    },
    /// The compressed headers are none.
    #[error("compressed headers cannot be inflated")]
    Compression,
    /// The inflated headers are none.
    #[error("malformed headers")]
    Headers,
}

/// A frame from a client. What a server need not know of (settings, window updates, later headers) is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream.
    SynStream {
        /// Its number: odd.
        stream: u32,
        /// The client sends nothing on it.
        fin: bool,
        /// Its headers.
        headers: Headers,
    },
    /// Some bytes.
    Data {
        /// The stream.
        stream: u32,
        /// At most [`MAX_PIECE`] bytes.
        bytes: Bytes,
        /// The client sends no more on it.
        fin: bool,
    },
    /// The client wants no more of a stream.
    Reset(u32),
    /// To be sent back as it is.
    Ping(u32),
    /// The client opens no more streams.
    GoAway,
}

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The client broke the protocol.
    Protocol,
    /// The stream is not wanted.
    Refused,
}

/// Cuts bytes into frames, and gives data out as it comes.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    data: Option<Pending>,
    inflater: Inflater,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    stream: u32,
    left: usize,
    fin: bool,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), data: None, inflater: Inflater::new() }
    }

    /// The buffer to append received bytes to. It holds an incomplete frame at most, if `next` was called until `None`.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, or `None` until more bytes have come.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use then.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(pending) = self.data {
                return Ok(self.piece(pending));
            }
            let Some([a, b, c, d, flags, length @ ..]) = self.buffer.first_chunk::<HEADER>().copied() else {
                return Ok(None);
            };
            let [e, f, g] = length.map(usize::from);
            let length = e << 16 | f << 8 | g;
            if a & 0x80 == 0 {
                self.buffer.advance(HEADER);
                self.data =
                    Some(Pending { stream: u32::from_be_bytes([a, b, c, d]), left: length, fin: flags & FIN != 0 });
                continue;
            }
            let version = u16::from_be_bytes([a & 0x7f, b]);
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            let kind = u16::from_be_bytes([c, d]);
            if length > MAX_CONTROL {
                return Err(FrameError::Length { kind, length });
            }
            if self.buffer.len() < HEADER + length {
                return Ok(None);
            }
            self.buffer.advance(HEADER);
            let payload = self.buffer.split_to(length);
            if let Some(frame) = self.control(kind, flags, &payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn piece(&mut self, pending: Pending) -> Option<Frame> {
        let take = pending.left.min(self.buffer.len()).min(MAX_PIECE);
        if take == 0 && pending.left > 0 {
            return None;
        }
        let left = pending.left - take;
        self.data = (left > 0).then_some(Pending { left, ..pending });
        let bytes = self.buffer.split_to(take).freeze();
        Some(Frame::Data { stream: pending.stream, bytes, fin: pending.fin && left == 0 })
    }

    fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) -> Result<Option<Frame>, FrameError> {
        let short = FrameError::Length { kind, length: payload.len() };
        let first = payload.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let number = || first.map(|n| n & 0x7fff_ffff).ok_or(short.clone());
        Ok(match kind {
            SYN_STREAM => {
                let block = payload.get(10..).ok_or(short.clone())?;
                let headers = self.inflater.block(block)?;
                Some(Frame::SynStream { stream: number()?, fin: flags & FIN != 0, headers })
            }
            // All header blocks belong to one compressed stream.
            SYN_REPLY | HEADERS => {
                self.inflater.block(payload.get(4..).ok_or(short)?)?;
                None
            }
            RST_STREAM => Some(Frame::Reset(number()?)),
            PING => Some(Frame::Ping(first.ok_or(short)?)),
            GOAWAY => Some(Frame::GoAway),
            _ => None,
        })
    }
}

fn control(kind: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = VERSION.to_be_bytes();
    let mut out = vec![0x80 | high, low];
    out.extend(kind.to_be_bytes());
    out.extend(u32::try_from(payload.len()).unwrap_or_default().to_be_bytes());
    out.extend(payload);
    out
}

/// The answer to [`Frame::SynStream`]; `first` where it is the first on its connection.
pub(super) fn reply(stream: u32, first: bool) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend(empty_block(first));
    control(SYN_REPLY, &payload)
}

/// The header of a data frame.
pub(super) fn data(stream: u32, length: usize, fin: bool) -> [u8; HEADER] {
    let [a, b, c, d] = stream.to_be_bytes();
    let [_, e, f, g] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    [a, b, c, d, u8::from(fin) * FIN, e, f, g]
}

/// Ends a stream at once.
pub(super) fn reset(stream: u32, why: Reset) -> Vec<u8> {
    let status: u32 = match why {
        Reset::Protocol => 1,
        Reset::Refused => 3,
    };
    control(RST_STREAM, &[stream.to_be_bytes(), status.to_be_bytes()].concat())
}

/// A ping's answer.
pub(super) fn ping(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

/// The server takes no more streams after `last`.
pub(super) fn go_away(last: u32) -> Vec<u8> {
    control(GOAWAY, &[last.to_be_bytes(), [0; 4]].concat())
}
