//! What rustc tells an author whose function is no module. The likeliest mistakes are files of `compile_errors/`; the lines that
//! begin with `//~` are what must stand in rustc's answer: what is wrong with the registration, the helper of `sailor::check`, and
//! then the bound, the type and the line.
//!
//! The files are compiled against the libraries that these tests were built with, so nothing is built for them: all take a few
//! seconds. (trybuild builds every dependency once more, which takes minutes.) Cargo's folder can have several builds of a
//! library, so its notes on this binary say which ones are meant. Only lines are compared, because the whole answer is another
//! one with each compiler.

use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
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

/// What cargo notes on a library or a test in the file of its fingerprint: the crates that it is built with, each with the hash of
/// that crate's own fingerprint.
#[derive(Deserialize)]
struct Notes {
    deps: Vec<(u64, String, bool, u64)>,
}

/// The libraries that a test was built with, and where theirs are.
struct Libraries {
    externs: Vec<(&'static str, PathBuf)>,
    folders: Vec<PathBuf>,
    /// The target, if cargo was told one.
    target: Option<String>,
}

impl Libraries {
    /// Finds those of the test `exe` in cargo's folder, `…/PROFILE/deps/` or `…/TARGET/PROFILE/deps/`.
    fn of(exe: &Path, is_target: impl Fn(&str) -> bool) -> Self {
        let deps = exe.parent().unwrap();
        let profile = deps.parent().unwrap();
        let prints = profile.join(".fingerprint");
        let (test, hash) = exe
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .rsplit_once('-')
            .unwrap();
        let notes = prints.join(format!(
            "{}-{hash}/test-integration-test-{test}.json",
            env!("CARGO_PKG_NAME")
        ));
        let notes: Notes = serde_json::from_str(&read(&notes)).unwrap();
        let path = |name| {
            let mut known = notes.deps.iter().filter(|(_, known, ..)| known == name);
            let (.., print) = known
                .next()
                .unwrap_or_else(|| panic!("no {name} in the notes"));
            deps.join(format!("lib{name}-{}.rlib", hash_of(&prints, name, *print)))
        };
        let outer = profile.parent().unwrap();
        let target = outer.file_name().unwrap().to_str().unwrap();
        let target = is_target(target).then(|| target.to_owned());
        let mut folders = vec![deps.to_owned()];
        if target.is_some() {
            // The macros are built for the compiler's own machine.
            let of_host = outer.parent().unwrap().join(profile.file_name().unwrap());
            folders.push(of_host.join("deps"));
        }
        Self {
            externs: LIBRARIES.map(|name| (name, path(name))).into(),
            folders,
            target,
        }
    }
}

/// The hash in the file name of the build of a library that has this fingerprint.
fn hash_of(prints: &Path, name: &str, print: u64) -> String {
    let print: String = print
        .to_le_bytes()
        .map(|byte| format!("{byte:02x}"))
        .concat();
    let folders = fs::read_dir(prints)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut builds = folders.filter(|folder| {
        let found = fs::read_to_string(folder.join(format!("lib-{name}")));
        found.is_ok_and(|text| text == print)
    });
    let build = builds.next().unwrap_or_else(|| {
        panic!(
            "{} has no {name} with the fingerprint {print}",
            prints.display()
        )
    });
    let folder = build.file_name().unwrap().to_str().unwrap();
    folder.rsplit_once('-').unwrap().1.to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

struct Compiler {
    folder: TempDir,
    libraries: Libraries,
}

impl Compiler {
    /// Takes the libraries of this binary, and compiles the control with them.
    fn new() -> Self {
        let targets = rustc().args(["--print", "target-list"]).output().unwrap();
        let targets = String::from_utf8(targets.stdout).unwrap();
        let is_target = |name: &str| targets.lines().any(|target| target == name);
        let folder = TempDir::new().unwrap();
        let control = folder.path().join("control.rs");
        fs::write(&control, CONTROL).unwrap();
        let libraries = Libraries::of(&std::env::current_exe().unwrap(), is_target);
        let this = Self { folder, libraries };
        let output = this.compile(&control);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the control does not compile: {told}"
        );
        this
    }

    fn compile(&self, file: &Path) -> Output {
        let mut command = rustc();
        command
            .args(["--edition=2024", "--crate-type=bin", "--emit=metadata"])
            .arg("--out-dir")
            .arg(self.folder.path());
        for folder in &self.libraries.folders {
            command
                .arg("-L")
                .arg(format!("dependency={}", folder.display()));
        }
        for (name, file) in &self.libraries.externs {
            command
                .arg("--extern")
                .arg(format!("{name}={}", file.display()));
        }
        if let Some(target) = &self.libraries.target {
            command.arg("--target").arg(target);
        }
        command.arg(file).output().unwrap()
    }
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

/// A folder in which cargo has built each library twice, the wrong one last.
#[test]
fn of_several_builds_the_test_has_its_own() {
    let folder = TempDir::new().unwrap();
    let triple = "x86_64-unknown-linux-gnu";
    for (profile, is_target) in [("debug", false), (&*format!("{triple}/debug"), true)] {
        let profile = folder.path().join(profile);
        let note = |name: &str, file: &str, text: &str| {
            let folder = profile.join(".fingerprint").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        };
        let deps: Vec<_> = LIBRARIES
            .iter()
            .map(|name| (1, name, false, 0x0102_u64))
            .collect();
        let text = serde_json::json!({ "rustc": 1, "deps": deps }).to_string();
        note(
            "elasticio-sailor-aa",
            "test-integration-test-it.json",
            &text,
        );
        for name in LIBRARIES {
            let file = format!("lib-{name}");
            note(
                &format!("package-of-{name}-right"),
                &file,
                "0201000000000000",
            );
            note(
                &format!("package-of-{name}-stale"),
                &file,
                "0301000000000000",
            );
        }
        let found = Libraries::of(&profile.join("deps/it-aa"), |name| name == triple);
        let expected = LIBRARIES.map(|name| profile.join(format!("deps/lib{name}-right.rlib")));
        let paths: Vec<_> = found.externs.into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, expected);
        assert_eq!(found.target.is_some(), is_target);
        let of_host = found.folders.last().unwrap();
        assert_eq!(*of_host, folder.path().join("debug/deps"));
    }
}
