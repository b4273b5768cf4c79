//! Checks the text of a component.json by rules, also of a component in another language. `component check` prints what it
//! finds.
//!
//! The rules come from what sailors and platform read (wire-contract: Component descriptor) and from public descriptors.
//! Members that nobody reads are ignored, as the platform does. docs/component-json.md describes each rule.
//!
//! ```
//! use sailor::lint::lint;
//!
//! let json = br#"{
//!   "title": "Mail",
//!   "version": "1.0.0",
//!   "actions": { "send": { "title": "Send" } }
//! }"#;
//! let issues = lint(json);
//! assert_eq!(issues.len(), 1);
//! assert_eq!((issues[0].rule.id(), issues[0].line, issues[0].column), ("missing-main", 4, 24));
//! assert_eq!(issues[0].pointer, "/actions/send");
//! ```

mod component;
mod credentials;
mod field;
mod function;
mod issue;
mod report;
mod rule;
mod surroundings;
mod tree;
mod words;

pub use issue::Issue;
pub use rule::{Rule, Severity};

pub(crate) use rule::{UNDECLARED_NAME, of_modules};
pub(crate) use surroundings::{Finding, Modules, Surroundings};
pub(crate) use tree::child;
pub(crate) use words::{did_you_mean, meant};

use report::Report;
use std::path::Path;

/// Checks the text of a component.json. Returns the issues in the order of the text.
///
/// ```
/// use sailor::lint::lint;
///
/// let json = r#"{"title": "Mail", "version": "1.0.0", "actions": {"send": {"main": "./lib/send.js", "title": "Send"}}}"#;
/// assert_eq!(lint(json.as_bytes()), []);
/// assert_eq!(lint(b"{").iter().map(|issue| issue.rule.id()).collect::<Vec<_>>(), ["invalid-json"]);
/// ```
#[must_use]
pub fn lint(json: &[u8]) -> Vec<Issue> {
    lint_with(json, &Surroundings::default())
}

/// Checks the text of a component.json, and that the files that it names are in `folder`, the component's folder.
///
/// Files that are built later are no reason for an issue: files of one kind are only looked for if one of them is there.
///
/// ```
/// use sailor::lint::lint_in;
///
/// let issues = lint_in(include_bytes!("../../../component.json"), env!("CARGO_MANIFEST_DIR").as_ref());
/// assert_eq!(issues, []);
/// ```
#[must_use]
pub fn lint_in(json: &[u8], folder: &Path) -> Vec<Issue> {
    let surroundings = Surroundings {
        folder: Some(folder),
        ..Surroundings::default()
    };
    lint_with(json, &surroundings)
}

/// Checks the text of a component.json and whatever `surroundings` tell about the component.
pub(crate) fn lint_with(json: &[u8], surroundings: &Surroundings<'_>) -> Vec<Issue> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => text,
        Err(error) => return not_utf_8(json, error.valid_up_to()),
    };
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new(bare);
    if bare.len() < text.len() {
        report.add_at(
            rule::BYTE_ORDER_MARK,
            0,
            "",
            "the file begins with a byte order mark, which JSON parsers reject",
            "save it as UTF-8 without BOM",
        );
    }
    match tree::parse(bare) {
        Ok(root) => component::check(&mut report, &root, surroundings),
        Err(invalid) => report.add_at(
            rule::INVALID_JSON,
            invalid.at,
            "",
            format!("this is not JSON: {}", invalid.reason),
            "write JSON by RFC 8259: no comments, no comma before a closing bracket, names and texts in double quotes",
        ),
    }
    report.into_issues()
}

fn not_utf_8(json: &[u8], valid_up_to: usize) -> Vec<Issue> {
    let valid = String::from_utf8_lossy(&json[..valid_up_to]);
    let mut report = Report::new(&valid);
    report.add_at(
        rule::NOT_UTF_8,
        valid_up_to,
        "",
        "this byte is not UTF-8",
        "save the file as UTF-8",
    );
    report.into_issues()
}
