//! Podman's framing of logs: a byte for the stream, three zero bytes, a big-endian length, then so many bytes.
//!
//! The bytes come from a container, so nothing here trusts them: lengths are bounded and nothing is allocated for
//! a frame before its bytes arrive.

use bytes::{Buf, Bytes, BytesMut};

/// Longest frame that is believed; Podman sends one log line a frame.
const MAX_FRAME: usize = 1024 * 1024;
/// Bytes before the content of a frame.
pub(super) const HEADER: usize = 8;

/// Why a log stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad log frame: stream {stream}, {length} bytes")]
pub struct BadFrame {
    /// The stream's number.
    pub stream: u8,
    /// The announced length.
    pub length: usize,
}

/// Splits a byte stream into the frames' contents.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame's content, if there is one yet.
    ///
    /// # Errors
    /// [`BadFrame`] for an unknown stream or an absurd length; the stream is then useless.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, BadFrame> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [stream, _, _, _, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if stream > 3 || length > MAX_FRAME {
            return Err(BadFrame { stream, length });
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// Takes frames apart as their bytes come, and holds nothing but an incomplete header.
#[derive(Debug, Default)]
pub struct Demux {
    header: Vec<u8>,
    stream: u8,
    left: usize,
}

impl Demux {
    /// The next piece of `input` and the number of its stream (1 output, 2 error output); `None` once all of `input`
    /// is taken.
    ///
    /// # Errors
    /// [`BadFrame`] for an unknown stream or an absurd length; the stream is then useless.
    pub fn piece<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, BadFrame> {
        while self.left == 0 {
            let (head, rest) = input.split_at(input.len().min(HEADER - self.header.len()));
            self.header.extend_from_slice(head);
            *input = rest;
            let Some([stream, _, _, _, length @ ..]) = self.header.first_chunk::<HEADER>().copied() else {
                return Ok(None);
            };
            self.header.clear();
            self.stream = stream;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if stream > 3 || self.left > MAX_FRAME {
                return Err(BadFrame { stream, length: self.left });
            }
        }
        let (piece, rest) = input.split_at(input.len().min(self.left));
        *input = rest;
        self.left -= piece.len();
        Ok((!piece.is_empty()).then_some((self.stream, piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let wire = b"\x01\0\0\0\0\0\0\x03hi\n\x02\0\0\0\0\0\0\x00\x02\0\0\0\0\0\0\x02e\n";
        for cut in 1..wire.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in wire.chunks(cut) {
                frames.push(part);
                while let Some(frame) = frames.next_frame().expect("good frames") {
                    found.push(frame);
                }
            }
            assert_eq!(found, [&b"hi\n"[..], b"", b"e\n"], "cut {cut}");
            let (mut demux, mut pieces) = (Demux::default(), vec![Vec::new(); 3]);
            for mut part in wire.chunks(cut) {
                while let Some((stream, piece)) = demux.piece(&mut part).expect("good frames") {
                    pieces[usize::from(stream)].extend_from_slice(piece);
                }
            }
            assert_eq!(pieces, [&b""[..], b"hi\n", b"e\n"], "cut {cut}");
        }
    }

    #[test]
    fn bad_headers_are_errors() {
        for wire in [b"\x09\0\0\0\0\0\0\x01", b"\x01\0\0\0\xff\xff\xff\xff"] {
            let mut frames = Frames::default();
            frames.push(wire);
            assert!(frames.next_frame().is_err(), "{wire:?}");
            assert!(Demux::default().piece(&mut &wire[..]).is_err(), "{wire:?}");
        }
    }
}
