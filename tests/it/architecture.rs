//! Rules for the sources, checked by reading them: which folder may use which, and which names only one folder may use.
//!
//! The floors are the order of the `mod` lines in `src/lib.rs`, from the bottom up. They are listed nowhere else.

mod codes;
mod edges;
mod fields;
mod forms;
mod sources;

use edges::{Crate, Edge};
use sources::Source;
use std::collections::BTreeSet;

/// Every use of one folder by another points down.
///
/// `cargo test -p elasticio-sailor --test it -- --nocapture every_edge` prints the edges that it has checked.
#[test]
fn every_edge_points_down() {
    let library = Crate::read();
    let edges: BTreeSet<Edge> = sources::library()
        .iter()
        .filter(|source| source.path != "lib.rs")
        .flat_map(|source| library.edges(&source.module, &source.code))
        .collect();
    let upward: Vec<String> = edges
        .iter()
        .filter(|edge| library.is_upward(edge))
        .map(Edge::to_string)
        .collect();
    for edge in &edges {
        println!("{edge}");
    }
    let folders: BTreeSet<(&str, &str)> = edges.iter().map(Edge::folders).collect();
    println!(
        "{} edges between files, {} between folders",
        edges.len(),
        folders.len()
    );
    assert!(
        sources::library().len() > 100 && folders.len() > 25,
        "the sources were not found"
    );
    assert!(
        upward.is_empty(),
        "these folders use folders above them:\n{}",
        upward.join("\n")
    );
}

/// The files of the library that contain `word` outside of tests and comments and are not below `folder`.
fn strays(word: &str, folder: &str) -> Vec<String> {
    let (inside, outside): (Vec<Source>, Vec<Source>) = sources::library()
        .into_iter()
        .filter(|source| source.code.contains(word))
        .partition(|source| source.path.starts_with(folder));
    assert!(
        !inside.is_empty(),
        "nothing below {folder} contains `{word}`"
    );
    outside.into_iter().map(|source| source.path).collect()
}

fn assert_no_file_contains(words: &[&str]) {
    for Source { path, code, .. } in sources::library() {
        for word in words {
            assert!(!code.contains(word), "{path} contains `{word}`");
        }
    }
}

/// Each file is the module of its path, and the crate has no other name. Otherwise the check would miss edges.
#[test]
fn modules_are_where_their_path_says() {
    assert_no_file_contains(&["#[path", "extern crate", "include!(", "cfg_attr("]);
}

#[test]
fn only_the_amqp_adapter_names_lapin() {
    assert_eq!(strays("lapin", "broker/amqp/"), [""; 0]);
}

#[test]
fn only_monitoring_names_the_metrics_library() {
    assert_eq!(strays("prometheus_client", "monitoring/"), [""; 0]);
}

#[test]
fn only_the_traces_name_opentelemetry() {
    let wanted = [""; 0];
    assert_eq!(strays("opentelemetry::", "monitoring/trace/"), wanted);
    assert_eq!(strays("opentelemetry_", "monitoring/trace/"), wanted);
}

#[test]
fn only_settings_reads_the_environment() {
    assert_eq!(strays("env::var", "settings/"), [""; 0]);
    // A `use` of the functions themselves.
    assert_no_file_contains(&["env::{"]);
}

#[test]
fn the_library_does_not_end_the_process() {
    assert_no_file_contains(&["process::exit", "process::abort"]);
}

#[test]
fn every_task_has_an_owner() {
    // `spawn_blocking` is not meant: it is awaited.
    assert_no_file_contains(&["tokio::spawn", "task::spawn(", "spawn_local"]);
}

#[test]
fn only_the_allocator_needs_unsafe_code() {
    const WORDS: [&str; 5] = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe(",
        "unsafe_code",
    ];
    let files = sources::every_rust_file().into_iter();
    let users = files.filter(|(_, text)| WORDS.iter().any(|word| text.contains(word)));
    let users: Vec<String> = users.map(|(path, _)| path).collect();
    // This file has the words.
    assert_eq!(users, ["src/allocator.rs", "tests/it/architecture.rs"]);
}

#[test]
fn the_protocol_does_no_io() {
    for Source { path, code, .. } in sources::library() {
        if path.starts_with("protocol/") {
            for word in ["tokio", "reqwest", "fs::", "net::", "process::"] {
                assert!(!code.contains(word), "{path} uses {word}");
            }
        }
    }
}

#[test]
fn no_file_has_more_than_500_lines() {
    let long: Vec<String> = sources::every_rust_file()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 500)
        .map(|(path, text)| format!("{path}: {}", text.lines().count()))
        .collect();
    assert!(
        long.is_empty(),
        "these files have more than 500 lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn test_names_are_short() {
    let mut long = Vec::new();
    for (path, text) in sources::every_rust_file() {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let is_test = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
            let name = pair[1].split_once("fn ").map_or("", |(_, rest)| rest);
            let name = name.split('(').next().unwrap_or_default();
            if is_test && name.len() > 65 {
                long.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(long.is_empty(), "longer than 65:\n{}", long.join("\n"));
}
