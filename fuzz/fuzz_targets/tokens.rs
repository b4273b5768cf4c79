//! Responses of token endpoints.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| elasticio_sailor_fuzz::token::response(data));
