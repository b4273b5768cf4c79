//! Files of variables: lines `NAME=VALUE`, with the rules that `.env` has for docker compose and for Node's `dotenv`.
//!
//! dotenvy reads them. It takes no blank in a value without quotes, and gives quotes and backslashes a meaning there, so such a
//! value is put into quotes first.

use crate::input::InputError;
use std::{fs, path::Path};

/// Reads the variables, in order. An error names no value.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, InputError> {
    let cannot = |why: &str| {
        let path = path.display();
        InputError::new(format!(
            "the file of variables {path} cannot be read: {why}"
        ))
    };
    let text = fs::read_to_string(path).map_err(|error| cannot(&error.to_string()))?;
    let entries = entries(text.trim_start_matches('\u{feff}'));
    let lines: Vec<&str> = entries.iter().map(|entry| &*entry.text).collect();
    let mut pairs = Vec::new();
    for pair in dotenvy::from_read_iter(lines.join("\n").as_bytes()) {
        // What dotenvy says has the value in it.
        pairs.push(pair.map_err(|_| cannot(&entries[pairs.len()].problem()))?);
    }
    Ok(pairs)
}

/// A variable, or a line that is none.
struct Entry {
    /// In the form that dotenvy reads.
    text: String,
    line: usize,
    name: Option<String>,
}

impl Entry {
    fn problem(&self) -> String {
        let line = self.line;
        match &self.name {
            Some(name) => format!(
                "line {line}: a quote of {name} or its `${{` has no end, or something stands after its quotes"
            ),
            None => format!("line {line} is not NAME=VALUE"),
        }
    }
}

/// Everything but blank lines and comments.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let Some((name, value)) = assignment(text) else {
            entries.push(Entry {
                text: text.to_owned(),
                line,
                name: None,
            });
            continue;
        };
        let text = if value.starts_with(['"', '\'']) {
            let mut whole = value.to_owned();
            while has_open_quote(&whole)
                && let Some((next, _)) = lines.next()
            {
                whole = whole + "\n" + next;
            }
            format!("{name}={whole}")
        } else {
            format!("{name}={}", quoted(without_comment(value)))
        };
        entries.push(Entry {
            text,
            line,
            name: Some(name.to_owned()),
        });
    }
    entries
}

/// The name and the value of `NAME=VALUE`, which `export` may stand before.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let name = match name.split_once(char::is_whitespace) {
        Some(("export", name)) => name.trim_start(),
        _ => name,
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !name.is_empty()
        && name.chars().all(is_allowed);
    is_name.then(|| (name, value.trim()))
}

/// A comment begins with `#` at the beginning or after a blank.
fn without_comment(value: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| {
        let before = value[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    let comment = value.match_indices('#').find(is_comment);
    value[..comment.map_or(value.len(), |(at, _)| at)].trim_end()
}

/// A value in quotes, in which only `$NAME` and `${NAME}` mean something.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '$' if rest.starts_with('{') => quoted.push('$'),
            '$' => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                let name;
                (name, rest) = rest.split_at(end);
                quoted += &match name {
                    "" => "\\$".to_owned(),
                    name => format!("${{{name}}}"),
                };
            }
            '\\' if rest.starts_with('$') => {
                quoted += "\\$";
                rest = &rest[1..];
            }
            '\\' | '"' => quoted.extend(['\\', c]),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Whether a value goes on in the next line.
fn has_open_quote(value: &str) -> bool {
    let mut open = None;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (open, c) {
            (_, '\\') => drop(characters.next()),
            (None, '"' | '\'') => open = Some(c),
            (None, '#') => return false,
            (Some(quote), c) if c == quote => open = None,
            _ => {}
        }
    }
    open.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Vec<(String, String)>, InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.env");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    /// The examples of docker compose, and more.
    #[test]
    fn values_have_the_common_rules() {
        for (line, value) in [
            ("A=VAL", "VAL"),
            ("A=some value", "some value"),
            ("A=  two  words \t", "two  words"),
            ("A = b", "b"),
            ("export A=b c", "b c"),
            ("A=VAL # comment", "VAL"),
            ("A=two words\t# comment", "two words"),
            ("A=VAL# not a comment", "VAL# not a comment"),
            ("A=#comment", ""),
            ("A=", ""),
            ("A=it's a \"word\"", "it's a \"word\""),
            (r"A=C:\new folder\x", r"C:\new folder\x"),
            ("A=a=b c=d", "a=b c=d"),
            ("A='VAL # no comment' # comment", "VAL # no comment"),
            ("A=\"VAL # no comment\" # comment", "VAL # no comment"),
            ("A='$B ${B}'", "$B ${B}"),
            (r#"A="one\ntwo \"x\"""#, "one\ntwo \"x\""),
            ("A=\"one\n# two\n\nB='3'\"", "one\n# two\n\nB='3'"),
            ("A='one\ntwo'", "one\ntwo"),
            ("\u{feff}# comment\r\n\r\nA=b c\r\n", "b c"),
        ] {
            let found = file(line).unwrap();
            assert_eq!(found, [("A".to_owned(), value.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn names_are_replaced_in_values() {
        let text = "A_1=x y\nB=$A_1 ${A_1}-\"$A_1\"\nC=5 $ and $$\nD=\\$A_1\nE=$A_1";
        let values = file(text).unwrap().into_iter().map(|(_, value)| value);
        let expected = ["x y", "x y x y-\"x y\"", "5 $ and $$", "$A_1", "x y"];
        assert_eq!(values.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_line_that_is_none_is_an_error_without_its_value() {
        for (text, place) in [
            ("# x\ntop-secret\n", "line 2 is not NAME=VALUE"),
            ("A=b\n\ntop secret=x\n", "line 3 is not NAME=VALUE"),
            ("NAME=\"top-secret\nkey\n", "line 1: a quote of NAME"),
            ("A=1\nNAME='top-secret' key\n", "line 2: a quote of NAME"),
            ("NAME=top=secret ${X\n", "line 1: a quote of NAME"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
            assert!(
                !error.contains("secret") && !error.contains("top"),
                "{error}"
            );
        }
        assert!(read(Path::new("/none/such.env")).is_err());
    }
}
