//! Bytes of either side of the link: messages that were read are written as they came.
#![no_main]

use skiff_shared::limits::MAX_FRAME;
use skiff_shared::wire::frame::{Decoder, Message, encode};
use skiff_shared::wire::stream::{StreamReply, StreamRequest};
use skiff_shared::wire::{ToAgent, ToHub};

fn read<M: Message + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let mut decoder = Decoder::new(MAX_FRAME);
    for part in data.chunks(data.len() / 2 + 1) {
        decoder.room().extend(part);
        while let Ok(Some(message)) = decoder.message::<M>() {
            let mut again = Decoder::new(usize::MAX);
            again.room().extend(encode(&message).expect("a message that was read can be written"));
            assert_eq!(again.message::<M>().expect("a message that was written can be read"), Some(message));
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    read::<ToHub>(data);
    read::<ToAgent>(data);
    read::<StreamRequest>(data);
    read::<StreamReply>(data);
});
