//! README.md: its first command works as written.

use std::{path::Path, process::ExitCode};

const README: &str = include_str!("../../../README.md");
const EMULATOR: &str = "cargo run -p elasticio-emulator -- ";
const COMPONENT: &str = " -- cargo run -q -p hello";

#[test]
fn the_first_command_of_the_readme_works() {
    let mut lines = README.lines();
    let command = lines.find_map(|line| line.strip_prefix(EMULATOR)?.strip_suffix(COMPONENT));
    let command = command.unwrap_or_else(|| panic!("no line is {EMULATOR}…{COMPONENT}"));
    // In the root of the repository, with the binary in place of the component's command: it is built already.
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let words = ["emulator"].into_iter().chain(command.split_whitespace());
    // From cargo's command the emulator knows the descriptor.
    let words = words
        .chain(["--descriptor", "examples/hello/component.json"])
        .chain(["--", env!("CARGO_BIN_EXE_hello")]);
    assert_eq!(emulator::main_with(words), ExitCode::SUCCESS, "{command}");
}
