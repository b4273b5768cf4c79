//! What is known about an environment variable: enough to read it, and to describe it.

/// An environment variable that the runtime reads.
///
/// `docs/settings.md` is made of these, and the values are read by them: so the page has the defaults that count.
///
/// ```
/// use sailor::settings;
///
/// let all = settings::VARIABLES.iter().flat_map(|section| section.variables);
/// let limit = all.into_iter().find(|variable| variable.name == "ELASTICIO_REBOUND_LIMIT").unwrap();
/// assert_eq!(limit.default, settings::IfUnset::Number(20));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The full name, such as `ELASTICIO_FLOW_ID`.
    pub name: &'static str,
    /// What the value must be.
    pub kind: Kind,
    /// What counts if the variable is not set or empty.
    pub default: IfUnset,
    /// The smallest and the largest number that are used.
    pub range: Option<(u64, u64)>,
    /// Whether the platform's sailor for Node reads it too.
    pub in_node: bool,
    /// Whether the platform's sailor for Java reads it too.
    pub in_java: bool,
    /// What it does, in Markdown.
    pub about: &'static str,
}

/// What the value of a variable must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never printed.
    Secret,
    /// A URL that begins with one of these schemes.
    Url(&'static str),
    /// The path of a file or a folder.
    Path,
    /// True or false.
    Flag,
    /// A number of this unit.
    Number(&'static str),
    /// The number of a TCP port. Any other text ends the start.
    Port,
    /// A size in megabytes, or with a unit.
    Size,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list with commas between its items.
    List,
    /// JSON.
    Json,
}

/// What counts if a variable is not set or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfUnset {
    /// Nothing does: the process does not start.
    Required,
    /// It is off.
    Unset,
    /// This number.
    Number(u32),
    /// This, in words.
    Words(&'static str),
}

/// Variables that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// What they have in common, in Markdown.
    pub about: &'static str,
    /// The variables, in the order of the page.
    pub variables: &'static [Variable],
}

/// A variable that only this sailor reads, and that need not be set.
const fn of(kind: Kind) -> Variable {
    Variable {
        name: "",
        kind,
        default: IfUnset::Unset,
        range: None,
        in_node: false,
        in_java: false,
        about: "",
    }
}

pub(super) const fn text() -> Variable {
    of(Kind::Text)
}

pub(super) const fn secret() -> Variable {
    of(Kind::Secret)
}

pub(super) const fn url(schemes: &'static str) -> Variable {
    of(Kind::Url(schemes))
}

pub(super) const fn path() -> Variable {
    of(Kind::Path)
}

pub(super) const fn flag() -> Variable {
    of(Kind::Flag)
}

pub(super) const fn size() -> Variable {
    of(Kind::Size)
}

pub(super) const fn list() -> Variable {
    of(Kind::List)
}

pub(super) const fn json() -> Variable {
    of(Kind::Json)
}

pub(super) const fn one_of(texts: &'static [&'static str]) -> Variable {
    of(Kind::OneOf(texts))
}

pub(super) const fn port() -> Variable {
    of(Kind::Port)
}

pub(super) const fn number(unit: &'static str) -> Variable {
    of(Kind::Number(unit))
}

impl Variable {
    pub(super) const fn required(self) -> Self {
        self.with(IfUnset::Required)
    }

    pub(super) const fn default(self, number: u32) -> Self {
        self.with(IfUnset::Number(number))
    }

    /// For a default that is not a number of its own.
    pub(super) const fn default_is(self, words: &'static str) -> Self {
        self.with(IfUnset::Words(words))
    }

    const fn with(mut self, default: IfUnset) -> Self {
        self.default = default;
        self
    }

    pub(super) const fn within(mut self, least: u64, most: u64) -> Self {
        self.range = Some((least, most));
        self
    }

    pub(super) const fn in_node(mut self) -> Self {
        self.in_node = true;
        self
    }

    pub(super) const fn in_both(mut self) -> Self {
        self.in_node = true;
        self.in_java = true;
        self
    }

    pub(super) const fn named(mut self, name: &'static str, about: &'static str) -> Self {
        self.name = name;
        self.about = about;
        self
    }

    /// The number that counts if the variable is not set.
    ///
    /// # Panics
    /// Panics if there is none: such a variable is not read with a default. A test reads all of them.
    pub(super) const fn number(&self) -> u32 {
        match self.default {
            IfUnset::Number(number) => number,
            IfUnset::Required | IfUnset::Unset | IfUnset::Words(_) => {
                panic!("the variable has no number as its default")
            }
        }
    }
}
