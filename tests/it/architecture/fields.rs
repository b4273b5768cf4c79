//! docs/logs.md has each field that a line of the log can have, and no other.

use super::sources;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;

/// Lines, and the span whose fields are on the lines of a message. What the spans of traces tell is not in the log.
const MACROS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "info_span"];
/// What a line calls otherwise.
const RENAMED: [(&str, &str); 1] = [("error", "err")];
/// Members that are written without a field: in `src/cli/log/bunyan.rs`.
const OF_EACH_LINE: [&str; 10] = [
    "name",
    "level",
    "msg",
    "time",
    "v",
    "hostname",
    "pid",
    "tag",
    "ELASTICIO_*",
    "dropped",
];

/// The fields before the text of a line: `name = value`, `name`, `%name` or `?name`.
fn fields_of(line: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<_> = line.into_iter().collect();
    for field in tokens.split(|token| token.to_string() == ",") {
        let mut parts = field
            .iter()
            .skip_while(|token| ["%", "?"].contains(&token.to_string().as_str()));
        match (parts.next(), parts.next()) {
            (Some(TokenTree::Ident(name)), Some(TokenTree::Punct(sign)))
                if sign.as_char() == '=' =>
            {
                found.insert(name.to_string());
            }
            (Some(TokenTree::Ident(name)), None) => {
                found.insert(name.to_string());
            }
            _ => {}
        }
    }
}

fn collect(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let before = |back: usize| at.checked_sub(back).map(|at| tokens[at].to_string());
        let name = before(2).unwrap_or_default();
        if before(1).is_some_and(|token| token == "!") && MACROS.contains(&&*name) {
            fields_of(group.stream(), found);
        }
        collect(group.stream(), found);
    }
}

#[test]
fn the_page_has_exactly_the_fields_of_the_log() {
    let mut in_sources = BTreeSet::new();
    for source in sources::library() {
        collect(source.code.parse().unwrap(), &mut in_sources);
    }
    assert!(in_sources.len() > 50, "{in_sources:?}");
    for (field, name) in RENAMED {
        assert!(in_sources.remove(field), "no line has {field}");
        in_sources.insert(name.to_owned());
    }
    in_sources.extend(OF_EACH_LINE.map(str::to_owned));
    let page = sources::read("docs/logs.md");
    let (_, section) = page.split_once("\n## Fields\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    let names = cells.flat_map(|cell| cell.split(['`', ',', ' ']).filter(|name| !name.is_empty()));
    let on_page: BTreeSet<_> = names.map(str::to_owned).collect();
    let missing: Vec<_> = in_sources.difference(&on_page).collect();
    assert!(missing.is_empty(), "docs/logs.md lacks {missing:?}");
    let gone: Vec<_> = on_page.difference(&in_sources).collect();
    assert!(
        gone.is_empty(),
        "docs/logs.md has {gone:?}, which no line has"
    );
}
