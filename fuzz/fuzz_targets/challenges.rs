//! `WWW-Authenticate`, of any bytes and written by the rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    elasticio_sailor_fuzz::challenge::challenges(data);
    elasticio_sailor_fuzz::challenge::written(data);
});
