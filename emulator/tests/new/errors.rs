//! What cannot be written is refused with a reason, and leaves nothing.

use super::{checkout, files, new, program};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Runs a command that has to fail, and returns its error. Nothing may be left but what was there.
fn refused(folder: &TempDir, arguments: &[&str], status: i32) -> String {
    let before = (files(folder.path()), names(folder.path()));
    let outcome = new(folder.path(), arguments);
    assert_eq!(outcome.status, status, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    let after = (files(folder.path()), names(folder.path()));
    assert_eq!(after, before);
    let (before, _) = before;
    assert!(
        !folder.path().join("acme").exists() || before.iter().any(|path| path.starts_with("acme"))
    );
    outcome.stderr
}

/// What is in a folder, hidden folders included.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The emulator with a script in the place of cargo, so that a test decides what happens while the component is written.
fn with_cargo(script: &str, folder: &TempDir) -> (TempDir, Command) {
    let bin = TempDir::new().unwrap();
    let cargo = bin.path().join("cargo");
    fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_emulator"), folder.path());
    command
        .env("PATH", format!("{}:{path}", bin.path().display()))
        .env("BIN", bin.path())
        .args(["new", "acme", "--registry=1.0.0"]);
    (bin, command)
}

#[test]
fn an_interruption_leaves_nothing() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = TempDir::new().unwrap();
        // It says that it runs, and then waits for a line that never comes.
        let script = "exec 3>\"$BIN/out\"; pwd >&3; read line <\"$BIN/in\"";
        let (bin, mut command) = with_cargo(script, &folder);
        for pipe in ["out", "in"] {
            let made = Command::new("mkfifo").arg(bin.path().join(pipe)).status();
            assert!(made.unwrap().success());
        }
        let emulator = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(fs::File::open(bin.path().join("out")).unwrap());
        let mut working = String::new();
        output.read_line(&mut working).unwrap();
        // If the script is left, it ends with this test.
        let _input = fs::File::options()
            .write(true)
            .open(bin.path().join("in"))
            .unwrap();
        assert_eq!(names(folder.path()).len(), 1, "{working}");
        assert!(working.contains("/.emulator-new-"), "{working}");

        let id = emulator.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &*id])
            .status();
        assert!(sent.unwrap().success());
        let outcome = emulator.wait_with_output().unwrap();
        assert_eq!(names(folder.path()), [""; 0], "{signal}");
        assert_eq!(outcome.status.code(), Some(1), "{signal}");
        let told = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(told, "emulator: interrupted; nothing was written\n");
        // Cargo has ended before the folder was removed.
        output.read_to_string(&mut working).unwrap();
    }
}

/// A terminal sends Ctrl-C to cargo too.
#[test]
fn a_cargo_that_is_interrupted_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let (_bin, mut command) = with_cargo("kill -INT $$", &folder);
    let outcome = test_support::run(&mut command);
    assert_eq!(
        outcome.stderr,
        "emulator: interrupted; nothing was written\n"
    );
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_failure_in_the_middle_leaves_what_others_made() {
    for (script, kept, error) in [
        // Somebody else makes the folder meanwhile.
        (
            "cd ../..; mkdir acme; echo theirs > acme/notes.txt",
            "acme/notes.txt",
            "acme",
        ),
        // The files are gone.
        (
            "rm -r ../component; echo theirs > ../../notes.txt",
            "notes.txt",
            "cannot be written",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let (_bin, mut command) = with_cargo(script, &folder);
        let outcome = test_support::run(&mut command);
        assert_eq!(outcome.status, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(error), "{}", outcome.stderr);
        assert_eq!(files(folder.path()), [Path::new(kept)]);
        assert_eq!(names(folder.path()).len(), 1);
    }
}

#[test]
fn a_bad_name_is_refused_with_a_better_one() {
    let folder = TempDir::new().unwrap();
    for (name, proposal) in [
        ("Acme Orders", "try acme-orders"),
        ("serde", "the name of a crate"),
    ] {
        let error = refused(&folder, &[name], 2);
        assert!(error.contains(proposal), "{error}");
    }
}

#[test]
fn a_folder_with_files_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("acme")).unwrap();
    fs::write(folder.path().join("acme/notes.txt"), "").unwrap();
    for arguments in [&["acme"][..], &["other", "--folder", "acme"]] {
        let error = refused(&folder, arguments, 2);
        assert!(
            error.contains("acme is not empty, it has notes.txt"),
            "{error}"
        );
        assert!(error.contains("--folder"), "{error}");
    }
    let error = refused(&folder, &["other", "--folder", "acme/notes.txt"], 2);
    assert!(error.contains("acme/notes.txt"), "{error}");
}

