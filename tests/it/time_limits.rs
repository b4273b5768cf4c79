//! docs/time-limits.md has every duration of the sources, with its value, and names tests that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The lines of the page that are rows of a table, as cells.
fn rows() -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/time-limits.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| {
        let cells = row.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .filter(|cells: &Vec<String>| cells[1] != "limit" && cells[1] != "length")
    .collect()
}

/// The constants of a file that are durations, with their values: what is before the file's tests.
fn durations(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\nmod tests {").next().unwrap();
    let declarations = text.split("const ").skip(1);
    declarations
        .filter_map(|declaration| {
            let (name, rest) = declaration.split_once(": Duration = Duration::from_")?;
            let (unit, rest) = rest.split_once('(')?;
            let (value, _) = rest.split_once(')')?;
            let factors = value.split('*');
            let factors =
                factors.map(|factor| factor.trim().replace('_', "").parse::<u64>().unwrap());
            Some((name.to_owned(), shown(unit, factors.product())))
        })
        .collect()
}

/// A duration as the page writes it.
fn shown(unit: &str, value: u64) -> String {
    match (unit, value) {
        ("secs", value) if value >= 86_400 && value % 86_400 == 0 => {
            format!("{} days", value / 86_400)
        }
        ("secs", value) if value >= 3600 && value % 3600 == 0 => format!("{} h", value / 3600),
        ("secs", 900) => "15 min".to_owned(),
        ("secs", value) => format!("{value} s"),
        (_, value) => format!("{value} ms"),
    }
}

#[test]
fn the_page_has_every_duration_of_the_sources() {
    let mut files = vec![];
    sources(&root().join("src"), &mut files);
    let rows = rows();
    let (mut missing, mut seen) = (vec![], BTreeSet::new());
    for path in files {
        let file = path.strip_prefix(root().join("src")).unwrap();
        let file = file.to_str().unwrap();
        if file.contains("tests") || file.starts_with("broker/memory") {
            continue;
        }
        for (name, value) in durations(&path) {
            let source = format!("`{name}` in `{file}`");
            let named: Vec<_> = rows
                .iter()
                .filter(|row| row.join(" ").contains(&source))
                .collect();
            // A row about several steps can have a limit of its own.
            let has_value = named.iter().any(|row| {
                row.join(" ").contains(&value)
                    || value == "300 s" && row.join(" ").contains("5 min")
            });
            if !has_value {
                missing.push(format!("{source} = {value}"));
            }
            seen.insert(source);
        }
    }
    assert!(missing.is_empty(), "docs/time-limits.md: {missing:#?}");
    assert!(seen.len() > 50, "{}", seen.len());
    let named = rows.iter().flat_map(|row| constants(&row.join(" ")));
    let gone: Vec<_> = named.filter(|constant| !seen.contains(constant)).collect();
    assert!(gone.is_empty(), "no such constant: {gone:#?}");
}

/// The texts of the form "`NAME` in `path.rs`".
fn constants(text: &str) -> Vec<String> {
    let parts: Vec<_> = text.split('`').collect();
    let named = parts.windows(3).filter(|part| part[1] == " in ");
    named
        .map(|part| format!("`{}` in `{}`", part[0], part[2]))
        .collect()
}

/// A test of the repository.
struct Test {
    source: String,
    is_ignored: bool,
}

/// Every test of the runtime, by its name.
fn tests() -> BTreeMap<String, Test> {
    let mut files = vec![];
    for folder in ["src", "tests", "lib/tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut tests = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for marker in ["#[test]\n", "#[tokio::test"] {
            for (at, _) in text.match_indices(marker) {
                let indent = &text[..at];
                let indent = indent.len() - indent.trim_end_matches(' ').len();
                let end = format!("\n{}}}\n", " ".repeat(indent));
                let source = text[at..].split(&end).next().unwrap();
                let (attributes, declared) = source.split_once("fn ").unwrap();
                let name = declared.split('(').next().unwrap().to_owned();
                let is_ignored = attributes.contains("#[ignore");
                let source = source.to_owned();
                tests.insert(name, Test { source, is_ignored });
            }
        }
    }
    assert!(tests.len() > 1000, "{}", tests.len());
    tests
}

/// The rows about waits: what is waited for, the limit, what sets it, what happens at its end, and the tests.
fn waits() -> Vec<[String; 5]> {
    let waits: Vec<_> = rows()
        .into_iter()
        .filter_map(|row| <[String; 5]>::try_from(row).ok())
        .collect();
    assert!(waits.len() > 50, "{}", waits.len());
    waits
}

/// The parts of a text between two marks.
fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

