//! README.md: its commands work as written.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

const README: &str = include_str!("../../README.md");
const COMPONENT: &str = "-- cargo run -q -p outlook";

/// The commands of the README for the emulator.
fn commands() -> Vec<String> {
    let text = README.replace("\\\n", " ");
    text.lines()
        .filter(|line| line.starts_with("cargo run -p elasticio-emulator -- "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_readme_command_works() {
    // In the root of the repository, with the binary in place of the component's command: it is built already.
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    for command in commands() {
        let (arguments, component) = command
            .split_once(COMPONENT)
            .unwrap_or_else(|| panic!("no {COMPONENT}: {command}"));
        assert!(["", " --"].contains(&component), "{command}");
        let words = arguments
            .split_whitespace()
            .skip("cargo run -p elasticio-emulator --".split(' ').count());
        let words = ["emulator"]
            .into_iter()
            .chain(words)
            // From cargo's command the emulator knows it.
            .chain(["--descriptor", "components/outlook/component.json"])
            .chain(["--", env!("CARGO_BIN_EXE_outlook")]);
        assert_eq!(emulator::main_with(words), ExitCode::SUCCESS, "{command}");
    }
}

#[test]
fn the_readme_covers_every_function_and_sample() {
    let descriptor: serde_json::Value =
        serde_json::from_str(include_str!("../../component.json")).unwrap();
    let text = commands().join("\n") + "\n";
    for kind in ["triggers", "actions"] {
        for name in descriptor[kind].as_object().unwrap().keys() {
            assert!(text.contains(&format!("--function {name} ")), "{name}");
        }
    }
    for words in [
        "service verifyCredentials",
        "--model getFolders",
        "--model getCalendars",
    ] {
        assert!(text.contains(words), "{words}");
    }
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(files.len() > 7);
    for file in files {
        assert!(
            text.contains(&format!("components/outlook/samples/{file} ")),
            "{file}"
        );
    }
}
