//! Frames, in and out.

use bytes::{Buf, Bytes, BytesMut};

/// Most bytes of a message given out at once, however long its frames are.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// Longest payload of a control frame, by the RFC.
const MAX_CONTROL: usize = 125;

/// Why a connection cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Clients must mask what they send.
    #[error("a frame is not masked")]
    Unmasked,
    /// A bit that only an extension gives a meaning.
    #[error("a frame has reserved bits set")]
    Reserved,
    /// No such opcode, or a continuation of nothing, or a message within a message.
    #[error("a frame of type {0} is out of place")]
    Opcode(u8),
    /// A control frame that is long or in pieces.
    #[error("a control frame is too long or fragmented")]
    Control,
    /// Longer than the RFC allows.
    #[error("a frame's length has its highest bit set")]
    Length,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// Text.
    Text,
    /// Bytes.
    Binary,
}

/// What comes from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A piece of a message.
    Piece {
        /// What the message is made of.
        opcode: Opcode,
        /// Whether the message begins here.
        first: bool,
        /// At most [`MAX_PIECE`] bytes.
        bytes: Bytes,
        /// Whether the message ends here.
        last: bool,
    },
    /// To be answered with the same content.
    Ping(Bytes),
    /// An answer, to be ignored.
    Pong,
    /// The client closes the connection.
    Close,
}

/// Cuts bytes into frames.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    payload: Option<Payload>,
    /// The message that further frames continue, and whether its first piece is still to come.
    message: Option<(Opcode, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Payload {
    left: u64,
    mask: [u8; 4],
    fin: bool,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), payload: None, message: None }
    }

    /// The buffer to append received bytes to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame or piece, or `None` until more bytes have come.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use then.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(payload) = self.payload {
                return Ok(self.piece(payload));
            }
            let Some(head) = Head::parse(&self.buffer)? else { return Ok(None) };
            if head.opcode >= 8 {
                let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                if !head.fin || length > MAX_CONTROL {
                    return Err(FrameError::Control);
                }
                if self.buffer.len() < head.size + length {
                    return Ok(None);
                }
                self.buffer.advance(head.size);
                let mut bytes = self.buffer.split_to(length);
                unmask(&mut bytes, head.mask);
                return head.control(bytes.freeze()).map(Some);
            }
            self.message = Some(match (head.opcode, self.message) {
                (0, Some(message)) => message,
                (1, None) => (Opcode::Text, true),
                (2, None) => (Opcode::Binary, true),
                (other, _) => return Err(FrameError::Opcode(other)),
            });
            self.buffer.advance(head.size);
            self.payload = Some(Payload { left: head.length, mask: head.mask, fin: head.fin });
        }
    }

    fn piece(&mut self, payload: Payload) -> Option<Frame> {
        let left = usize::try_from(payload.left).unwrap_or(usize::MAX);
        let take = left.min(self.buffer.len()).min(MAX_PIECE);
        if take == 0 && payload.left > 0 {
            return None;
        }
        let mut bytes = self.buffer.split_to(take);
        unmask(&mut bytes, payload.mask);
        let left = payload.left - take as u64;
        let mut mask = payload.mask;
        mask.rotate_left(take % 4);
        self.payload = (left > 0).then_some(Payload { left, mask, fin: payload.fin });
        let (opcode, first) = self.message.unwrap_or((Opcode::Binary, true));
        let last = payload.fin && left == 0;
        self.message = (!last).then_some((opcode, false));
        Some(Frame::Piece { opcode, first, bytes: bytes.freeze(), last })
    }
}

struct Head {
    fin: bool,
    opcode: u8,
    length: u64,
    mask: [u8; 4],
    /// Bytes of the head itself.
    size: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let (length, extra) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        let Some(mask) = rest.get(extra..).and_then(|m| m.first_chunk::<4>()) else { return Ok(None) };
        Ok(Some(Self { fin: first & 0x80 != 0, opcode: first & 0x0f, length, mask: *mask, size: 6 + extra }))
    }

    fn control(&self, bytes: Bytes) -> Result<Frame, FrameError> {
        match self.opcode {
            8 => Ok(Frame::Close),
            9 => Ok(Frame::Ping(bytes)),
            10 => Ok(Frame::Pong),
            other => Err(FrameError::Opcode(other)),
        }
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

fn head(opcode: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out
}

/// The head of a whole message.
pub(super) fn message(opcode: Opcode, length: usize) -> Vec<u8> {
    match opcode {
        Opcode::Text => head(1, length),
        Opcode::Binary => head(2, length),
    }
}

/// The answer to a ping.
pub(super) fn pong(bytes: &[u8]) -> Vec<u8> {
    [&head(10, bytes.len()), bytes].concat()
}

/// The end of the connection, in order.
pub(super) fn close() -> Vec<u8> {
    [head(8, 2), 1000_u16.to_be_bytes().to_vec()].concat()
}
