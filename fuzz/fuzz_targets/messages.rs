//! Deliveries, and payloads that are encrypted.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    elasticio_sailor_fuzz::message::message(data);
    elasticio_sailor_fuzz::message::error_event(data);
    elasticio_sailor_fuzz::message::headers_of(data);
});
