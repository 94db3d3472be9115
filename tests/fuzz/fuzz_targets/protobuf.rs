//! Request bodies in protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skiff_hub::api::fuzz::protobuf(data));
