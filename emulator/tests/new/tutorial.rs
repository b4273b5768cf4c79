//! docs/first-component.md: its commands run in their order, in a new folder, and its changes are applied. Only what needs Docker
//! and the installation of the emulator are left out. The reader's API is the one of a provider in this process.

use super::{built::target, program};
use emulator::provider::{Provider, ProviderConfig, RecordedCall};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
};
use tempfile::TempDir;
use test_support::Outcome;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::unix::pipe,
    runtime::Runtime,
};

const PAGE: &str = include_str!("../../../docs/first-component.md");
/// The API's address on the page.
const API: &str = "https://api.acme.example/v1";

/// A fenced block, and the comment above it, which says where the block belongs.
struct Block {
    language: &'static str,
    comment: Option<&'static str>,
    text: String,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut open, mut before) = (Vec::new(), None, "");
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let comment = before
                    .strip_prefix("<!-- ")
                    .and_then(|text| text.strip_suffix(" -->"));
                open = Some(Block {
                    language,
                    comment,
                    text: String::new(),
                });
            }
            (Some(_), _) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, None) => {}
        }
        before = line;
    }
    blocks
}

/// The folder that the reader works in, what the last command has printed, and what was exported.
struct Reader {
    folder: PathBuf,
    printed: String,
    exported: Vec<(String, String)>,
    provider: Provider,
    browser: Browser,
    runtime: Runtime,
}

impl Reader {
    fn new(folder: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let provider = runtime.block_on(Provider::start(ProviderConfig::default()));
        Self {
            folder: folder.to_owned(),
            printed: String::new(),
            exported: Vec::new(),
            provider: provider.unwrap(),
            browser: Browser::new(),
            runtime,
        }
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, arguments) = words.split_first().unwrap();
        let mut command = match (*name, arguments) {
            ("cd", [folder]) => return self.folder.push(folder),
            ("export", variables) => return variables.iter().for_each(|v| self.export(v)),
            ("docker", _) | ("cargo", ["install", ..]) => return,
            ("emulator", _) => program(env!("CARGO_BIN_EXE_emulator"), &self.folder),
            ("cargo", _) => program("cargo", &self.folder),
            _ => panic!("the test does not know `{line}`"),
        };
        command
            .args(arguments)
            .env("CARGO_TARGET_DIR", target())
            .envs(self.exported.iter().cloned());
        let outcome = if line.contains(" login ") {
            self.runtime.block_on(self.browser.visits(command))
        } else {
            test_support::run(&mut command)
        };
        self.printed = outcome.stdout + &outcome.stderr;
        assert_eq!(outcome.status, 0, "{line}: {}", self.printed);
    }

    /// Exports a variable of component.json, with what it is at the provider of this test.
    fn export(&mut self, variable: &str) {
        let (name, _) = variable.split_once('=').unwrap();
        let descriptor = fs::read_to_string(self.folder.join("component.json")).unwrap();
        let descriptor: Value = serde_json::from_str(&descriptor).unwrap();
        assert!(descriptor["envVars"].get(name).is_some(), "{name}");
        let value = match name {
            "API_CLIENT_ID" => self.provider.client_id().to_owned(),
            "API_CLIENT_SECRET" => self.provider.client_secret().to_owned(),
            "API_AUTH_URI" => self.provider.authorize_url(),
            "API_TOKEN_URI" => self.provider.token_url(),
            _ => panic!("the test does not know {name}"),
        };
        self.exported.push((name.to_owned(), value));
    }

    /// Each part between `…` has been printed.
    fn compare(&self, shown: &str) {
        for part in shown
            .lines()
            .flat_map(|line| line.split('…'))
            .map(str::trim)
        {
            assert!(
                self.printed.contains(part),
                "{part} is not in {}",
                self.printed
            );
        }
    }

    fn apply(&self, place: &str, text: &str) {
        if let Some(place) = place.strip_prefix("replaces in ") {
            let (file, start) = place.split_once(": ").unwrap();
            self.edit(file, |old| {
                let from = old
                    .find(start)
                    .unwrap_or_else(|| panic!("{file} has no {start}"));
                let to = from + old[from..].find("\n}\n").unwrap() + 3;
                format!("{}{text}{}", &old[..from], &old[to..])
            });
        } else if let Some(file) = place.strip_prefix("appends to ") {
            self.edit(file, |old| format!("{old}\n{text}"));
        } else if let Some(pointer) = place.strip_prefix("adds to component.json: ") {
            self.edit("component.json", |old| {
                let mut whole: Value = serde_json::from_str(old).unwrap();
                let members: Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
                let target = whole.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
                target.extend(members.as_object().unwrap().clone());
                format!("{whole:#}\n")
            });
        } else if let Some(file) = place.strip_prefix("writes ") {
            assert!(text.contains(API), "{text}");
            let text = text.replace(API, &self.provider.api_url());
            fs::write(self.folder.join(file), text).unwrap();
        } else {
            panic!("the test does not know `{place}`");
        }
    }

    fn edit(&self, file: &str, change: impl FnOnce(&str) -> String) {
        let path = self.folder.join(file);
        let old = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&old)).unwrap();
    }
}

/// A browser whose user agrees at once: the program that opens addresses writes them into a pipe.
struct Browser {
    folder: TempDir,
}

impl Browser {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        // The one of Linux, and the one of macOS.
        for name in ["xdg-open", "open"] {
            let opener = folder.path().join(name);
            let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >'{}'\n", pipe.display());
            fs::write(&opener, script).unwrap();
            fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// Runs a command to its end, and visits the address that it opens.
    async fn visits(&self, mut command: Command) -> Outcome {
        let others = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{others}", self.folder.path().display()));
        let pipe = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(self.folder.path().join("pipe"));
        let mut addresses = BufReader::new(pipe.unwrap()).lines();
        let mut ended = pin!(tokio::process::Command::from(command).output());
        let address = tokio::select! {
            ended = &mut ended => panic!("it has opened no address: {ended:?}"),
            address = addresses.next_line() => address.unwrap().unwrap(),
        };
        let response = reqwest::get(address).await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
        let output = ended.await.unwrap();
        Outcome {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// In a table, a line about a file of `src/` names what that file has.
fn what_is_named_is_there(reader: &Reader) {
    let lines = PAGE.lines().filter(|line| line.starts_with("| `src/"));
    let mut named = 0;
    for line in lines {
        let mut codes = line.split('`').skip(1).step_by(2);
        let file = codes.next().unwrap();
        let text = fs::read_to_string(reader.folder.join(file)).unwrap();
        for code in codes {
            assert!(text.contains(code), "{file} has no {code}");
            named += 1;
        }
    }
    assert!(named > 10, "the table was not found: {named}");
}

#[test]
fn the_tutorial_works_as_written() {
    let folder = TempDir::new().unwrap();
    let mut reader = Reader::new(folder.path());
    for Block {
        language,
        comment,
        text,
    } in blocks()
    {
        match (language, comment) {
            ("sh", None) => text.lines().for_each(|line| reader.run(line)),
            ("text", None) => reader.compare(&text),
            ("rust" | "json", Some(place)) => reader.apply(place, &text),
            _ => panic!("nothing runs this block of {language}: {text}"),
        }
    }
    what_is_named_is_there(&reader);
    // The requests that the page sends with the account of its reader.
    let calls = reader.provider.api_calls();
    let calls: Vec<String> = calls.iter().map(RecordedCall::line).collect();
    assert_eq!(calls, ["GET /api/me", "POST /api/items"]);
}
