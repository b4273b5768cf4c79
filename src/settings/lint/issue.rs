//! What the linter finds.

use super::rule::{Rule, Severity};
use std::fmt;

/// A breach of a rule, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issue {
    /// The rule.
    pub rule: Rule,
    /// The line in the text, from 1.
    pub line: usize,
    /// The column in that line, from 1, in characters.
    pub column: usize,
    /// The place in the document, as a JSON Pointer (RFC 6901); empty for the whole document. For a missing member it is
    /// the place of the object.
    pub pointer: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Issue {
    /// Returns true if the rule is one whose breach is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.rule.severity() == Severity::Error
    }
}

/// Writes the issue in one line, without the name of the file: `4:24: error[missing-main] /actions/send: …`.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, .. } = self;
        let (severity, id) = (self.rule.severity(), self.rule.id());
        write!(f, "{line}:{column}: {severity}[{id}] ")?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", printable(&self.pointer))?;
        }
        let (problem, remedy) = (printable(&self.problem), printable(&self.remedy));
        write!(f, "{problem}; {remedy}")
    }
}

/// Replaces control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