#[test]
fn a_folder_in_a_missing_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = refused(&folder, &["acme", "--folder", "missing/acme"], 2);
    assert!(error.contains("missing/acme: No such file"), "{error}");
}

#[test]
fn a_path_without_the_packages_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = refused(&folder, &["acme", "--path", "."], 2);
    assert!(
        error.contains(". has no Cargo.toml: name a checkout"),
        "{error}"
    );

    let other = checkout();
    fs::remove_dir_all(other.path().join("emulator")).unwrap();
    let manifest = "[package]\nname = \"elasticio-sailor\"\n[lib]\npath = \"src/lib.rs\"\n";
    fs::write(other.path().join("Cargo.toml"), manifest).unwrap();
    let error = refused(
        &folder,
        &["acme", "--path", other.path().to_str().unwrap()],
        2,
    );
    assert!(
        error.contains("has no package elasticio-emulator"),
        "{error}"
    );

    fs::write(other.path().join("Cargo.toml"), "[package").unwrap();
    let error = refused(
        &folder,
        &["acme", "--path", other.path().to_str().unwrap()],
        2,
    );
    assert!(error.contains("cargo cannot read"), "{error}");
}

#[test]
fn a_source_that_cargo_cannot_find_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    for (source, text) in [
        ("--git=file:///nowhere", "the repository file:///nowhere"),
        ("--registry=999.0.0", "crates.io in version 999.0.0"),
    ] {
        let error = refused(&folder, &["acme", source], 1);
        assert!(error.contains("nothing was written"), "{error}");
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_checkout_that_cannot_be_quoted_is_refused() {
    let (folder, checkout) = (TempDir::new().unwrap(), checkout());
    for name in ["it's", "a\"b", "a$HOME"] {
        let moved = checkout.path().join(name);
        fs::create_dir(&moved).unwrap();
        for file in ["src", "emulator", "Cargo.toml"] {
            let copied = std::process::Command::new("cp")
                .arg("-r")
                .arg(checkout.path().join(file))
                .arg(&moved)
                .status();
            assert!(copied.unwrap().success());
        }
        let error = refused(&folder, &["acme", "--path", moved.to_str().unwrap()], 2);
        assert!(
            error.contains("move the checkout, or take --git"),
            "{error}"
        );
    }
}

#[test]
fn a_password_in_the_address_of_a_repository_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = refused(
        &folder,
        &["acme", "--git", "https://user:hunter2@host.example/a.git"],
        2,
    );
    assert!(error.contains("credential helper"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn an_empty_folder_stays_when_the_component_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    refused(&folder, &["acme", "--folder", ".", "--registry=999.0.0"], 1);
    assert!(folder.path().exists());
}

#[test]
fn cargo_is_asked_for_when_it_is_missing() {
    let folder = TempDir::new().unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_emulator"), folder.path());
    command.args(["new", "acme", "--registry"]).env("PATH", "");
    let outcome = test_support::run(&mut command);
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("rustup.rs"), "{}", outcome.stderr);
    assert!(files(folder.path()).is_empty());
    assert!(!folder.path().join("acme").exists());
}

#[test]
fn options_of_two_sources_are_refused() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["acme", "--git", "URL", "--path", "."][..],
        &["acme", "--path", ".", "--registry"],
        &["acme", "--rev", "12ab"],
        &["acme", "--git", "URL", "--tag", "v1", "--branch", "main"],
    ] {
        refused(&folder, arguments, 2);
    }
}
