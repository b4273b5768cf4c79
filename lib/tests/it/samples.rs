//! The commands of README.md and docs/reference-component.md that take samples work as written, and every sample
//! is used by one of them.

use crate::ROOT;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// Every `emulator run` and `emulator service` of a page; commands with something to fill in are left out, and those of
/// other components, which their own tests run.
fn commands(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{ROOT}/{page}")).unwrap();
    let lines = text.lines().flat_map(|line| line.split('`'));
    let ours = lines.filter(|part| {
        ["run", "service"].iter().any(|command| {
            part.starts_with(&format!("cargo run -p elasticio-emulator -- {command} "))
        })
    });
    let is_own = |command: &&str| !command.contains(" -- cargo run") && !command.contains('…');
    ours.filter(|command| command.contains("samples/"))
        .filter(is_own)
        .map(str::to_owned)
        .collect()
}

/// The emulator's binary, which cargo builds with the tests of the workspace.
fn emulator() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("emulator");
    assert!(
        binary.exists(),
        "{} is missing: build it with `cargo build -p elasticio-emulator`",
        binary.display()
    );
    binary
}

/// What a command prints when the component is already built.
fn output(command: &str) -> String {
    let arguments = command
        .strip_prefix("cargo run -p elasticio-emulator -- ")
        .unwrap()
        .split_whitespace();
    let component = ["--", env!("CARGO_BIN_EXE_component")];
    let output = Command::new(emulator())
        .args(arguments)
        .args(component)
        .current_dir(ROOT)
        .output()
        .unwrap();
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command}: {text}");
    text
}

#[test]
fn every_command_of_the_guides_works_as_written() {
    let mut run = BTreeSet::new();
    for command in ["README.md", "docs/reference-component.md"]
        .into_iter()
        .flat_map(commands)
    {
        if !run.insert(command.clone()) {
            continue;
        }
        let text = output(&command);
        let count = |what: &str| text.matches(what).count();
        let (wanted, times) = match &*command {
            command if command.contains("service verifyCredentials") => ("\"verified\": true", 1),
            command if command.contains("split.config.json") => ("← data", 3),
            command if command.contains("download.json") => ("POST /objects → 201", 1),
            command if command.contains("poll-items.snapshot.json") => ("← data", 2),
            command if command.contains("pollItems") => ("← data", 25),
            command if command.contains("receiveWebhooks") => ("POST /api/webhooks", 1),
            _ => ("← data", 1),
        };
        assert_eq!(count(wanted), times, "{command}: {text}");
    }
    assert!(run.len() >= 8, "{run:?}");
}

#[test]
fn every_sample_is_in_a_command() {
    let commands = ["README.md", "docs/reference-component.md"]
        .into_iter()
        .flat_map(commands)
        .collect::<String>();
    for sample in Path::new(ROOT).join("samples").read_dir().unwrap() {
        let name = sample.unwrap().file_name().into_string().unwrap();
        assert!(
            commands.contains(&format!("samples/{name}")),
            "{name} is in no command"
        );
    }
}
