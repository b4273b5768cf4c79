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

#[test]
fn each_time_limit_names_a_test_that_exists() {
    let mut files = vec![];
    for folder in ["src", "tests", "lib/tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut tests = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for declared in text.split("fn ").skip(1) {
            let name = declared.split('(').next().unwrap();
            tests.insert(name.to_owned(), path.clone());
        }
    }
    let limits: Vec<_> = rows().into_iter().filter(|row| row.len() == 5).collect();
    assert!(limits.len() > 50, "{}", limits.len());
    for row in limits {
        let test = row[4].trim_matches('`');
        assert!(tests.contains_key(test), "{}: no test `{test}`", row[0]);
    }
}
