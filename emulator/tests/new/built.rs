//! The component that is written is formatted, has no warning, passes its tests and its check, and runs on the emulator.

use super::{files, new, program};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use test_support::{Background, Outcome};

const NAME: &str = "acme-orders";

/// The target folder of this repository, whose versions of the dependencies the component has: most of them are built.
pub(super) fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(3).unwrap().to_owned()
}

fn finished(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}");
    let outcome = test_support::run(command.env("CARGO_TARGET_DIR", target()));
    let Outcome { stdout, stderr, .. } = &outcome;
    assert_eq!(outcome.status, 0, "{shown}\n{stdout}\n{stderr}");
    outcome
}

fn cargo(folder: &Path, arguments: &str) -> Outcome {
    finished(program("cargo", folder).args(arguments.split(' ')))
}

fn emulator(folder: &Path, arguments: &str) -> String {
    let mut command = program(env!("CARGO_BIN_EXE_emulator"), folder);
    finished(command.args(arguments.split(' '))).stdout
}

#[test]
fn a_new_component_is_complete() {
    let folder = TempDir::new().unwrap();
    let outcome = new(folder.path(), [NAME]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let folder = folder.path().join(NAME);

    cargo(&folder, "fmt --check");
    has_no_warning(&folder);
    let tests = cargo(&folder, "test --locked").stdout;
    assert!(tests.contains("6 passed; 0 failed; 0 ignored"), "{tests}");

    // What README.md says.
    let created = emulator(
        &folder,
        "run --function createItem --config samples/config.json --message samples/create-item.json",
    );
    assert!(
        created.contains(r#"{"id":"item-4","name":"Bolt"}"#),
        "{created}"
    );
    assert!(created.contains("1 sent, 1 acknowledged"), "{created}");
    let polled = emulator(
        &folder,
        "run --function pollRecords --config samples/config.json",
    );
    assert!(polled.contains("Record 5"), "{polled}");
    assert!(polled.contains("snapshot"), "{polled}");
    let verified = emulator(
        &folder,
        "service verifyCredentials --config samples/config.json",
    );
    assert!(verified.contains("\"verified\": true"), "{verified}");
    let model =
        "service selectModel --function createItem --model getItems --config samples/config.json";
    let choices = emulator(&folder, model);
    assert!(choices.contains("\"item-1\": \"Item 1\""), "{choices}");

    has_nothing_to_report(&folder);
    let binary = target().join("debug").join(NAME);
    super::compose::flow(&binary);
    super::image::is_accepted(&binary, &folder);
    an_example_is_its_api(&folder);
}

/// The example of docs/emulator.md: the component runs against its routes.
fn an_example_is_its_api(folder: &Path) {
    let page = include_str!("../../../docs/emulator.md");
    let start = page.find("use emulator::provider::").unwrap();
    let (code, _) = page[start..].split_once("```").unwrap();
    fs::create_dir(folder.join("examples")).unwrap();
    fs::write(folder.join("examples/api.rs"), code).unwrap();
    cargo(folder, "build --locked --example api");
    let binary = target().join("debug/examples/api");
    let mut api = Background::start(&mut program(binary.to_str().unwrap(), folder));
    api.lines_to("The API listens on");
    let created = emulator(
        folder,
        "run --function createItem --config .emulator/api.json --env-file .emulator/api.env --message samples/create-item.json",
    );
    assert!(
        created.contains(r#"{"id":"bolt-2","name":"Bolt"}"#),
        "{created}"
    );
}

/// Clippy takes the place of the compiler for the component alone: `cargo clippy` would check all dependencies, and has nothing of
/// their builds.
fn has_no_warning(folder: &Path) {
    let mut build = program("cargo", folder);
    build.args(["build", "--locked", "--all-targets"]);
    let outcome = finished(build.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"));
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
}

/// The component's own check finds nothing, and neither build nor runs have left a file.
fn has_nothing_to_report(folder: &Path) {
    let binary = target().join("debug").join(NAME);
    let component = |arguments: &[&str]| {
        let mut command = program(binary.to_str().unwrap(), folder);
        for name in [
            "API_CLIENT_ID",
            "API_CLIENT_SECRET",
            "API_AUTH_URI",
            "API_TOKEN_URI",
        ] {
            command.env(name, "https://acme.example");
        }
        finished(command.args(arguments)).stdout
    };
    let found = component(&["check"]);
    let clean =
        "Acme orders: 1 trigger, 1 action, all with their modules; metadata is up to date\n";
    assert_eq!(found, clean);
    let before = files(folder);
    component(&["schema", "--write"]);
    assert_eq!(files(folder), before);
    assert_eq!(component(&["check"]), clean);
    let named = component(&["schema", "--files"]);
    for file in named.lines() {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert_eq!(named.lines().count(), 3, "{named}");
}
