//! Reads the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file of the library, without its tests.
pub(super) struct Source {
    /// Below `src/`.
    pub(super) path: String,
    /// Its module, such as `["broker", "amqp"]`.
    pub(super) module: Vec<String>,
    /// Its text without comment lines and the test module at its end.
    pub(super) code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn rust_files(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(folder, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let below = path.strip_prefix(folder).unwrap();
            (below.to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// Every Rust file of the repository, tests included.
pub(super) fn every_rust_file() -> Vec<(String, String)> {
    rust_files(root())
}

/// Every file of the library except its tests.
pub(super) fn library() -> Vec<Source> {
    let files = rust_files(&root().join("src"));
    files
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| source(path, &text))
        .collect()
}

fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

fn source(path: String, text: &str) -> Source {
    let (code, tests) = text
        .split_once("#[cfg(test)]\nmod tests {")
        .unwrap_or((text, "\n}"));
    let after_tests = tests.split_once("\n}").map_or("", |(_, after)| after);
    assert!(
        after_tests.trim().is_empty(),
        "{path} goes on after its test module, which has to be the last item"
    );
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let module = path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .map(str::to_owned)
        .collect();
    Source {
        module,
        code: code.join("\n"),
        path,
    }
}
