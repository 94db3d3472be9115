//! Frames: `u32` length, `u16` kind (both big-endian), then so many bytes of payload.
//!
//! The payload is a whole message enum in postcard. The kind is the enum's base plus the variant's number, so that a
//! peer of an older release skips a variant it does not know by its length instead of failing on it.
//! Lengths are checked before anything is allocated, and a big frame never takes more memory than has arrived.

use ring::digest::{SHA256, digest as sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stream::{StreamReply, StreamRequest};
use super::{Digest, ToAgent, ToHub};
use crate::ids::PodUid;
use crate::limits::MAX_FRAME;
use crate::pod::ItemKey;
use crate::report::{NodeReport, PodReport};

/// Bytes before the payload.
pub const HEADER: usize = 6;

/// Largest frame of a peer that has not proved who it is: a token, a name and a signing request fit many times.
pub const MAX_JOIN_FRAME: usize = 16 * 1024;

/// Why a frame is refused. The connection it came on is then closed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over the limit.
    #[error("frame {frame} of {length} bytes is longer than the {max} bytes allowed")]
    TooLong {
        /// Name of the frame.
        frame: String,
        /// Length it claims.
        length: usize,
        /// Limit on this stream.
        max: usize,
    },
    /// The payload is not the message that the kind promises.
    #[error("frame {frame} is malformed")]
    Malformed {
        /// Name of the frame.
        frame: &'static str,
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
    /// Bytes follow the message inside its frame, or the kind names another variant.
    #[error("frame {frame} does not hold exactly one message of its kind")]
    Mismatched {
        /// Name of the frame.
        frame: &'static str,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within frame {frame}")]
    Truncated {
        /// Name of the frame.
        frame: String,
    },
    /// The message does not fit into a frame, or cannot be encoded.
    #[error("message {frame} cannot be sent as a frame")]
    Unsendable {
        /// Name of the frame.
        frame: &'static str,
    },
}

/// A message enum that travels in frames.
pub trait Message: Serialize + DeserializeOwned {
    /// Kind of the first variant; the others follow in order.
    const BASE: u16;
    /// Names of the variants, in order. Append-only, as the enum itself.
    const VARIANTS: &'static [&'static str];
}

impl Message for ToHub {
    const BASE: u16 = 0x0100;
    const VARIANTS: &'static [&'static str] = &[
        "Join",
        "Hello",
        "Inventory",
        "Node",
        "Pod",
        "PodForgotten",
        "Events",
        "Applied",
        "Renew",
        "TokenRequest",
        "PodResources",
    ];
}

impl Message for ToAgent {
    const BASE: u16 = 0x0200;
    const VARIANTS: &'static [&'static str] =
        &["Joined", "Refused", "Welcome", "SendInventory", "SendReports", "Change", "EventsStored", "Renewed", "Token"];
}

impl Message for StreamRequest {
    const BASE: u16 = 0x0300;
    const VARIANTS: &'static [&'static str] = &["Logs", "Exec", "Attach", "PortForward", "Dial", "Node"];
}

impl Message for StreamReply {
    const BASE: u16 = 0x0400;
    const VARIANTS: &'static [&'static str] = &["Ok", "BadRequest", "Failed"];
}

/// Name of a kind, for errors: the variant's name, or its number where this release does not know it.
fn name_of<M: Message>(kind: u16) -> Option<&'static str> {
    kind.checked_sub(M::BASE).and_then(|i| M::VARIANTS.get(usize::from(i))).copied()
}

fn described<M: Message>(kind: u16) -> String {
    name_of::<M>(kind).map_or_else(|| format!("{kind:#06x}"), str::to_owned)
}

/// Encodes a message as one frame.
///
/// # Errors
/// [`FrameError::Unsendable`] when it is larger than [`MAX_FRAME`].
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let bytes =
        postcard::to_extend(message, vec![0; HEADER]).map_err(|_| FrameError::Unsendable { frame: M::VARIANTS[0] })?;
    // All enums here have fewer than 128 variants, so that the variant's number is the first byte.
    let variant = u16::from(bytes.get(HEADER).copied().unwrap_or_default());
    let frame = M::VARIANTS.get(usize::from(variant)).copied().unwrap_or("unnamed");
    let length = bytes.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::Unsendable { frame });
    }
    let mut bytes = bytes;
    let header = u32::try_from(length).map_err(|_| FrameError::Unsendable { frame })?;
    bytes[..4].copy_from_slice(&header.to_be_bytes());
    bytes[4..HEADER].copy_from_slice(&(M::BASE + variant).to_be_bytes());
    Ok(bytes)
}

/// A frame's header, checked against the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload.
    pub length: usize,
    /// Kind.
    pub kind: u16,
}

