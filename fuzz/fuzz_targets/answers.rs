//! Responses of APIs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    elasticio_sailor_fuzz::answer::body(data);
    elasticio_sailor_fuzz::answer::header(data);
    elasticio_sailor_fuzz::answer::time(data);
});
