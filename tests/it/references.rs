//! Every reference has a target: the sections and rows that sources cite, and the links of the documentation.
//!
//! A citation is `wire-contract: <heading>` or `token-failures: <heading or row>`, several of them with commas between
//! rows. Each names a page in `docs/reference/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const PAGES: [&str; 2] = ["wire-contract", "token-failures"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source and document of the repository: its path and its text.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(root(), &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (
                path.strip_prefix(root()).unwrap().display().to_string(),
                text,
            )
        })
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        if path.is_dir() {
            if !skipped {
                walk(&path, found);
            }
        } else if [".rs", ".md", ".toml"]
            .iter()
            .any(|ending| name.ends_with(ending))
        {
            found.push(path);
        }
    }
}

/// The possible targets of citations of a page: its headings, and first cells of table rows such as `T15`.
fn targets(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(format!("docs/reference/{page}.md"))).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_owned());
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows
        .map(|row| row.split(' ').next().unwrap().to_owned())
        .filter(|cell| is_row(cell));
    headings.chain(rows).collect()
}

fn is_row(cell: &str) -> bool {
    let number = cell.strip_prefix(|first: char| first.is_ascii_uppercase());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Joins the lines of a comment: a citation can continue on the next line.
fn joined(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches(['/', '!', '#']).trim_start());
    lines.collect::<Vec<_>>().join(" ")
}

/// The citations of `page` in `text` that are not in `targets`. Adds the number of all its citations to the count.
fn dangling(text: &str, page: &str, targets: &BTreeSet<String>, cited: &mut usize) -> Vec<String> {
    let mut missing = Vec::new();
    for (at, prefix) in text.match_indices(&format!("{page}: ")) {
        *cited += 1;
        let mut rest = &text[at + prefix.len()..];
        match longest_target(rest, targets) {
            Some(target) => rest = &rest[target.len()..],
            None => missing.push(rest.chars().take(50).collect()),
        }
        while let Some(next) = rest.strip_prefix(", ") {
            let row: String = next
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if !is_row(&row) {
                break;
            }
            if !targets.contains(&row) {
                missing.push(row.clone());
            }
            rest = &next[row.len()..];
        }
    }
    missing
}

/// The longest target that `text` begins with and that ends at the end of a word.
fn longest_target<'a>(text: &str, targets: &'a BTreeSet<String>) -> Option<&'a String> {
    let fits = |target: &&String| {
        text.strip_prefix(target.as_str())
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    targets
        .iter()
        .filter(fits)
        .max_by_key(|target| target.len())
}

#[test]
fn every_citation_names_a_section_or_a_row() {
    let mut wrong = Vec::new();
    for page in PAGES {
        let (targets, mut cited) = (targets(page), 0);
        for (path, text) in texts() {
            // This file and the pages themselves say how to cite.
            if path == "tests/it/references.rs" || path.starts_with("docs/reference/") {
                continue;
            }
            let text = joined(&text);
            let missing = dangling(&text, page, &targets, &mut cited);
            wrong.extend(
                missing
                    .into_iter()
                    .map(|what| format!("{path}: {page}: {what}")),
            );
        }
        assert!(
            cited > 20,
            "{page} is cited {cited} times only: the sources were not found"
        );
    }
    assert!(
        wrong.is_empty(),
        "these citations have no target:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_citation_without_a_target_is_reported() {
    let targets = targets("token-failures");
    assert!(
        targets.contains("T15"),
        "T15 is the example of CONTRIBUTING.md"
    );
    for text in [
        "token-failures: T999",
        "token-failures: T15, T999",
        "token-failures: T1500",
        "token-failures: No such",
    ] {
        assert_eq!(
            dangling(text, "token-failures", &targets, &mut 0).len(),
            1,
            "{text}"
        );
    }
    for text in [
        "(token-failures: T15).",
        "token-failures: T15, T16; and more",
        "token-failures: T1, or so",
    ] {
        assert_eq!(
            dangling(text, "token-failures", &targets, &mut 0),
            [""; 0],
            "{text}"
        );
    }
}

/// A section sign follows the name of a public document.
#[test]
fn sections_are_cited_of_public_documents_only() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let text = joined(&text);
        for (at, _) in text.match_indices('§') {
            let before: String = text[..at]
                .chars()
                .rev()
                .take(40)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            if !["RFC ", "OpenID Connect", "AMQP 0-9-1"]
                .iter()
                .any(|name| before.contains(name))
            {
                wrong.push(format!("{path}: {before}§"));
            }
        }
    }
    wrong.retain(|place| !place.starts_with("tests/it/references.rs"));
    assert!(
        wrong.is_empty(),
        "these sections name no public document:\n{}",
        wrong.join("\n")
    );
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::new();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let anchor = anchor(line.trim_start_matches('#').trim());
            let times: &mut usize = seen.entry(anchor.clone()).or_default();
            *times += 1;
            if *times == 1 {
                anchor
            } else {
                format!("{anchor}-{}", *times - 1)
            }
        })
        .collect()
}

/// The targets of a page's links, except links to other hosts.
fn links(text: &str) -> Vec<String> {
    let targets = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    targets
        .filter(|link| !link.contains("://") && !link.contains(' '))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_link_of_the_documentation_has_a_target() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, text) in texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".md"))
    {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for link in links(&text) {
            checked += 1;
            let (file, part) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                root().join(&path)
            } else {
                folder.join(file)
            };
            if !target.exists() {
                wrong.push(format!("{path}: {link}: there is no such file"));
            } else if !part.is_empty()
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(part)
            {
                wrong.push(format!("{path}: {link}: there is no such heading"));
            }
        }
    }
    assert!(checked > 20, "the documentation was not found");
    assert!(
        wrong.is_empty(),
        "these links have no target:\n{}",
        wrong.join("\n")
    );
}
