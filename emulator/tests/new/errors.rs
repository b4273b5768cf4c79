//! What cannot be written is refused with a reason, and leaves nothing.

use super::{checkout, files, new, program};
use std::fs;
use tempfile::TempDir;

/// Runs a command that has to fail, and returns its error. Nothing may be left but what was there.
fn refused(folder: &TempDir, arguments: &[&str], status: i32) -> String {
    let before = files(folder.path());
    let outcome = new(folder.path(), arguments);
    assert_eq!(outcome.status, status, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    assert_eq!(files(folder.path()), before);
    assert!(
        !folder.path().join("acme").exists() || before.iter().any(|path| path.starts_with("acme"))
    );
    outcome.stderr
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
