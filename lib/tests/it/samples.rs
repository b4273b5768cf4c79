//! The commands of all pages that take samples work as written, and every sample is used by one of them. So do the demos.

use crate::ROOT;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// The pages that are about the reference component: README.md, and those of `docs/`. The commands of `first-component.md` are for
/// another one, and run in the emulator's tests.
fn pages() -> Vec<PathBuf> {
    let docs = Path::new(ROOT).join("docs").read_dir().unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| !path.ends_with("first-component.md"))
        .chain([Path::new(ROOT).join("README.md")])
        .collect()
}

/// Where the pages have commands: their lines, and what is between backticks.
fn parts() -> Vec<String> {
    let texts = pages()
        .into_iter()
        .map(|page| std::fs::read_to_string(page).unwrap());
    let text: String = texts.collect();
    let lines = text.lines().flat_map(|line| line.split('`'));
    lines.map(str::to_owned).collect()
}

/// The arguments of a command of the emulator.
fn arguments(part: &str) -> Option<&str> {
    let emulator = part.strip_prefix("cargo run -p elasticio-emulator -- ");
    emulator.or_else(|| part.strip_prefix("emulator "))
}

/// The arguments of every `emulator demo` of the pages, also where a sentence leaves out the program.
fn demos() -> BTreeSet<String> {
    let parts = parts();
    let commands = parts.iter().map(|part| arguments(part).unwrap_or(part));
    commands
        .filter(|command| *command == "demo" || command.starts_with("demo --"))
        .map(str::to_owned)
        .collect()
}

/// The arguments of every `emulator run` and `emulator service` of the pages; those with something to fill in are left out, and
/// those of other components, which their own tests run.
fn commands() -> BTreeSet<String> {
    // A file that is not there belongs to a component that `emulator new` writes; `tests/it/pages` finds mistyped ones.
    let exists = |word: &str| !word.starts_with("samples/") || Path::new(ROOT).join(word).exists();
    let is_own = |arguments: &&str| {
        ["run ", "service "]
            .iter()
            .any(|command| arguments.starts_with(command))
            && arguments.contains(" samples/")
            && arguments.split(' ').all(exists)
            && !arguments.contains(" -- ")
            && !arguments.contains('…')
    };
    let parts = parts();
    let arguments = parts.iter().filter_map(|part| arguments(part));
    arguments.filter(is_own).map(str::to_owned).collect()
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
    let arguments = command.split_whitespace();
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
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
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
}

/// What README.md says of them: there is one refresh, and its refresh token is saved.
#[test]
fn every_demo_works_as_written() {
    let demos = demos();
    assert!(demos.len() >= 3, "{demos:?}");
    for demo in demos {
        let text = output(&demo);
        for part in [", 1 refresh, ", "token is valid for the next refresh"] {
            assert!(text.contains(part), "{demo}: {part} is not in {text}");
        }
    }
}

#[test]
fn every_sample_is_in_a_command() {
    let commands: String = commands().into_iter().collect();
    for sample in Path::new(ROOT).join("samples").read_dir().unwrap() {
        let name = sample.unwrap().file_name().into_string().unwrap();
        assert!(
            commands.contains(&format!("samples/{name}")),
            "{name} is in no command"
        );
    }
}
