//! The pages that are made of the code. A test compares each with what the code says now, or writes it.

mod commands;
mod settings;

use std::{env, fs};

/// Set to any value, it makes these tests write the pages.
const WRITE: &str = "SAILOR_WRITE_PAGES";

/// Compares the page with `expected`, or writes it.
#[track_caller]
fn compare(page: &str, expected: &str) {
    let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
    if env::var_os(WRITE).is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found
        .lines()
        .zip(expected.lines())
        .position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{page} is not what the code says, from line {} on. Write it with:\n  \
         {WRITE}=1 cargo test -p elasticio-sailor --test it generated",
        differs.map_or(
            found.lines().count().min(expected.lines().count()),
            |line| line
        ) + 1
    );
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
