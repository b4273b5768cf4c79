//! Components that cargo runs: they are built first, with visible output and before any time limit starts.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// This package.
const PACKAGE: &str = env!("CARGO_PKG_NAME");
/// Its binary, which is built already.
const BINARY: &str = "emulator";

/// What cargo says about the workspace.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_default_members: Vec<String>,
    pub(crate) workspace_root: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
}

/// Cargo's message about a file that it has built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Turns the component's command into one that starts immediately: `cargo run` becomes the binary that it would run.
/// Other commands are unchanged. The default is `cargo run`.
///
/// Cargo chooses the features of dependencies for the packages that are built together. So a component of the emulator's
/// workspace is built together with the emulator, so that their common dependencies are built once.
pub(crate) fn built(mut command: Vec<String>) -> anyhow::Result<Vec<String>> {
    if command.is_empty() {
        command = vec!["cargo".to_owned(), "run".to_owned()];
    }
    let Some((options, arguments)) = split(&command) else {
        return Ok(command);
    };
    let mut build = cargo();
    build
        .arg("build")
        .args(options.iter().filter(|option| !is_quiet(option)))
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(emulator) = emulator_here() {
        build.args(["--package", &emulator]);
        if !names_a_package(options) {
            for package in chosen_packages().unwrap_or_default() {
                build.args(["--package", &package]);
            }
        }
    }
    let output = build
        .output()
        .context("cargo cannot be started; is it installed?")?;
    ensure!(
        output.status.success(),
        "the component cannot be built: cargo's errors stand above"
    );
    let started = match &executables(&output.stdout)[..] {
        [executable] => vec![executable.clone()],
        // Cargo chooses among several binaries, or explains why it cannot.
        _ => [
            &["cargo", "run"].map(str::to_owned),
            options,
            &["--".to_owned()],
        ]
        .concat(),
    };
    Ok([&started, arguments].concat())
}

/// The folders where the component.json of a command may be, the likeliest first: those of the package that cargo runs, or the
/// current one.
pub(crate) fn component_folders(command: &[String]) -> Vec<PathBuf> {
    let named = match command {
        [] => None,
        command => named_package(command),
    };
    let package = named.and_then(|name| {
        let metadata = metadata()?;
        let mut packages = metadata.packages.into_iter();
        packages.find(|package| package.name == name)
    });
    match package.and_then(|package| Some(package.manifest_path.parent()?.to_owned())) {
        // A package can be a folder of its component, such as `lib/`.
        Some(folder) => {
            let parent = folder.parent().map(Path::to_owned);
            std::iter::once(folder).chain(parent).collect()
        }
        None => vec![PathBuf::from(".")],
    }
}

/// Whether the emulator builds the component that a command starts.
pub(crate) fn is_built(command: &[String]) -> bool {
    command.is_empty() || split(command).is_some()
}

/// The folders of the packages of this workspace, whose sources the component is built from; none outside of one.
pub(crate) fn source_folders() -> Vec<PathBuf> {
    let packages = metadata()
        .map(|metadata| metadata.packages)
        .unwrap_or_default();
    let folders = packages.iter().filter_map(|p| p.manifest_path.parent());
    folders.map(Path::to_owned).collect()
}

fn metadata() -> Option<Metadata> {
    let output = ask_metadata(None).ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// Asks cargo for the [`Metadata`] of a manifest's workspace, or of the current folder's.
pub(crate) fn ask_metadata(manifest: Option<&Path>) -> io::Result<Output> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    if let Some(manifest) = manifest {
        command.arg("--manifest-path").arg(manifest);
    }
    command.stdin(Stdio::null()).output()
}

/// The package that a `cargo run` names.
fn named_package(command: &[String]) -> Option<String> {
    let (options, _) = split(command)?;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.as_str() {
            "-p" | "--package" => return options.next().cloned(),
            _ => {}
        }
        let joined = option
            .strip_prefix("--package=")
            .or_else(|| option.strip_prefix("-p"));
        if let Some(name) = joined {
            return Some(name.to_owned());
        }
    }
    None
}

