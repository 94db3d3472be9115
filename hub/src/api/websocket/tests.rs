//! Frames of clients, and what becomes of bytes that are none.

use proptest::prelude::*;

use super::frame::{Decoder, Frame, FrameError, close, message, pong};
use super::*;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match u16::try_from(payload.len()).unwrap() {
        short @ 0..=125 => out.push(0x80 | u8::try_from(short).unwrap()),
        medium => {
            out.push(0x80 | 126);
            out.extend(medium.to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

fn decode(wire: &[u8], cut: usize) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for part in wire.chunks(cut) {
        decoder.buffer().extend_from_slice(part);
        while let Some(frame) = decoder.frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn piece(opcode: Opcode, first: bool, bytes: &'static [u8], last: bool) -> Frame {
    Frame::Piece { opcode, first, bytes: bytes.into(), last }
}

#[test]
fn messages_come_in_pieces() {
    let wire = [
        masked(0x82, b"\0hello"),
        masked(0x01, b"ab"),
        masked(0x89, b"ping"),
        masked(0x80, b"c"),
        masked(0x82, b""),
        masked(0x88, b"\x03\xe8"),
    ];
    let expected = [
        piece(Opcode::Binary, true, b"\0hello", true),
        piece(Opcode::Text, true, b"ab", false),
        Frame::Ping(b"ping"[..].into()),
        piece(Opcode::Text, false, b"c", true),
        piece(Opcode::Binary, true, b"", true),
        Frame::Close,
    ];
    assert_eq!(decode(&wire.concat(), 1000).unwrap(), expected);
}

#[test]
fn the_mask_goes_on_across_pieces() {
    let bytes: Vec<u8> = (0..60_000_u32).map(|n| n as u8).collect();
    for cut in [7, 1000, 100_000] {
        let mut got = Vec::new();
        for frame in decode(&masked(0x82, &bytes), cut).unwrap() {
            let Frame::Piece { bytes, first, .. } = frame else { panic!("{frame:?}") };
            assert_eq!(first, got.is_empty());
            got.extend(bytes);
        }
        assert!(got == bytes, "cut {cut}");
    }
}

#[test]
fn what_breaks_the_rules_is_refused() {
    for (wire, error) in [
        (vec![0x82, 0x01, 7], FrameError::Unmasked),
        (masked(0xc2, b"x"), FrameError::Reserved),
        (masked(0x80, b"x"), FrameError::Opcode(0)),
        (masked(0x83, b"x"), FrameError::Opcode(3)),
        ([masked(0x02, b"x"), masked(0x82, b"x")].concat(), FrameError::Opcode(2)),
        (masked(0x8b, b""), FrameError::Opcode(11)),
        (masked(0x09, b""), FrameError::Control),
        (masked(0x89, &[0; 126]), FrameError::Control),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
    ] {
        assert_eq!(decode(&wire, 1000), Err(error));
    }
}

#[test]
fn what_goes_out() {
    assert_eq!(message(Opcode::Binary, 5), [0x82, 5]);
    assert_eq!(message(Opcode::Text, 126), [0x81, 126, 0, 126]);
    assert_eq!(message(Opcode::Binary, 1 << 16), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(pong(b"x"), [0x8a, 1, b'x']);
    assert_eq!(close(), [0x88, 2, 0x03, 0xe8]);
    // The RFC's own example.
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..50) {
        let _ = decode(&bytes, cut);
    }
}
