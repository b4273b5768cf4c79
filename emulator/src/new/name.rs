//! The name of a component, which becomes that of its package, its binary, its image and its objects in Kubernetes.

use std::fmt;

/// Kubernetes allows 63 characters in a name, and this one gets a suffix.
const MAX_LENGTH: usize = 40;
/// What the package depends on, and the crates of the compiler: a package of such a name does not build.
const CRATES: [&str; 14] = [
    "alloc",
    "anyhow",
    "core",
    "elasticio-emulator",
    "elasticio-sailor",
    "emulator",
    "proc-macro",
    "sailor",
    "schemars",
    "serde",
    "serde-json",
    "std",
    "test",
    "tokio",
];

/// Folders in which cargo builds: it refuses a binary of such a name.
const FOLDERS: [&str; 4] = ["build", "deps", "examples", "incremental"];

/// A name that all of them allow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComponentName(String);

impl ComponentName {
    /// Checks a name. The error says what is wrong with it, and proposes another one if it can.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let problem = if name.chars().count() > MAX_LENGTH {
            format!("it has more than {MAX_LENGTH} characters")
        } else if CRATES.contains(&name) {
            "that is the name of a crate that it is built with".to_owned()
        } else if FOLDERS.contains(&name) {
            "that is the name of a folder in which cargo builds".to_owned()
        } else if is_keyword(name) {
            "that is a word of Rust".to_owned()
        } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            "it must begin with a lower-case letter".to_owned()
        } else if !name.chars().all(is_allowed) {
            "it may have lower-case letters, digits and hyphens".to_owned()
        } else if name.ends_with('-') {
            "it must not end with a hyphen".to_owned()
        } else {
            return Ok(Self(name.to_owned()));
        };
        let proposal = proposal(name).filter(|other| other != name && Self::parse(other).is_ok());
        let proposal = proposal.map(|other| format!("; try {other}"));
        Err(format!("{problem}{}", proposal.unwrap_or_default()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a text for people: `acme-orders` becomes `Acme orders`.
    pub(crate) fn title(&self) -> String {
        let mut title = self.0.replace('-', " ");
        title[..1].make_ascii_uppercase();
        title
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// The keywords of Rust, which cargo refuses as the name of a package.
fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false \
        final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super \
        trait true try type typeof unsafe unsized use virtual where while yield";
    KEYWORDS.split_whitespace().any(|word| word == name)
}

/// The name in the letters that are allowed.
fn proposal(name: &str) -> Option<String> {
    let lower = name.trim().to_lowercase();
    let text = lower.replace(|c| !is_allowed(c), "-");
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_cargo_docker_and_kubernetes() {
        for name in ["a", "acme", "acme-orders", "acme2", &"a".repeat(MAX_LENGTH)] {
            assert_eq!(ComponentName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_bad_name_gets_an_error_with_a_proposal() {
        for (name, error) in [
            ("", "it must begin with a lower-case letter"),
            (
                "Acme Orders",
                "it must begin with a lower-case letter; try acme-orders",
            ),
            (
                "acme_orders",
                "it may have lower-case letters, digits and hyphens; try acme-orders",
            ),
            ("1st", "it must begin with a lower-case letter"),
            ("../up", "it must begin with a lower-case letter; try up"),
            (
                "acme/",
                "it may have lower-case letters, digits and hyphens; try acme",
            ),
            (
                "größe",
                "it may have lower-case letters, digits and hyphens; try gr-e",
            ),
            (
                &"ä".repeat(MAX_LENGTH),
                "it must begin with a lower-case letter",
            ),
            ("acme-", "it must not end with a hyphen; try acme"),
            ("serde", "that is the name of a crate that it is built with"),
            ("deps", "that is the name of a folder in which cargo builds"),
            ("match", "that is a word of Rust"),
            (
                &"a".repeat(MAX_LENGTH + 1),
                "it has more than 40 characters",
            ),
        ] {
            let found = ComponentName::parse(name).unwrap_err();
            assert_eq!(found, error, "{name}");
        }
    }

    #[test]
    fn the_title_is_for_people() {
        let title = ComponentName::parse("acme-orders").unwrap().title();
        assert_eq!(title, "Acme orders");
    }
}
