//! What must not be in the sources, read from them: the floors of ARCHITECTURE.md hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the library: its path below src/, and its text without tests and comments.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let is_test = |path: &Path| {
        path.file_stem().is_some_and(|name| name == "tests") || path.iter().any(|p| p == "tests")
    };
    let files = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs") && !is_test(path));
    files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            (
                path.strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                code,
            )
        })
        .collect()
}

/// The places where `word` stands outside of the files that may hold it.
fn strays(word: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let files = sources();
    assert!(files.len() > 20, "the sources were not found");
    assert!(
        files
            .iter()
            .any(|(path, code)| allowed(path) && code.contains(word)),
        "nothing holds `{word}` any more"
    );
    files
        .into_iter()
        .filter(|(path, code)| !allowed(path) && code.contains(word))
        .map(|(path, _)| path)
        .collect()
}

fn within(module: &'static str) -> impl Fn(&str) -> bool {
    move |path| path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
}

#[test]
fn only_amqp_names_lapin() {
    assert_eq!(strays("lapin", within("amqp")), [""; 0]);
}

#[test]
fn only_settings_reads_the_environment() {
    assert_eq!(strays("env::var", within("settings")), [""; 0]);
}

#[test]
fn the_library_does_not_end_the_process() {
    for (path, code) in sources() {
        assert!(!code.contains("process::exit"), "{path} ends the process");
    }
}

#[test]
fn amqp_knows_no_components() {
    for (path, code) in sources()
        .into_iter()
        .filter(|(path, _)| within("amqp")(path))
    {
        for module in [
            "component",
            "module",
            "context",
            "runtime",
            "platform",
            "service",
            "cli",
        ] {
            assert!(
                !code.contains(&format!("crate::{module}")),
                "{path} uses crate::{module}"
            );
        }
    }
}

#[test]
fn the_protocol_does_no_io_and_uses_nothing_above_it() {
    for (path, code) in sources()
        .into_iter()
        .filter(|(path, _)| within("protocol")(path))
    {
        for word in ["tokio", "reqwest", "std::fs", "std::net", "crate::"] {
            assert!(!code.contains(word), "{path} uses {word}");
        }
    }
}

#[test]
fn a_module_uses_only_floors_below_its_own() {
    // As in ARCHITECTURE.md, from the ground up; those on one floor may know each other.
    let floors: [&[&str]; 11] = [
        &["protocol", "settings", "descriptor", "schema", "fields"],
        &["http"],
        &["platform", "object_storage"],
        &["oauth2"],
        &["message", "error"],
        &["context", "module"],
        &["component"],
        &["transport", "telemetry"],
        &["amqp"],
        &["runtime", "service", "login"],
        &["testing", "cli"],
    ];
    let floor_of = |module: &str| floors.iter().position(|floor| floor.contains(&module));
    for (path, code) in sources().into_iter().filter(|(path, _)| path != "lib.rs") {
        let own = path.split(['/', '.']).next().unwrap();
        let own_floor =
            floor_of(own).unwrap_or_else(|| panic!("{path} stands on no floor: give it one"));
        for (at, _) in code.match_indices("crate::") {
            let used: String = code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if let Some(floor) = floor_of(&used) {
                assert!(
                    floor <= own_floor,
                    "{path} uses crate::{used}, which stands above it"
                );
            }
        }
    }
}

#[test]
fn every_task_has_an_owner() {
    for (path, code) in sources() {
        assert!(
            !code.contains("tokio::spawn("),
            "{path} spawns a task outside of a tracker"
        );
    }
}

#[test]
fn no_file_is_too_large_to_take_in() {
    for (path, code) in sources() {
        assert!(
            code.lines().count() <= 500,
            "{path} has {} lines: find the seam",
            code.lines().count()
        );
    }
}
