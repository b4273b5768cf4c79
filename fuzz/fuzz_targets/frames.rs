//! Any bytes, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((pieces, bytes)) = data.split_at_checked(4) {
        elasticio_sailor_fuzz::guard::frames(pieces, bytes);
    }
});
