//! A client's bytes on a SPDY connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skiff_hub::api::fuzz::spdy(data));
