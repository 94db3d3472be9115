//! A request to the API, from its path to its body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skiff_hub::api::fuzz::request(data));
