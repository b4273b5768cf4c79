//! What the linter may know besides the text.

use super::rule::Rule;
use std::path::Path;

/// What is known of a component besides the text of its descriptor.
#[derive(Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) folder: Option<&'a Path>,
    /// What the component's own modules show; nothing if they are not known.
    pub(crate) modules: Option<Modules<'a>>,
}

/// What the modules of a component show.
pub(crate) struct Modules<'a> {
    /// The triggers that are registered; true for those that poll.
    pub(crate) triggers: &'a [(&'a str, bool)],
    /// Where the descriptor does not fit the modules.
    pub(crate) findings: &'a [Finding],
}

/// A breach of a rule, with its place in the document (RFC 6901).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) pointer: String,
    pub(crate) problem: String,
    pub(crate) remedy: String,
}
