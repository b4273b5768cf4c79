//! README.md: its commands work as written, and there is one for each function.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const README: &str = include_str!("../../README.md");

/// The arguments of each `emulator` command of the section "Samples".
fn commands() -> Vec<Vec<&'static str>> {
    let section = README
        .split_once("\n## Samples\n")
        .unwrap()
        .1
        .split("\n## ")
        .next()
        .unwrap();
    let lines = section
        .lines()
        .filter_map(|line| line.strip_prefix("cargo run -q -p elasticio-emulator -- "));
    lines.map(|line| line.split(' ').collect()).collect()
}

fn after<'a>(command: &[&'a str], option: &str) -> Option<&'a str> {
    command
        .iter()
        .position(|word| *word == option)
        .map(|at| command[at + 1])
}

/// The emulator's binary, which cargo builds with the emulator's tests.
fn emulator() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_salesforce")).with_file_name("emulator");
    assert!(
        binary.exists(),
        "{} is missing: cargo build -p elasticio-emulator",
        binary.display()
    );
    binary
}

/// Runs a command in this folder, without building the component.
fn run(command: &[&str]) -> Output {
    let words =
        command
            .iter()
            .chain(&["--json", "--quiet", "--", env!("CARGO_BIN_EXE_salesforce")]);
    Command::new(emulator())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn the_readme_covers_every_function_and_sample() {
    let commands = commands();
    let of = |method: &str| {
        commands
            .iter()
            .filter(|command| command.contains(&method))
            .cloned()
            .collect::<Vec<_>>()
    };
    let functions = of("run")
        .iter()
        .map(|command| after(command, "--function").unwrap())
        .collect::<BTreeSet<_>>();
    let descriptor: Value = serde_json::from_str(include_str!("../../component.json")).unwrap();
    let declared = ["triggers", "actions"].map(|kind| descriptor[kind].as_object().unwrap());
    assert_eq!(
        functions,
        declared
            .into_iter()
            .flat_map(|functions| functions.keys())
            .map(String::as_str)
            .collect()
    );
    let models = of("selectModel")
        .iter()
        .map(|command| after(command, "--model").unwrap())
        .collect::<BTreeSet<_>>();
    let all = [
        "getLookupFields",
        "getObjectFields",
        "linkedObjectTypes",
        "objectTypes",
    ];
    assert_eq!(models, all.into_iter().collect());
    assert!(!of("verifyCredentials").is_empty() && !of("getMetaModel").is_empty());

    let used = commands
        .iter()
        .flatten()
        .filter_map(|word| word.strip_prefix("samples/"));
    let used: BTreeSet<String> = used.map(str::to_owned).collect();
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(used, files);
}

#[test]
fn every_readme_command_works() {
    for command in commands() {
        let output = run(&command);
        let (text, command) = (String::from_utf8(output.stdout).unwrap(), command.join(" "));
        assert!(
            output.status.success(),
            "{command}: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let events: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if command.starts_with("run") {
            let data: Vec<&Value> = events
                .iter()
                .filter(|event| event["event"] == "data")
                .collect();
            let bodies: Vec<&Value> = data.iter().map(|event| &event["body"]["body"]).collect();
            let is_something =
                |body: &&Value| body.as_object().is_some_and(|body| !body.is_empty());
            assert!(
                !bodies.is_empty() && bodies.iter().all(is_something),
                "{command}: {text}"
            );
        } else {
            let data = &events.last().unwrap()["data"];
            assert!(
                data.as_object().is_some_and(|data| !data.is_empty()),
                "{command}: {text}"
            );
        }
    }
}
