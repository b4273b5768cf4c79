//! The command `emulator`, with a plain component and, where it is installed, with the Node sailor.

mod builds;
mod commands;
mod component_file;
mod ends;
mod files;
mod messages;
mod node;
mod output;
mod watch;

use serde_json::Value;
use std::{ffi::OsStr, path::Path, process::Command};
use tempfile::TempDir;
use test_support::Outcome;

/// The example `plain-component`, which cargo builds with the tests: a component without a sailor.
fn plain_component() -> Vec<String> {
    let this = std::env::current_exe().unwrap();
    let binary = this
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/plain-component");
    assert!(
        binary.exists(),
        "{} is missing: cargo build -p elasticio-emulator --examples",
        binary.display()
    );
    vec![binary.to_str().unwrap().to_owned()]
}

fn command<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
    command.current_dir(folder).args(arguments);
    command
}

fn emulator<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Outcome {
    test_support::run(&mut command(folder, arguments))
}

/// `emulator run` of the plain component.
fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    let arguments: Vec<String> = ["run", "--function", "f"]
        .iter()
        .chain(arguments)
        .map(|&s| s.to_owned())
        .collect();
    emulator(
        folder,
        [arguments, vec!["--".into()], plain_component()].concat(),
    )
}

fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}
