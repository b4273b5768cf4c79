//! Components that cargo builds first.

use super::emulator;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Writes a package without dependencies, of one file below `src/`.
fn write_package(folder: &Path, name: &str, workspace: &str, file: &str, code: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{workspace}\n");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src").join(file), code).unwrap();
}

/// A package with this code in its `main`.
fn package(main: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let main = format!("fn main() {{ {main} }}");
    write_package(folder.path(), "tiny", "[workspace]", "main.rs", &main);
    folder
}

/// A workspace like this repository: a library at its root, the emulator, and components, one of which is built by default.
fn workspace() -> TempDir {
    let folder = TempDir::new().unwrap();
    let members = "[workspace]\nmembers = [\"*\"]\nexclude = [\"src\", \"target\"]\ndefault-members = [\".\", \"first\"]";
    write_package(folder.path(), "root", members, "lib.rs", "");
    write_package(
        &folder.path().join("emulator"),
        "elasticio-emulator",
        "",
        "lib.rs",
        "",
    );
    for name in ["first", "second"] {
        let main = "fn main() { std::process::exit(3) }";
        write_package(&folder.path().join(name), name, "", "main.rs", main);
    }
    folder
}

#[test]
fn a_cargo_run_is_built_visibly_and_started_as_a_binary() {
    let package = package("std::process::exit(3)");
    for command in [&["--"][..], &["--", "cargo", "run", "-q", "--bin", "tiny"]] {
        let arguments = [&["run", "--function", "f"], command].concat();
        let outcome = emulator(package.path(), arguments);
        assert_eq!(outcome.status, 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("Finished"), "{}", outcome.stderr);
        assert!(
            outcome.stdout.contains("debug/tiny\n"),
            "{}",
            outcome.stdout
        );
        assert!(
            outcome.stdout.contains("ended with status 3"),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn the_component_of_the_current_folder_is_built_and_started() {
    let workspace = workspace();
    for (folder, component) in [("", "first"), ("first", "first"), ("second", "second")] {
        let outcome = emulator(&workspace.path().join(folder), ["run", "--function", "f"]);
        let started = format!("debug/{component}\n");
        assert!(outcome.stdout.contains(&started), "{}", outcome.stdout);
    }
}

#[test]
fn a_failed_build_ends_the_run_with_cargos_errors() {
    let package = package("no_such_function()");
    let outcome = emulator(package.path(), ["demo"]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.contains("no_such_function"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("the component cannot be built"),
        "{}",
        outcome.stderr
    );
}
