//! Channels of an exec or attach stream: `u8` channel, `u16` length (big-endian), then so many bytes.
//!
//! Lengths are bounded by their type and [`MAX_CHUNK`], so that neither side ever holds more than one chunk of the
//! other's.

use serde::{Deserialize, Serialize};

/// Bytes before a chunk.
pub const CHUNK_HEADER: usize = 3;

/// Most bytes in one chunk: a pipe's worth would be 64 KiB; less lets several streams share the link's small windows.
pub const MAX_CHUNK: usize = 16 * 1024;

/// What a chunk is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Input; an empty chunk is its end.
    Stdin,
    /// Output.
    Stdout,
    /// Error output.
    Stderr,
    /// The end of the command: an [`End`] in postcard, and the last chunk of the agent's side.
    End,
    /// The size of the client's terminal: columns and rows, `u16` each, big-endian.
    Resize,
}

/// How a command or an attachment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The command ran and ended with this code. An attachment ends with 0.
    Exited(i32),
    /// It could not be run, or was lost; the text is for the API's user.
    Failed(String),
}

/// Why a chunk is refused. The stream is of no use afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad chunk: channel {channel}, {length} bytes")]
pub struct BadChunk {
    /// The channel's number.
    pub channel: u8,
    /// The announced length.
    pub length: usize,
}

impl Channel {
    const ALL: [Self; 5] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::End, Self::Resize];

    fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::End => 3,
            Self::Resize => 4,
        }
    }
}

/// Appends a chunk to `out`. Of `bytes` at most [`MAX_CHUNK`] are taken; the rest is returned.
pub fn encode<'a>(channel: Channel, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (chunk, rest) = bytes.split_at(bytes.len().min(MAX_CHUNK));
    out.push(channel.number());
    out.extend(u16::try_from(chunk.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(chunk);
    rest
}

/// Reads a chunk's header.
///
/// # Errors
/// [`BadChunk`] for an unknown channel or too great a length.
pub fn parse_header(header: [u8; CHUNK_HEADER]) -> Result<(Channel, usize), BadChunk> {
    let [channel, a, b] = header;
    let length = usize::from(u16::from_be_bytes([a, b]));
    let known = Channel::ALL.into_iter().find(|c| c.number() == channel);
    known.filter(|_| length <= MAX_CHUNK).map(|c| (c, length)).ok_or(BadChunk { channel, length })
}

/// The content of a chunk of [`Channel::Resize`].
pub fn size(columns: u16, rows: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (columns.to_be_bytes(), rows.to_be_bytes());
    [a, b, c, d]
}

/// Columns and rows from a chunk of [`Channel::Resize`]; `None` for anything else.
pub fn parse_size(bytes: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = bytes.try_into().ok()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

impl End {
    /// Its chunk, shortened where the text is long.
    pub fn encode(&self) -> Vec<u8> {
        let short = match self {
            Self::Failed(text) => Self::Failed(text.chars().take(MAX_CHUNK / 8).collect()),
            Self::Exited(code) => Self::Exited(*code),
        };
        let mut out = Vec::new();
        encode(Channel::End, &postcard::to_stdvec(&short).unwrap_or_default(), &mut out);
        out
    }

    /// Reads the content of a chunk of [`Channel::End`].
    pub fn decode(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_else(|_| Self::Failed("the node's answer is not understood".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_written_as_the_golden_bytes() {
        let chunk = |channel, bytes: &[u8]| {
            let mut out = Vec::new();
            assert!(encode(channel, bytes, &mut out).is_empty());
            out
        };
        for (written, golden) in [
            (chunk(Channel::Stdin, b""), &[0, 0, 0][..]),
            (chunk(Channel::Stdin, b"a"), &[0, 0, 1, b'a']),
            (chunk(Channel::Stdout, b"a"), &[1, 0, 1, b'a']),
            (chunk(Channel::Stderr, b"a"), &[2, 0, 1, b'a']),
            (chunk(Channel::Resize, &size(300, 2)), &[4, 0, 4, 1, 44, 0, 2]),
            (End::Exited(3).encode(), &[3, 0, 2, 0, 6]),
            (End::Failed("x".into()).encode(), &[3, 0, 3, 1, 1, b'x']),
        ] {
            assert_eq!(written, golden);
        }
    }

    #[test]
    fn long_output_is_cut_into_chunks() {
        let bytes = vec![7; MAX_CHUNK + 5];
        let mut out = Vec::new();
        assert_eq!(encode(Channel::Stdout, &bytes, &mut out).len(), 5);
        assert_eq!(out.len(), CHUNK_HEADER + MAX_CHUNK);
        assert!(End::Failed("é".repeat(MAX_CHUNK)).encode().len() <= CHUNK_HEADER + MAX_CHUNK);
    }

    #[test]
    fn bad_headers_and_contents_are_refused() {
        assert_eq!(parse_header([1, 0, 9]), Ok((Channel::Stdout, 9)));
        assert_eq!(parse_header([5, 0, 9]), Err(BadChunk { channel: 5, length: 9 }));
        assert_eq!(parse_header([1, 255, 255]), Err(BadChunk { channel: 1, length: 65535 }));
        assert_eq!((parse_size(&[0, 80, 0, 24]), parse_size(&[1])), (Some((80, 24)), None));
        assert_eq!(End::decode(&[9]), End::Failed("the node's answer is not understood".into()));
    }
}
