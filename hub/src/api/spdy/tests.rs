//! Frames of Kubernetes' clients, and what becomes of bytes that are none.

use proptest::prelude::*;

use super::frame::{Decoder, FrameError, data, go_away, ping, reply, reset};
use super::headers::dictionary;
use super::*;

/// Two SYN_STREAMs of one connection, compressed by zlib with the dictionary as Go's clients do.
const FIRST: &str = "80030001000000280000000100000000000078f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff";
const SECOND: &str = "800300010000001700000003000000000000c22e555c02cc2e00000000ffff";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
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

fn open(stream: u32, kind: &str) -> Frame {
    let headers = vec![("streamtype".to_owned(), kind.to_owned())];
    Frame::SynStream { stream, fin: false, headers }
}

#[test]
fn the_dictionary_is_spdys() {
    let (a, b) = dictionary().iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    assert_eq!(b << 16 | a, 0xe3c6_a7c2);
}

#[test]
fn streams_open_however_the_bytes_are_cut() {
    let wire = [unhex(FIRST), unhex(SECOND), ping(7), reset(3, Reset::Refused), go_away(3)].concat();
    let expected = vec![open(1, "error"), open(3, "stdin"), Frame::Ping(7), Frame::Reset(3), Frame::GoAway];
    for cut in [1, 5, 1000] {
        assert_eq!(decode(&wire, cut), Ok(expected.clone()), "cut {cut}");
    }
}

#[test]
fn data_comes_in_pieces_and_ends_once() {
    let mut wire = data(5, 40_000, true).to_vec();
    wire.extend(vec![7; 40_000]);
    wire.extend(data(5, 0, true));
    let pieces: Vec<(usize, bool)> = decode(&wire, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|frame| {
            let Frame::Data { stream: 5, bytes, fin } = frame else { panic!("{frame:?}") };
            (bytes.len(), fin)
        })
        .collect();
    assert_eq!(pieces, [(16384, false), (16384, false), (7232, true), (0, true)]);
}

#[test]
fn replies_are_stored_blocks() {
    assert_eq!(reply(1, true), unhex("8003000200000014000000017801000400fbff00000000000000ffff"));
    assert_eq!(reply(3, false), unhex("800300020000001200000003000400fbff00000000000000ffff"));
}

#[test]
fn what_is_no_spdy_is_refused() {
    let long = [0x80, 3, 0, 1, 0, 1, 0, 0];
    for (wire, error) in [
        (&[0x80, 2, 0, 1, 0, 0, 0, 0][..], FrameError::Version(2)),
        (&long, FrameError::Length { kind: 1, length: 65536 }),
        (&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0], FrameError::Length { kind: 1, length: 2 }),
        (&[0x80, 3, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1, 0x78, 0xbb], FrameError::Compression),
    ] {
        assert_eq!(decode(wire, 1000), Err(error));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, 50);
    }

    #[test]
    fn no_control_frame_panics(kind in 0u8..12, block in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut wire = vec![0x80, 3, 0, kind, 0, 0, u8::try_from(block.len() >> 8).unwrap(), block.len() as u8];
        wire.extend(&block);
        let _ = decode(&wire, 50);
        // The same behind a good first block, so that the inflater is at work.
        let _ = decode(&[unhex(FIRST), wire].concat(), 1000);
    }
}
