//! `emulator run --watch`.

use crate::command;
use std::fs;
use tempfile::TempDir;
use test_support::Background;

const MANIFEST: &str = "[package]\nname = \"tiny\"\nedition = \"2024\"\n[workspace]\n";
const WAITS: &str = "waits for a change";

fn contains(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn a_change_builds_the_component_and_runs_it_again() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    write("Cargo.toml", MANIFEST);
    write("src/main.rs", "fn main() { println!(\"the first\") }");
    write("m.json", "{\"n\": 1}");
    let words = ["run", "--watch", "--function", "f", "--message", "m.json"];
    let mut watching = Background::start(&mut command(folder.path(), words));

    let first = watching.lines_to(WAITS);
    assert!(contains(&first, "│ the first"), "{first:?}");

    write("src/main.rs", "fn main() { println!(\"the second one\") }");
    let second = watching.lines_to(WAITS);
    assert!(contains(&second, "main.rs has changed"), "{second:?}");
    assert!(contains(&second, "│ the second one"), "{second:?}");

    // A mistake is told, and the next change counts.
    write("src/main.rs", "fn main() { println!(the third) }");
    let third = watching.lines_to(WAITS);
    assert!(!contains(&third, "│"), "{third:?}");

    // This one runs until something changes.
    write(
        "src/main.rs",
        "fn main() { println!(\"the fourth, which waits\"); loop { std::thread::park() } }",
    );
    watching.lines_to("│ the fourth");
    write("m.json", "{\"n\": 22}");
    let fifth = watching.lines_to("│ the fourth");
    assert!(contains(&fifth, "m.json has changed"), "{fifth:?}");
    assert!(contains(&fifth, "{\"n\":22}"), "{fifth:?}");
    watching.interrupt();
}
