//! Header tables and arrays, deep and nearly right, and what stands behind them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(([last, ..], orders)) = data.split_first_chunk::<1>() {
        // The headers, and a message id behind them.
        let properties = [elasticio_sailor_fuzz::guard::table(orders), vec![1, *last]].concat();
        elasticio_sailor_fuzz::guard::header(1 << 13 | 1 << 7, &properties);
    }
});
