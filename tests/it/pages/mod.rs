//! Every fenced block of every page is held against what it is about: Rust is compiled as a test of the documentation, JSON,
//! TOML and YAML are parsed, JavaScript too where Node is installed, component.json by its rules, and each command of a shell is parsed by the program that it calls.
//! What cannot be checked is listed here, and anything else is an error that names page and line.
//!
//! A file that a command reads exists, or is one that the reader has. `lib/tests/it/samples.rs`, `examples/hello/tests/readme.rs` and
//! the tests of the components run the commands on sample files.

mod blocks;
mod command;
mod data;
mod shell;

use blocks::{Block, pages};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What programs print, and drawings. Nothing compares them.
const NOT_CHECKED: [&str; 2] = ["text", "mermaid"];
/// Code for the Java sailor, beside ours. The migration page has it.
const NOT_COMPILED: &str = "java";

/// `emulator/tests/new/tutorial.rs` runs this page from the top to the end, and fails at a block that it does not know.
const TUTORIAL: &str = "docs/first-component.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is wrong with a block, or with one of its lines: the line in the page, and the reason.
type Problems = Vec<(usize, String)>;

fn problems(block: &Block) -> Problems {
    let whole = |result: Result<(), String>| match result {
        Ok(()) => vec![],
        Err(reason) => vec![(block.line, reason)],
    };
    if block.page == TUTORIAL {
        return vec![];
    }
    match block.language.as_str() {
        "rust" => whole(is_compiled(block)),
        "json" => whole(data::json(&block.text)),
        "toml" => whole(data::toml(&block.text)),
        "yaml" => whole(data::yaml(&block.text)),
        "sh" | "console" => shell::problems(block),
        language if NOT_CHECKED.contains(&language) => vec![],
        "js" => whole(data::javascript(&block.text)),
        NOT_COMPILED => vec![],
        "" => whole(Err(
            "has no language: `text` is for what a program prints".to_owned()
        )),
        language => whole(Err(format!("nothing checks a block of {language}"))),
    }
}

/// The page whose block is the code of an example, and the example.
const OF_AN_EXAMPLE: (&str, &str) = ("README.md", "examples/hello/src/main.rs");

/// The tags of a block that is compiled all the same.
const COMPILED: [&str; 3] = ["no_run", "standalone_crate", "test_harness"];

/// Whether the block is in an example, or `src/documentation.rs` has the page and the block is not left out of the tests.
fn is_compiled(block: &Block) -> Result<(), String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    if block.page == OF_AN_EXAMPLE.0 {
        let is_there = read(OF_AN_EXAMPLE.1).contains(&block.text);
        let reason = || format!("is not the code of {}", OF_AN_EXAMPLE.1);
        return is_there.then_some(()).ok_or_else(reason);
    }
    if block
        .tags
        .iter()
        .any(|tag| !COMPILED.contains(&tag.as_str()))
    {
        return Err(format!(
            "is not compiled, because of its tags: {}",
            block.tags.join(",")
        ));
    }
    let list = read("src/documentation.rs");
    if list.contains(&format!("\"../{}\"", block.page)) {
        Ok(())
    } else {
        Err("is not compiled: src/documentation.rs does not have the page".to_owned())
    }
}

#[test]
fn every_block_of_every_page_is_checked() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (page, text) in pages() {
        for block in blocks::of(&page, &text) {
            checked += 1;
            let found = problems(&block).into_iter();
            wrong.extend(found.map(|(line, reason)| format!("{page}:{line}: {reason}")));
        }
    }
    assert!(checked > 60, "the pages were not found: {checked} blocks");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Commands in the text, between backticks.
#[test]
fn every_command_in_a_sentence_is_checked() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (page, text) in pages() {
        for (line, command) in blocks::commands_in_text(&text) {
            checked += 1;
            let found = shell::check(&command, &page);
            wrong.extend(found.err().map(|reason| format!("{page}:{line}: {reason}")));
        }
    }
    assert!(checked > 40, "the commands were not found: {checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file that is left from a page of the past would hide a mistyped one.
#[test]
fn every_file_of_the_reader_is_on_a_page() {
    let pages = pages();
    for file in command::OF_THE_READER {
        let is_there = pages
            .iter()
            .any(|(_, text)| text.contains(&format!(" {file}")));
        assert!(is_there, "no page has {file}");
    }
}

/// The folders that a path on a page can begin in: the repository's, the page's, and that of a component that `emulator new` has
/// written.
fn folders(page: &str) -> [PathBuf; 3] {
    let beside = root().join(page).parent().unwrap_or(root()).to_path_buf();
    let new = root().join("emulator/templates/component");
    [root().to_path_buf(), beside, new]
}

/// Each kind of mistake is found, and named with its line.
#[test]
fn a_mistake_on_a_page_is_found() {
    for (line, block) in [
        (1, "```rust\nfn not_of_the_example() {}\n```"),
        (1, "```\nno language\n```"),
        (1, "```cobol\nSTOP RUN.\n```"),
        (1, "```json\n{ \"a\": }\n```"),
        (
            1,
            "```json\n{ \"actions\": { \"a\": { \"main\": 7 } } }\n```",
        ),
        (1, "```toml\na = \n```"),
        (1, "```yaml\na: [\n```"),
        (2, "```sh\nemulator run --no-such-option\n```"),
        (3, "```sh\nemulator demo\nemulator dance\n```"),
        (2, "```sh\ncomponent check --descriptor\n```"),
        (2, "```sh\ncargo run -p no-such-package -- demo\n```"),
        (
            2,
            "```sh\ncargo run -p elasticio-emulator -- demo --no-such-option\n```",
        ),
        (
            2,
            "```sh\ncargo doc -p elasticio-emulator --example no-such\n```",
        ),
        (
            2,
            "```sh\nemulator run -- cargo run -p no-such-package\n```",
        ),
        (
            2,
            "```sh\nemulator run --config samples/no-such-file.json\n```",
        ),
        (2, "```sh\nemulator run --message no-such-file.json\n```"),
        (2, "```sh\nemulator new a --path no/such/folder\n```"),
        (
            2,
            "```sh\ncomponent check --descriptor examples/hello/no-such-file.json\n```",
        ),
        (2, "```sh\ncomponent inspect no-such-body.bin\n```"),
        (2, "```sh\nscripts/no-such-script\n```"),
        (2, "```sh\nscripts/faults --no-such-option\n```"),
        (2, "```sh\nscripts/faults --qui\n```"),
        (2, "```sh\nemulator run --function NAME --protocol 9\n```"),
        (1, "```rust,compile_fail\nlet x: u8 = ();\n```"),
        (2, "```sh\necho a | frobnicate\n```"),
        (2, "```sh\nemulator run --message 'a\n```"),
    ] {
        let found: Vec<_> = blocks::of("README.md", block)
            .iter()
            .flat_map(problems)
            .collect();
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [line], "{block}: {found:?}");
    }
    for good in [
        "```json\n\"credentials\": { \"fields\": {} }\n```",
        "```json\n{ \"a\": 1, … }\n```",
        "```sh\nA=b emulator demo   # a comment\necho x && emulator run \\\n  --message message.json\n```",
        "```sh\nemulator run --function NAME -- node run.js\n```",
        "```console\n$ scripts/faults --quick\nwhat it prints\n```",
        "```text\nanything\n```",
    ] {
        let blocks = blocks::of("README.md", good);
        let found: Vec<_> = blocks.iter().flat_map(problems).collect();
        assert!(!blocks.is_empty() && found.is_empty(), "{good}: {found:?}");
    }
}
