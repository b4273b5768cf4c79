//! docs/first-component.md: its commands run in their order, in a new folder, and its changes are applied. Only what needs Docker
//! and the installation of the emulator are left out.

use super::{built::target, program};
use serde_json::Value;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/first-component.md");

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

/// The folder that the reader works in, and what the last command has printed.
struct Reader {
    folder: PathBuf,
    printed: String,
}

impl Reader {
    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = match words[..] {
            ["cd", folder] => {
                self.folder.push(folder);
                return;
            }
            ["docker", ..] | ["cargo", "install", ..] => return,
            ["emulator", ref arguments @ ..] => {
                let mut command = program(env!("CARGO_BIN_EXE_emulator"), &self.folder);
                command.args(arguments);
                command
            }
            ["cargo", ref arguments @ ..] => {
                let mut command = program("cargo", &self.folder);
                command.args(arguments);
                command
            }
            _ => panic!("the test does not know `{line}`"),
        };
        let outcome = test_support::run(command.env("CARGO_TARGET_DIR", target()));
        self.printed = outcome.stdout + &outcome.stderr;
        assert_eq!(outcome.status, 0, "{line}: {}", self.printed);
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

#[test]
fn the_tutorial_works_as_written() {
    let folder = TempDir::new().unwrap();
    let mut reader = Reader {
        folder: folder.path().to_path_buf(),
        printed: String::new(),
    };
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
    assert!(reader.folder.join("src/create_item.rs").exists());
}
