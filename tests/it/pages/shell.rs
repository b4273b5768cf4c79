//! Blocks of a shell: their lines are split as a shell splits them, and each command is checked.

use super::{Problems, blocks::Block, command};

/// Words after which the next command begins.
const BETWEEN: [&str; 5] = ["&&", "||", "|", ";", "&"];
/// Words before a file, where a command's words end.
const REDIRECTIONS: [&str; 4] = [">", ">>", "<", "2>"];

pub(super) fn problems(block: &Block) -> Problems {
    let found = lines(block).into_iter();
    found
        .filter_map(|(line, text)| Some((line, check(&text, &block.page).err()?)))
        .collect()
}

/// The lines of a block with their places. A line that ends with a backslash goes on in the next one. In a block `console`
/// only what follows `$ ` is typed.
fn lines(block: &Block) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in block.text.lines().enumerate() {
        let typed = match block.language.as_str() {
            "console" if !goes_on => line.strip_prefix("$ "),
            _ => Some(line),
        };
        let Some(typed) = typed else { continue };
        let (text, next) = match typed.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (typed, false),
        };
        match lines.last_mut() {
            Some((_, last)) if goes_on => *last += text,
            _ => lines.push((block.line + 1 + at, text.to_owned())),
        }
        goes_on = next;
    }
    lines
}

/// Checks all commands of a line.
pub(super) fn check(line: &str, page: &str) -> Result<(), String> {
    let words = shlex::split(line).ok_or("a quote is not closed")?;
    for command in words.split(|word| BETWEEN.contains(&word.as_str())) {
        let end = command
            .iter()
            .position(|word| REDIRECTIONS.contains(&word.as_str()));
        let command = &command[..end.unwrap_or(command.len())];
        let is_assignment = |word: &&String| {
            let name = word.split_once('=').map_or("", |(name, _)| name);
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        };
        let assignments = command.iter().take_while(is_assignment).count();
        let words: Vec<&str> = command[assignments..].iter().map(String::as_str).collect();
        if !words.is_empty() {
            command::check(&words, page)?;
        }
    }
    Ok(())
}
