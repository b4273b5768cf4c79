//! Any properties of a message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((flags, properties)) = data.split_first_chunk() {
        elasticio_sailor_fuzz::guard::header(u16::from_be_bytes(*flags), properties);
    }
});