/// Cargo, without the variables that an outer `cargo run` has set: ring is built again when they change.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The options and the component's arguments of a `cargo run`; nothing for other commands, and for packages elsewhere.
fn split(command: &[String]) -> Option<(&[String], &[String])> {
    let ["cargo", "run" | "r"] = [command.first()?.as_str(), command.get(1)?.as_str()] else {
        return None;
    };
    let rest = &command[2..];
    let end = rest.iter().position(|word| word == "--");
    let options = &rest[..end.unwrap_or(rest.len())];
    let arguments = end.map_or(&[][..], |end| &rest[end + 1..]);
    let elsewhere = |option: &String| option.starts_with("--manifest-path");
    (!options.iter().any(elsewhere)).then_some((options, arguments))
}

/// The option that hides cargo's progress.
fn is_quiet(option: &str) -> bool {
    option == "-q" || option == "--quiet"
}

fn names_a_package(options: &[String]) -> bool {
    options
        .iter()
        .any(|option| option.starts_with("-p") || option.starts_with("--package"))
}

/// The emulator's id, in its workspace. Elsewhere it is a dependency of tests at most, which cargo does not build by its name.
fn emulator_here() -> Option<String> {
    let mut packages = metadata()?.packages.into_iter();
    let emulator = packages.find(|package| package.name == PACKAGE)?;
    Some(emulator.id)
}

/// The ids of the packages that cargo builds here when none is named: in the workspace's own folder its default members,
/// and elsewhere the folder's package.
fn chosen_packages() -> Option<Vec<String>> {
    let manifest = answer(&["locate-project", "--message-format", "plain"])?;
    let manifest = Path::new(&manifest);
    let metadata = metadata()?;
    if manifest == metadata.workspace_root.join("Cargo.toml") {
        return Some(metadata.workspace_default_members);
    }
    let mut packages = metadata.packages.into_iter();
    let current = packages.find(|package| package.manifest_path == manifest)?;
    Some(vec![current.id])
}

/// What a command of cargo prints; nothing if it fails.
fn answer(arguments: &[&str]) -> Option<String> {
    let output = cargo()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The component's executables in cargo's output, which is a JSON object per line.
fn executables(output: &[u8]) -> Vec<String> {
    output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name != BINARY)
        .filter_map(|artifact| artifact.executable)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_cargo_run_in_this_folder_is_built_first() {
        for command in [
            "node run.js",
            "cargo",
            "cargo test",
            "cargo run --manifest-path a/Cargo.toml",
        ] {
            assert!(split(&words(command)).is_none(), "{command}");
            assert_eq!(built(words(command)).unwrap(), words(command));
        }
    }

    #[test]
    fn arguments_after_two_dashes_are_the_components() {
        for (command, options, arguments) in [
            ("cargo run", "", ""),
            ("cargo run --", "", ""),
            (
                "cargo r -q -p outlook -- check -- x",
                "-q -p outlook",
                "check -- x",
            ),
        ] {
            let (options, arguments) = (words(options), words(arguments));
            assert_eq!(
                split(&words(command)),
                Some((&options[..], &arguments[..])),
                "{command}"
            );
        }
    }

    #[test]
    fn the_package_of_a_cargo_run_is_known_by_its_options() {
        for (command, package) in [
            ("cargo run -q -p outlook", Some("outlook")),
            ("cargo run --package outlook -- -p x", Some("outlook")),
            ("cargo run --package=outlook", Some("outlook")),
            ("cargo r -poutlook", Some("outlook")),
            ("cargo run -- -p x", None),
            ("node -p x", None),
        ] {
            assert_eq!(
                named_package(&words(command)).as_deref(),
                package,
                "{command}"
            );
        }
    }

    #[test]
    fn the_emulators_own_binary_is_not_the_component() {
        let output =
            br#"{"reason":"compiler-artifact","target":{"name":"sailor"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"emulator"},"executable":"/target/debug/emulator"}
{"reason":"compiler-artifact","target":{"name":"component"},"executable":"/target/debug/component"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executables(output), ["/target/debug/component"]);
    }
}
