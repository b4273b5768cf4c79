//! Each warning and error of the sources has a code, and docs/errors.md has each code.

use super::sources;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::{Expr, Item, Lit};

/// The constants of `src/codes.rs`: their names and their codes.
fn constants() -> BTreeMap<String, String> {
    let file = syn::parse_file(&sources::read("src/codes.rs")).unwrap();
    let constants = file.items.iter().filter_map(|item| {
        let Item::Const(item) = item else { return None };
        let Expr::Call(call) = &*item.expr else {
            panic!("{} is not made of a text", item.ident)
        };
        let Expr::Lit(text) = &call.args[0] else {
            panic!("{} is not made of a text", item.ident)
        };
        let Lit::Str(text) = &text.lit else {
            panic!("{} is not made of a text", item.ident)
        };
        Some((item.ident.to_string(), text.value()))
    });
    constants.collect()
}

/// A line of the log in the sources, from `warn` up.
struct LogLine {
    place: String,
    level: &'static str,
    /// The tokens of its field `code`: `%codes::NAME`, or a text in quotes.
    code: Option<String>,
}

impl LogLine {
    fn of(path: &str, level: &'static str, tokens: TokenStream) -> Self {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let fields = tokens.split(|token| token.to_string() == ",");
        let mut code = None;
        let mut level = level;
        for field in fields {
            let text =
                |tokens: &[TokenTree]| tokens.iter().map(ToString::to_string).collect::<String>();
            match text(field).split_once('=') {
                Some(("code", value)) => code = Some(value.to_owned()),
                Some(("fatal", "true")) => level = "fatal",
                None if text(field) == "%code" => code = Some("%code".to_owned()),
                _ => {}
            }
        }
        let shown = tokens.iter().map(ToString::to_string).collect::<String>();
        Self {
            place: format!("{path}: {level}!({shown})"),
            level,
            code,
        }
    }
}

/// Finds the lines in tokens, also in those of other macros.
fn log_lines(path: &str, tokens: TokenStream, found: &mut Vec<LogLine>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let before = |back: usize| at.checked_sub(back).map(|at| tokens[at].to_string());
        let name = before(2).unwrap_or_default();
        if before(1).is_some_and(|token| token == "!") {
            match &*name {
                "warn" => found.push(LogLine::of(path, "warn", group.stream())),
                "error" => found.push(LogLine::of(path, "error", group.stream())),
                "event" => panic!("{path} uses `event!`, whose level this test does not read"),
                _ => {}
            }
        }
        log_lines(path, group.stream(), found);
    }
}

fn lines_of(files: impl IntoIterator<Item = (String, String)>) -> Vec<LogLine> {
    let mut found = vec![];
    for (path, code) in files {
        log_lines(&path, code.parse().unwrap(), &mut found);
    }
    found
}

fn library_lines() -> Vec<LogLine> {
    let library = sources::library().into_iter();
    let lines = lines_of(library.map(|source| (source.path, source.code)));
    assert!(lines.len() > 70, "{}", lines.len());
    lines
}

/// The lines of the components of this repository.
fn component_lines() -> Vec<LogLine> {
    let files = sources::every_rust_file().into_iter();
    let lines = lines_of(files.filter(|(path, _)| {
        let below = path
            .split_once("components/")
            .map_or(&**path, |(_, below)| below);
        let is_component = path.starts_with("components/") || path.starts_with("lib/");
        is_component && below.contains("lib/") && !path.contains("/tests/")
    }));
    assert!(lines.len() > 5, "{}", lines.len());
    lines
}

/// A row of docs/errors.md.
struct Row {
    code: String,
    places: String,
    texts: Vec<String>,
}

fn rows() -> Vec<Row> {
    let page = sources::read("docs/errors.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let code = cells.next().unwrap().trim_matches('`').to_owned();
        let places = cells.next().unwrap().to_owned();
        let texts = cells.map(str::to_owned).collect();
        Row {
            code,
            places,
            texts,
        }
    })
    .collect()
}

#[test]
fn codes_are_named_like_their_constants() {
    let constants = constants();
    assert!(constants.len() > 60, "{}", constants.len());
    for (name, code) in constants {
        assert_eq!(code, name.to_lowercase().replace('_', "-"));
    }
}

#[test]
fn each_code_is_used() {
    let sources: String = sources::library()
        .into_iter()
        .filter(|source| source.path != "codes.rs")
        .map(|source| source.code)
        .collect();
    let is_used = |name: &String| {
        let name = format!("codes::{name}");
        sources.match_indices(&name).any(|(at, _)| {
            let next = sources[at + name.len()..].chars().next();
            !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
        })
    };
    let unused: Vec<_> = constants()
        .into_keys()
        .filter(|name| !is_used(name))
        .collect();
    assert_eq!(unused, [""; 0]);
}

#[test]
fn each_warning_and_error_has_a_code() {
    let own = library_lines();
    let without = own.iter().filter(|line| {
        // The type of codes is only made in `src/codes.rs`, and `%` shows it.
        !line
            .code
            .as_ref()
            .is_some_and(|code| code.starts_with("%code") || code == "%error.code()")
    });
    let of_components = component_lines();
    let literal = |code: &String| code.starts_with('"');
    let without = without.chain(
        of_components
            .iter()
            .filter(|line| !line.code.as_ref().is_some_and(literal)),
    );
    let places: Vec<_> = without.map(|line| &line.place).collect();
    assert!(places.is_empty(), "without a code: {places:#?}");
}

#[test]
fn the_page_has_exactly_the_codes_of_the_sources() {
    let of_components = component_lines();
    let of_components = of_components.iter().filter_map(|line| line.code.as_ref());
    let of_components = of_components.map(|code| code.trim_matches('"').to_owned());
    let in_sources: BTreeSet<_> = constants().into_values().chain(of_components).collect();
    let rows = rows();
    let on_page: BTreeSet<_> = rows.iter().map(|row| row.code.clone()).collect();
    assert_eq!(rows.len(), on_page.len(), "a code has two rows");
    let missing: Vec<_> = in_sources.difference(&on_page).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
    let gone: Vec<_> = on_page.difference(&in_sources).collect();
    assert!(
        gone.is_empty(),
        "docs/errors.md has {gone:?}, which nothing uses"
    );
}

#[test]
fn each_row_of_the_page_has_places_cause_and_remedy() {
    const PLACES: [&str; 4] = ["warn", "error", "fatal", "event"];
    for Row {
        code,
        places,
        texts,
    } in rows()
    {
        assert!(
            places.split(", ").all(|place| PLACES.contains(&place)),
            "{code}: {places}"
        );
        assert_eq!(texts.len(), 2, "{code} has a cause and a remedy");
        assert!(
            texts.iter().all(|text| text.ends_with(['.', ')', '?'])),
            "{code}: {texts:?}"
        );
    }
}

/// The page names the level of each line that names its code itself.
#[test]
fn the_page_names_the_levels_of_the_sources() {
    let (constants, rows) = (constants(), rows());
    let mut compared = 0;
    for line in library_lines().into_iter().chain(component_lines()) {
        let code = line.code.unwrap_or_default();
        let code = match code.strip_prefix("%codes::") {
            Some(name) => constants[name].clone(),
            None if code.starts_with('"') => code.trim_matches('"').to_owned(),
            None => continue,
        };
        let row = rows.iter().find(|row| row.code == code);
        let places = row.map_or("", |row| &row.places);
        assert!(
            places.split(", ").any(|place| place == line.level),
            "{code} is logged as {}, and docs/errors.md says {places:?}",
            line.level
        );
        compared += 1;
    }
    assert!(compared > 60, "{compared}");
}
