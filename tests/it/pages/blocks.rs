//! The pages, their fenced blocks, and the commands in their text.

use super::root;
use std::{fs, path::Path};

/// A fenced block.
pub(super) struct Block {
    pub(super) page: String,
    /// The line of the opening fence, from 1 on.
    pub(super) line: usize,
    /// What follows the fence, up to the first comma.
    pub(super) language: String,
    /// What follows after commas.
    pub(super) tags: Vec<String>,
    pub(super) text: String,
}

/// Every page of the repository except the changelog, which tells what was: its path and its text.
pub(super) fn pages() -> Vec<(String, String)> {
    let mut found = files(".md");
    found.retain(|(page, _)| page != "CHANGELOG.md");
    found
}

/// The files whose names end so, with their texts.
pub(super) fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(root(), ending, &mut found);
    found
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        if path.is_dir() && !skipped {
            walk(&path, ending, found);
        } else if name.ends_with(ending) {
            let below = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((below, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The fenced blocks of a page.
pub(super) fn of(page: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (at, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(info) => {
                is_open = true;
                let mut tags = info.split(',').map(|tag| tag.trim().to_owned());
                blocks.push(Block {
                    page: page.to_owned(),
                    line: at + 1,
                    language: tags.next().unwrap_or_default(),
                    tags: tags.collect(),
                    text: String::new(),
                });
            }
            None if is_open => {
                if let Some(block) = blocks.last_mut() {
                    block.text += line;
                    block.text.push('\n');
                }
            }
            None => {}
        }
    }
    blocks
}

/// The programs whose commands in the text are checked.
const PROGRAMS: [&str; 6] = [
    "emulator ",
    "component ",
    "cargo doc ",
    "cargo run ",
    "scripts/",
    ".ci/",
];

/// The commands between backticks, with their lines. What has something to fill in, or a choice, is no command.
pub(super) fn commands_in_text(text: &str) -> Vec<(usize, String)> {
    let is_command = |code: &&str| {
        let mut programs = PROGRAMS.iter();
        programs.any(|name| code.len() > name.len() && code.starts_with(name))
    };
    let mut found = Vec::new();
    for (line, sentence) in sentences(text) {
        let codes = sentence.split('`').skip(1).step_by(2);
        let commands = codes.filter(is_command);
        let complete = commands.filter(|code| !code.contains(['…', '[', '*', ';']));
        found.extend(complete.map(|code| (line, code.replace("\\|", "|"))));
    }
    found
}

/// The lines outside of blocks. One that ends between two backticks goes on in the next one.
fn sentences(text: &str) -> Vec<(usize, String)> {
    let mut sentences: Vec<(usize, String)> = Vec::new();
    let (mut is_block, mut goes_on) = (false, false);
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            match sentences.last_mut() {
                Some((_, last)) if goes_on => *last += &format!(" {}", line.trim()),
                _ => sentences.push((at + 1, line.to_owned())),
            }
            let ticks = sentences
                .last()
                .map_or(0, |(_, text)| text.matches('`').count());
            goes_on = !line.is_empty() && ticks % 2 == 1;
        }
    }
    sentences
}
