//! What the linter may know besides the text.

use std::path::Path;

/// What is known of a component besides the text of its descriptor.
#[derive(Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) folder: Option<&'a Path>,
    /// The triggers that are registered; true for those that poll.
    pub(crate) triggers: &'a [(&'a str, bool)],
}
