//! The rules: their ids and how severe a breach is. docs/component-json.md describes each.

use std::fmt;

/// How severe an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The platform or the sailor cannot use the descriptor as it is.
    Error,
    /// The descriptor works, but probably not as its author means it.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A rule for component.json.
///
/// ```
/// use sailor::lint::{Rule, Severity};
///
/// let rules: Vec<Rule> = Rule::all().collect();
/// assert!(rules.iter().any(|rule| rule.id() == "missing-main" && rule.severity() == Severity::Error));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule(&'static str, Severity);

impl Rule {
    /// Returns the id of the rule. It never changes.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.0
    }

    /// Returns how severe a breach of the rule is.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.1
    }

    /// Returns all rules.
    pub fn all() -> impl Iterator<Item = Rule> {
        OF_THE_TEXT.iter().chain(of_modules::ALL).copied()
    }
}

macro_rules! rules {
    ($($severity:ident $name:ident $id:literal,)*) => {
        $(pub(crate) const $name: Rule = Rule($id, Severity::$severity);)*
        const OF_THE_TEXT: &[Rule] = &[$($name),*];
    };
}

/// The rules that need the modules of a component.
pub(crate) mod of_modules {
    use super::{Rule, Severity};

    pub(crate) const MISSING_FIELD: Rule = Rule("missing-field", Severity::Error);
    pub(crate) const UNREADABLE_FIELD: Rule = Rule("unreadable-field", Severity::Error);
    pub(crate) const POLLING_AS_WEBHOOK: Rule = Rule("polling-as-webhook", Severity::Error);
    pub(crate) const UNREAD_FIELD: Rule = Rule("unread-field", Severity::Warning);
    pub(crate) const OPTIONAL_FIELD: Rule = Rule("optional-field", Severity::Warning);
    pub(super) const ALL: &[Rule] = &[
        MISSING_FIELD,
        UNREADABLE_FIELD,
        POLLING_AS_WEBHOOK,
        UNREAD_FIELD,
        OPTIONAL_FIELD,
    ];
}

rules! {
    Error NOT_UTF_8 "not-utf-8",
    Error BYTE_ORDER_MARK "byte-order-mark",
    Error INVALID_JSON "invalid-json",
    Error DUPLICATE_KEY "duplicate-key",
    Error WRONG_TYPE "wrong-type",
    Error EMPTY_TEXT "empty-text",
    Error INVALID_VALUE "invalid-value",
    Error MISSING_TITLE "missing-title",
    Error MISSING_MAIN "missing-main",
    Error NO_FUNCTIONS "no-functions",
    Error INVALID_VERSION "invalid-version",
    Error INVALID_ENV_VAR "invalid-env-var",
    Error INVALID_VIEW_CLASS "invalid-view-class",
    Error SELECT_WITHOUT_MODEL "select-without-model",
    Error EMPTY_MODEL "empty-model",
    Error MISSING_OAUTH_MEMBER "missing-oauth-member",
    Warning MISSPELT_MEMBER "misspelt-member",
    Warning MISSING_VERSION "missing-version",
    Warning SAILOR_VERSION "sailor-version",
    Warning MISSING_SAILOR_VERSION "missing-sailor-version",
    Warning SAME_NAME "same-name",
    Warning TRIGGER_TYPE "trigger-type",
    Warning ACTION_WITH_TYPE "action-with-type",
    Warning METADATA_TWICE "metadata-twice",
    Warning METADATA_FILE_NAME "metadata-file-name",
    Warning MISSING_FILE "missing-file",
    Warning PATH_OUTSIDE "path-outside",
    Warning MISSING_VIEW_CLASS "missing-view-class",
    Warning UNKNOWN_VIEW_CLASS "unknown-view-class",
    Warning MISSING_LABEL "missing-label",
    Warning MODEL_WITHOUT_SELECT "model-without-select",
    Warning REQUIRED_AS_TEXT "required-as-text",
    Warning UNKNOWN_REQUIRE "unknown-require",
    Warning OAUTH_WITHOUT_FIELD "oauth-without-field",
    Warning OAUTH_WITHOUT_DEFINITION "oauth-without-definition",
    Warning LITERAL_SECRET "literal-secret",
    Warning UNDECLARED_NAME "undeclared-name",
}