/// The durations of a cell, in seconds: "2 s" or "15 min" or "1 h".
fn seconds(cell: &str) -> Vec<u64> {
    let words: Vec<_> = cell.split([' ', ';', ',', ':']).collect();
    let pairs = words.windows(2).filter_map(|pair| {
        let unit = match pair[1] {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(pair[0].parse::<u64>().ok()? * unit)
    });
    pairs.collect()
}

/// Whether the text has this number, and not only as a part of another one.
fn has_number(text: &str, number: u64) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    let number = number.to_string();
    let is_it = |word: &str| {
        let word = word.replace('_', "");
        word == number || word.strip_suffix("s") == Some(&number)
    };
    words.into_iter().any(is_it)
}

/// A wait has a limit, or a reason for having none.
#[test]
fn each_wait_has_a_limit_or_a_reason_for_none() {
    let mut wrong = vec![];
    for [wait, limit, set_by, ..] in waits() {
        let reason = limit
            .strip_prefix("none: ")
            .or(set_by.strip_prefix("none: "));
        let has_limit = !seconds(&limit).is_empty() || limit.contains('`');
        if !has_limit && reason.is_none_or(|reason| reason.len() < 20) {
            wrong.push(format!("{wait}: a limit, or \"none: \" and the reason"));
        }
    }
    assert!(wrong.is_empty(), "docs/time-limits.md: {wrong:#?}");
}

/// Each wait names tests that run, and together they know the limit: its number, its constant or its setting.
#[test]
fn each_wait_names_tests_that_reach_its_limit() {
    let (tests, mut wrong) = (tests(), vec![]);
    for [wait, limit, set_by, _, named] in waits() {
        let named: Vec<_> = between(&named, '`').collect();
        let mut sources = String::new();
        for name in &named {
            match tests.get(*name) {
                Some(test) if !test.is_ignored => sources += &test.source,
                Some(_) => wrong.push(format!("{wait}: `{name}` is ignored")),
                None => wrong.push(format!("{wait}: no test `{name}`")),
            }
        }
        if named.is_empty() {
            wrong.push(format!("{wait}: no test"));
        }
        let limits = seconds(&limit);
        let is_number = limits.iter().any(|limit| has_number(&sources, *limit));
        let cells = format!("{limit} {set_by}");
        let mut names = between(&cells, '`').filter(|name| !name.contains('/'));
        let is_name = names.any(|name| {
            let name = name.trim_start_matches("ELASTICIO_");
            sources.contains(name)
        });
        if !limits.is_empty() && !is_number && !is_name {
            wrong.push(format!(
                "{wait}: its tests do not know the limit of {limit}"
            ));
        }
    }
    assert!(wrong.is_empty(), "docs/time-limits.md: {wrong:#?}");
}

/// The text of the sources as it is at run time: without the breaks of long literals.
fn run_time_text() -> String {
    let mut files = vec![];
    sources(&root().join("src"), &mut files);
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    let mut joined = String::new();
    for text in texts {
        let mut parts = text.split("\\\n");
        joined += parts.next().unwrap();
        parts.for_each(|part| joined += part.trim_start());
    }
    joined
}

/// The texts that a cell quotes, without what differs each time.
fn quoted(cell: &str) -> Vec<&str> {
    let quotes = between(cell, '"').flat_map(|quote| quote.split(['…']));
    let texts = quotes.map(|text| text.trim_matches([' ', ':', ';']));
    texts.filter(|text| text.len() > 8).collect()
}

/// What the page says that the log says is in the sources, and a test of the row reads it.
#[test]
fn each_quoted_text_is_in_the_sources_and_in_a_test() {
    let (sources, tests, mut wrong) = (run_time_text(), tests(), vec![]);
    for [wait, _, _, at_end, named] in waits() {
        let literals: Vec<String> = between(&named, '`')
            .flat_map(|name| {
                let source = tests.get(name).map(|test| test.source.clone());
                let source = source.unwrap_or_default();
                between(&source, '"').map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|literal| literal.len() > 8)
            .collect();
        let texts = quoted(&at_end);
        for text in &texts {
            // Numbers come from constants.
            let fixed = text.split(|c: char| c.is_ascii_digit()).next().unwrap();
            if !sources.contains(fixed) {
                wrong.push(format!("{wait}: nothing says \"{text}\""));
            }
        }
        let is_read = |text: &&str| {
            let mut literals = literals.iter();
            literals.any(|literal| literal.contains(*text) || text.contains(literal.as_str()))
        };
        if !texts.is_empty() && !texts.iter().any(is_read) {
            wrong.push(format!("{wait}: no test reads {texts:?}"));
        }
    }
    assert!(wrong.is_empty(), "docs/time-limits.md: {wrong:#?}");
}
