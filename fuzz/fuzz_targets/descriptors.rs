//! component.json.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| elasticio_sailor_fuzz::descriptor::descriptor(data));
