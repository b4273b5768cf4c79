//! Components that cargo builds first.

use super::emulator;
use tempfile::TempDir;

/// A package without dependencies, with this code in its `main`.
fn package(main: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let manifest = "[package]\nname = \"tiny\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    let main = format!("fn main() {{ {main} }}");
    std::fs::write(folder.path().join("src/main.rs"), main).unwrap();
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