impl Header {
    /// Reads a header and checks its length.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub fn parse<M: Message>(bytes: [u8; HEADER], max: usize) -> Result<Self, FrameError> {
        let [a, b, c, d, k, l] = bytes;
        let header = Self { length: u32::from_be_bytes([a, b, c, d]) as usize, kind: u16::from_be_bytes([k, l]) };
        if header.length > max {
            return Err(FrameError::TooLong { frame: described::<M>(header.kind), length: header.length, max });
        }
        Ok(header)
    }
}

/// Decodes a payload; `None` for a kind that this release does not know.
///
/// # Errors
/// [`FrameError::Malformed`] or [`FrameError::Mismatched`].
pub fn decode<M: Message>(kind: u16, payload: &[u8]) -> Result<Option<M>, FrameError> {
    let Some(frame) = name_of::<M>(kind) else { return Ok(None) };
    if payload.first().copied().map(u16::from) != Some(kind - M::BASE) {
        return Err(FrameError::Mismatched { frame });
    }
    let (message, rest) =
        postcard::take_from_bytes(payload).map_err(|source| FrameError::Malformed { frame, source })?;
    if rest.is_empty() { Ok(Some(message)) } else { Err(FrameError::Mismatched { frame }) }
}

/// Cuts a stream of bytes into messages. It holds what has arrived of the frame that is not complete yet.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    skip: usize,
    max: usize,
}

impl Decoder {
    /// A decoder that refuses frames longer than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, skip: 0, max }
    }

    /// Raises or lowers the limit for the frames to come.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The buffer to append received bytes to, with room for a chunk no larger than what has arrived (1 to 64 KiB).
    pub fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let room = self.buffer.len().clamp(1024, 64 * 1024);
        if self.buffer.is_empty() && self.buffer.capacity() > 64 * 1024 {
            self.buffer = Vec::new();
        }
        self.buffer.reserve_exact(room);
        &mut self.buffer
    }

    /// The next complete message, or `None` until more bytes have arrived. Frames of unknown kinds are passed over.
    ///
    /// # Errors
    /// [`FrameError`]; the decoder is of no use afterwards.
    pub fn message<M: Message>(&mut self) -> Result<Option<M>, FrameError> {
        loop {
            self.pass_over();
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let Some((header, payload)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
            let header = Header::parse::<M>(*header, self.max)?;
            if name_of::<M>(header.kind).is_none() {
                self.start += HEADER;
                self.skip = header.length;
                continue;
            }
            let Some(payload) = payload.get(..header.length) else { return Ok(None) };
            let message = decode(header.kind, payload)?;
            self.start += HEADER + header.length;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// What the end of the stream means here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when a frame is not complete.
    pub fn finish<M: Message>(&self) -> Result<(), FrameError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        if rest.is_empty() && self.skip == 0 {
            return Ok(());
        }
        let frame = rest.get(4..HEADER).and_then(|k| k.try_into().ok()).map(u16::from_be_bytes);
        Err(FrameError::Truncated { frame: frame.map_or_else(|| "header".to_owned(), described::<M>) })
    }

    fn pass_over(&mut self) {
        let n = self.skip.min(self.buffer.len() - self.start);
        self.start += n;
        self.skip -= n;
    }
}

/// The digest of a value: the first half of the SHA-256 of its encoding.
pub fn digest<T: Serialize>(value: &T) -> Digest {
    // Encoding into a growing buffer fails only for types postcard cannot carry; ours are carried by the golden tests.
    let bytes = postcard::to_stdvec(value).unwrap_or_default();
    let mut half = [0; 16];
    half.copy_from_slice(&sha256(&SHA256, &bytes).as_ref()[..16]);
    Digest(half)
}

/// The digest of an inventory of desired items. The items must come sorted by key, as a `BTreeMap` yields them.
pub fn inventory_digest<'a>(items: impl IntoIterator<Item = (&'a ItemKey, Digest)>) -> Digest {
    digest(&items.into_iter().collect::<Vec<_>>())
}

/// The digest of everything a node reports. The pods must come sorted by uid.
pub fn reported_digest<'a>(
    node: Option<&NodeReport>,
    pods: impl IntoIterator<Item = (&'a PodUid, &'a PodReport)>,
) -> Digest {
    let pods: Vec<_> = pods.into_iter().map(|(uid, report)| (uid, report_digest(report))).collect();
    digest(&(node.map(digest), pods))
}

/// The digest of a pod's report, with the resources that its own encoding leaves out.
pub fn report_digest(report: &PodReport) -> Digest {
    if report.resources.is_empty() { digest(report) } else { digest(&(report, &report.resources)) }
}

#[cfg(test)]
mod tests;
