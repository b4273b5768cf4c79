//! The variables of a step.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| elasticio_sailor_fuzz::settings::settings(data));
