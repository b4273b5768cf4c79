//! What rustc tells an author whose function is no module. The likeliest mistakes are files of `compile_errors/`; the lines that
//! begin with `//~` are what must stand in rustc's answer: what is wrong with the registration, the helper of `sailor::check`, and
//! then the bound, the type and the line.
//!
//! The files are compiled against the libraries that these tests were built with, so nothing is built for them: all take a few
//! seconds. (trybuild builds every dependency once more, which takes minutes.) Only lines are compared, because the whole
//! answer is another one with each compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};
use tempfile::TempDir;

/// The libraries that a component uses.
const LIBRARIES: [&str; 4] = ["sailor", "serde", "serde_json", "anyhow"];

/// A component without a mistake: it compiles only with libraries that belong together.
const CONTROL: &str = r#"
use sailor::prelude::*;
#[derive(serde::Deserialize, serde::Serialize, JsonSchema)]
struct Order { amount: f64 }
async fn copy(message: Message<Order>, cx: Context<serde_json::Value, Order>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}
fn same(cx: Context) -> Context<serde_json::Value, serde_json::Value> {
    cx
}
fn main() {
    let _ = same;
    sailor::check::action(copy);
    let _ = Component::new("{}").map(|component| component.action("copy", copy));
}
"#;

struct Compiler {
    folder: TempDir,
    deps: PathBuf,
    externs: Vec<(&'static str, PathBuf)>,
}

impl Compiler {
    /// Finds the libraries of this binary: of those that cargo has built in its folder, the newest ones that compile the control.
    fn new() -> Self {
        let exe = std::env::current_exe().unwrap();
        let deps = exe.parent().unwrap().to_owned();
        let folder = TempDir::new().unwrap();
        let control = folder.path().join("control.rs");
        fs::write(&control, CONTROL).unwrap();
        let mut combinations = vec![Vec::new()];
        for name in LIBRARIES {
            let files = libraries(&deps, name);
            assert!(!files.is_empty(), "{} has no lib{name}", deps.display());
            combinations = combinations
                .into_iter()
                .flat_map(|chosen: Vec<_>| {
                    files.iter().map(move |file| {
                        let mut chosen = chosen.clone();
                        chosen.push((name, file.clone()));
                        chosen
                    })
                })
                .collect();
        }
        let mut compiler = Self {
            folder,
            deps,
            externs: Vec::new(),
        };
        let mut last = String::new();
        for externs in combinations {
            compiler.externs = externs;
            let output = compiler.compile(&control);
            if output.status.success() {
                return compiler;
            }
            last = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        panic!("no libraries compile the control: {last}");
    }

    fn compile(&self, file: &Path) -> Output {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command
            .args(["--edition=2024", "--crate-type=bin", "--emit=metadata"])
            .arg("-L")
            .arg(format!("dependency={}", self.deps.display()))
            .arg("--out-dir")
            .arg(self.folder.path());
        for (name, file) in &self.externs {
            command
                .arg("--extern")
                .arg(format!("{name}={}", file.display()));
        }
        command.arg(file).output().unwrap()
    }
}

/// The files of a library, the newest first.
fn libraries(deps: &Path, name: &str) -> Vec<PathBuf> {
    let begin = format!("lib{name}-");
    let entries = fs::read_dir(deps).unwrap().map(Result::unwrap);
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter(|entry| {
            let file = entry.file_name().into_string().unwrap_or_default();
            file.starts_with(&begin) && file.ends_with(".rlib")
        })
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    files.into_iter().map(|(_, path)| path).collect()
}

#[test]
fn compile_errors_lead_to_the_fix() {
    let compiler = Compiler::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/compile_errors");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let source = fs::read_to_string(&file).unwrap();
        let output = compiler.compile(&file);
        let told = String::from_utf8_lossy(&output.stderr);
        let name = file.file_name().unwrap().to_string_lossy();
        if output.status.success() {
            wrong.push(format!("{name} compiles"));
        }
        let expected = source.lines().filter_map(|line| line.strip_prefix("//~ "));
        let expected: Vec<_> = expected.collect();
        if expected.is_empty() {
            wrong.push(format!("{name} expects no error"));
        }
        let missing: Vec<_> = expected
            .iter()
            .filter(|text| !told.contains(**text))
            .collect();
        if !missing.is_empty() {
            wrong.push(format!("{name}: {missing:#?} are not in:\n{told}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 0, "the files were not found");
}
