//! Frames of a client, in any pieces, and messages of the broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((pieces, bytes)) = data.split_at_checked(4) {
        elasticio_sailor_fuzz::emulator::frames(pieces, bytes);
    }
    elasticio_sailor_fuzz::emulator::content(data);
});
