//! `emulator new`: what it writes, and what it refuses.

mod built;
mod compose;
mod deploy;
mod errors;
mod image;
mod sources;
mod tutorial;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use test_support::Outcome;

/// The repository that this test is of.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A program without what the cargo that runs this test has set: ring is built again when that changes. The crates are there
/// since this test was built, so nothing is downloaded.
fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder).env("CARGO_NET_OFFLINE", "true");
    command
}

fn new<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Outcome {
    let mut command = program(env!("CARGO_BIN_EXE_emulator"), folder);
    test_support::run(command.arg("new").args(arguments))
}

/// Every file below a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A checkout with both packages, which have no code.
fn checkout() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str| {
        format!("[package]\nname = \"elasticio-{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
    };
    write("src/lib.rs", "");
    write("emulator/src/lib.rs", "");
    write("emulator/Cargo.toml", &package("emulator"));
    write(
        "Cargo.toml",
        &format!(
            "[workspace]\nmembers = [\"emulator\"]\n{}",
            package("sailor")
        ),
    );
    folder
}
