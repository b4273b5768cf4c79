//! Files of variables: lines `NAME=VALUE`, with the rules that `.env` has for docker compose (compose-go, `dotenv` and `template`).
//!
//! Octal escapes such as `\007` are not known here, and a line with a name alone is an error. No library has these rules, so they are
//! written by hand.

use crate::input::InputError;
use std::{fs, path::Path};

/// Tells the value of a variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the variables, in order. A name in a value is first looked up in `shell`, and then above it in the file. An error
/// names no value; that of `${NAME:?why}` has the name and the reason.
pub(crate) fn read(path: &Path, shell: Lookup<'_>) -> Result<Vec<(String, String)>, InputError> {
    let cannot = |why: &str| {
        let path = path.display();
        InputError::new(format!(
            "the file of variables {path} cannot be read: {why}"
        ))
    };
    let text = fs::read_to_string(path).map_err(|error| cannot(&error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with('#') {
            rest = cut(rest, '\n').1.trim_start();
            continue;
        }
        let known = |name: &str| {
            let above = || pairs.iter().rfind(|(known, _)| known == name);
            shell(name).or_else(|| above().map(|(_, value)| value.clone()))
        };
        let found = variable(rest, &known);
        let (pair, after) = found.map_err(|why| {
            let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
            cannot(&format!("line {line}{why}"))
        })?;
        pairs.push(pair);
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Reads what a text begins with. Returns what comes after it, or what is wrong with it.
fn variable<'a>(text: &'a str, known: Lookup<'_>) -> Result<((String, String), &'a str), String> {
    let pair = text
        .split_once('=')
        .filter(|(name, _)| !name.contains('\n'));
    let pair = pair.map(|(name, value)| (without_export(name.trim_end()), value));
    let pair = pair.filter(|(name, _)| is_name(name));
    let (name, value) = pair.ok_or(" is not NAME=VALUE")?;
    let wrong = |why: String| format!(": {name} {why}");
    let is_blank = |c: char| c != '\n' && c.is_whitespace();
    let begin = value.trim_start_matches(is_blank);
    let Some(quote) = begin.chars().next().filter(|c| ['"', '\''].contains(c)) else {
        let (line, after) = cut(begin, '\n');
        // A comment begins with `#` after a space.
        let value = line.split(" #").next().unwrap_or_default().trim_end();
        let value = expanded(value, known).map_err(wrong)?;
        return Ok(((name.to_owned(), value), after));
    };
    let inside = unquoted(&begin[1..], quote);
    let (value, after) = inside.ok_or_else(|| wrong("has a quote without an end".to_owned()))?;
    let (more, after) = cut(after, '\n');
    if !more.trim().is_empty() && !more.trim_start().starts_with('#') {
        return Err(wrong("has something after its quotes".to_owned()));
    }
    let value = match quote {
        '"' => expanded(&value, known).map_err(wrong)?,
        _ => value,
    };
    Ok(((name.to_owned(), value), after))
}

/// `export` may stand before a name.
fn without_export(name: &str) -> &str {
    match name.split_once(char::is_whitespace) {
        Some(("export", name)) => name.trim_start(),
        _ => name,
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_allowed)
}

/// Returns what stands before the closing quote, without its escapes, and what comes after it.
fn unquoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => match (characters.next()?.1, quote) {
                (c, _) if c == quote => value.push(c),
                // Replaced by `$` with the names.
                ('$', '"') => value += "$$",
                ('\\', '"') => value.push('\\'),
                ('a', '"') => value.push('\x07'),
                ('b', '"') => value.push('\x08'),
                ('f', '"') => value.push('\x0c'),
                ('n', '"') => value.push('\n'),
                ('r', '"') => value.push('\r'),
                ('t', '"') => value.push('\t'),
                ('v', '"') => value.push('\x0b'),
                (other, _) => value.extend(['\\', other]),
            },
            c if c == quote => return Some((value, &text[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

/// Replaces `$NAME` and `${NAME}`, and `$$` by `$`. Any other `$` stays.
fn expanded(text: &str, known: Lookup<'_>) -> Result<String, String> {
    let (mut value, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        value += before;
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            value.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = end_of_braces(after).ok_or("has a `${` without an end")?;
            value += &replaced(&after[..end], known)?;
            rest = &after[end + 1..];
        } else {
            let (name, after) = leading_name(rest);
            match name {
                "" => value.push('$'),
                name => value += &known(name).unwrap_or_default(),
            }
            rest = after;
        }
    }
    Ok(value + rest)
}

/// What `NAME` in braces becomes, or `NAME:-other` and the like. With the colon, an empty value counts as none.
fn replaced(inside: &str, known: Lookup<'_>) -> Result<String, String> {
    let (name, rule) = leading_name(inside);
    let without_colon = rule.strip_prefix(':').filter(|rule| !rule.is_empty());
    let has_colon = without_colon.is_some();
    let value = known(name).filter(|value| !has_colon || !value.is_empty());
    let rule = without_colon.unwrap_or(rule);
    let (operator, other) = rule.split_at(rule.chars().next().map_or(0, char::len_utf8));
    match (operator, value) {
        _ if name.is_empty() => Err("has a `${` without a name".to_owned()),
        ("" | "-" | "?", Some(value)) => Ok(value),
        ("", None) | ("+", None) => Ok(String::new()),
        ("-", None) | ("+", Some(_)) => expanded(other, known),
        ("?", None) => {
            let or_empty = if has_colon { " or empty" } else { "" };
            let why = format!("needs {name}, which is not set{or_empty}. {other}");
            Err(why.trim_end_matches(". ").to_owned())
        }
        // What seems to be a name may be a part of a password.
        _ => Err("has something unknown after the name in a `${…}`".to_owned()),
    }
}

/// A name that a text begins with, and the rest.
fn leading_name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(if is_number { 0 } else { end })
}

/// Where the brace ends in which a text begins.
fn end_of_braces(text: &str) -> Option<usize> {
    let mut open = 1;
    text.find(|c| {
        open += i32::from(c == '{') - i32::from(c == '}');
        open == 0
    })
}

/// A text up to a character, and what comes after it.
fn cut(text: &str, end: char) -> (&str, &str) {
    text.split_once(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Vec<(String, String)>, InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.env");
        fs::write(&path, text).unwrap();
        let shell = |name: &str| (name == "OF_SHELL").then(|| "shell".to_owned());
        read(&path, &shell)
    }

    /// The value of each variable.
    fn values(text: &str) -> Vec<String> {
        let pairs = file(text).unwrap().into_iter();
        pairs.map(|(_, value)| value).collect()
    }

    /// The examples of docker compose, and more.
    #[test]
    fn values_have_the_rules_of_docker_compose() {
        for (line, value) in [
            ("A=VAL", "VAL"),
            ("A=some value", "some value"),
            ("A=  two  words \t", "two  words"),
            ("A = b", "b"),
            ("export A=b c", "b c"),
            ("\texport\tA=b", "b"),
            ("A=VAL # comment", "VAL"),
            ("A=two words # comment", "two words"),
            ("A=two\t# words", "two\t# words"),
            ("A=VAL# not a comment", "VAL# not a comment"),
            ("A=#ff0000", "#ff0000"),
            ("A= # no comment", "# no comment"),
            ("A=\t#a #comment", "#a"),
            ("A=", ""),
            ("A=it's a \"word\"", "it's a \"word\""),
            (r"A=C:\new folder\x", r"C:\new folder\x"),
            ("A=a=b c=d", "a=b c=d"),
            ("A='VAL # no comment' # comment", "VAL # no comment"),
            ("A=\"VAL # no comment\" # comment", "VAL # no comment"),
            ("A=\"VAL\"#comment", "VAL"),
            ("A=\"VAL\"  # it's a comment\n# \"", "VAL"),
            ("A='$B ${B} \\n'", "$B ${B} \\n"),
            (r"A='let\'s go\\'", r"let's go\\"),
            (r#"A="one\ntwo \"x\"""#, "one\ntwo \"x\""),
            (r#"A="\t\r\v\f\a\b|""#, "\t\r\x0b\x0c\x07\x08|"),
            (r#"A="\U00101234 \x07 \. \\n""#, r"\U00101234 \x07 \. \n"),
            ("A=\"one\n# two\n\nB='3'\"", "one\n# two\n\nB='3'"),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=\"one\ntwo\" ", "one\ntwo"),
            ("\u{feff}# comment\r\n\r\nA=b c\r\n", "b c"),
            ("A=\"b\r\nc\"\r\n", "b\nc"),
        ] {
            let found = file(line).unwrap();
            assert_eq!(found, [("A".to_owned(), value.to_owned())], "{line:?}");
        }
        let lines = "A=\"x\"  # it's\nB-1.x='y'\t# \"\n\nC=z";
        assert_eq!(values(lines), ["x", "y", "z"]);
    }

    #[test]
    fn names_are_replaced_in_values() {
        for (value, expected) in [
            ("$A_1 ${A_1}-\"$A_1\"", "x y x y-\"x y\""),
            ("\"https://$HOST/v1\"", "https://api.test/v1"),
            ("\"$A_1\"", "x y"),
            ("\"5$\"", "5$"),
            ("5 $ and $$ and $1", "5 $ and $ and $1"),
            (r"\$A_1", r"\x y"),
            (r#""\$A_1 \${A_1} \\$A_1""#, r"$A_1 ${A_1} \x y"),
            ("$OF_SHELL", "shell"),
            ("<$NONE${NONE}>", "<>"),
            ("${NONE:-default}", "default"),
            ("\"${NONE:-two words}\"", "two words"),
            (
                "${EMPTY:-default}|${EMPTY-default}|${NONE-default}",
                "default||default",
            ),
            (
                "${HOST:-default}|${HOST:+more}|${EMPTY:+more}|${EMPTY+more}",
                "api.test|more||more",
            ),
            ("${NONE:-<${NONE-$HOST}>}}", "<api.test>}"),
            ("${HOST:?is needed}|${EMPTY?is needed}", "api.test|"),
        ] {
            let text = format!("A_1=x y\nHOST=api.test\nEMPTY=\nOF_SHELL=file\nB={value}");
            assert_eq!(values(&text)[4], expected, "{value}");
        }
        assert_eq!(values("A=1\nA=2\nB=$A")[2], "2");
    }

    #[test]
    fn a_line_that_is_none_is_an_error_without_its_value() {
        for (text, place) in [
            ("# x\ntop-secret\n", "line 2 is not NAME=VALUE"),
            ("A=b\n\ntop secret=x\n", "line 3 is not NAME=VALUE"),
            ("A\n=top-secret", "line 1 is not NAME=VALUE"),
            ("1A=top-secret", "line 1 is not NAME=VALUE"),
            (
                "NAME=\"top-secret\nkey\n",
                "line 1: NAME has a quote without an end",
            ),
            (
                r"NAME='C:\top-secret\'",
                "line 1: NAME has a quote without an end",
            ),
            (
                "A='1\n'\nNAME='top-secret' key\n",
                "line 3: NAME has something after its quotes",
            ),
            (
                "NAME=top=secret ${X\n",
                "line 1: NAME has a `${` without an end",
            ),
            (
                "NAME=\"${}top-secret\"",
                "line 1: NAME has a `${` without a name",
            ),
            (
                "NAME=${X!top-secret}",
                "line 1: NAME has something unknown after the name in a `${…}`",
            ),
            (
                "NAME=${topsecret!}",
                "line 1: NAME has something unknown after the name in a `${…}`",
            ),
            (
                "NAME=${X:}top-secret",
                "line 1: NAME has something unknown after the name in a `${…}`",
            ),
            (
                "NAME=top-secret ${X:?set it}",
                "line 1: NAME needs X, which is not set or empty. set it",
            ),
            (
                "X=\n\nNAME=${X:?}",
                "line 3: NAME needs X, which is not set or empty",
            ),
            (
                "NAME=${X?set it}",
                "line 1: NAME needs X, which is not set. set it",
            ),
            ("NAME=${X?}", "line 1: NAME needs X, which is not set"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.ends_with(place), "{error}");
            assert!(
                !error.contains("secret") && !error.contains("top"),
                "{error}"
            );
        }
        assert!(read(Path::new("/none/such.env"), &|_| None).is_err());
    }
}
