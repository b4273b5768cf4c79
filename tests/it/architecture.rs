//! What must hold for the sources, read from the sources: which folder may use which, and what stands in one place only.
//!
//! The floors are the order of the `mod` lines in `src/lib.rs`, from the bottom up. They stand nowhere else.

mod edges;
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
    assert!(folders.len() > 15, "the sources were not found");
    assert!(
        upward.is_empty(),
        "these edges point up:\n{}",
        upward.join("\n")
    );
}

/// The files of the library that hold `word` outside of tests and comments, and are not below `folder`.
fn strays(word: &str, folder: &str) -> Vec<String> {
    let (inside, outside): (Vec<Source>, Vec<Source>) = sources::library()
        .into_iter()
        .filter(|source| source.code.contains(word))
        .partition(|source| source.path.starts_with(folder));
    assert!(
        !inside.is_empty(),
        "nothing below {folder} holds `{word}` any more"
    );
    outside.into_iter().map(|source| source.path).collect()
}

#[test]
fn only_the_amqp_adapter_names_lapin() {
    assert_eq!(strays("lapin", "broker/amqp/"), [""; 0]);
}

#[test]
fn only_settings_reads_the_environment() {
    assert_eq!(strays("env::var", "settings/"), [""; 0]);
}

#[test]
fn the_library_does_not_end_the_process() {
    for Source { path, code, .. } in sources::library() {
        assert!(!code.contains("process::exit"), "{path} ends the process");
    }
}

#[test]
fn every_task_has_an_owner() {
    for Source { path, code, .. } in sources::library() {
        assert!(
            !code.contains("tokio::spawn("),
            "{path} spawns a task outside of a tracker"
        );
    }
}

#[test]
fn the_protocol_does_no_io() {
    for Source { path, code, .. } in sources::library() {
        if path.starts_with("protocol/") {
            for word in ["tokio", "reqwest", "std::fs", "std::net"] {
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
        "too long to take in, find the seam:\n{}",
        long.join("\n")
    );
}
