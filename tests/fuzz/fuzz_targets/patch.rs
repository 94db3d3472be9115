//! Merge and strategic merge patches of an object.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skiff_hub::api::fuzz::patch(data));
