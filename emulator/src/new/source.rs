//! Where a component gets the runtime and the emulator from: a folder, a Git repository, or a registry.

use super::packages::{Checkout, EMULATOR};
use crate::input::InputError;
use reqwest::Url;
use serde_json::Value;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Where the packages come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// A checkout on this machine.
    Path(Checkout),
    /// A Git repository.
    Git { url: String, version: GitVersion },
    /// A version on crates.io.
    Registry(String),
}

/// A version in a Git repository.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GitVersion {
    /// The newest commit of the default branch.
    Default,
    Rev(String),
    Tag(String),
    Branch(String),
}

impl Source {
    /// Where this program comes from: what cargo has noted when it installed it, or else the checkout that it was built in.
    pub(crate) fn of_this_program() -> anyhow::Result<Self> {
        let record = std::env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.parent()?.join(".crates2.json")));
        let record = record.and_then(|path| fs::read(path).ok());
        let record = record.and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(installed) = record.as_ref().and_then(Installed::read) {
            return installed.source();
        }
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
        if built_in.join("Cargo.toml").is_file() {
            return Ok(Self::Path(Checkout::find(built_in)?));
        }
        let text = format!(
            "it is not known where {EMULATOR} comes from: say it with --path DIR, --git URL or --registry"
        );
        Err(InputError::new(text).into())
    }

    /// A Git repository. A user and a password in its URL are refused: they would get into Cargo.toml.
    pub(crate) fn git(url: String, version: GitVersion) -> Result<Self, InputError> {
        if has_login(&url) {
            return Err(InputError::new(
                "the URL of the repository has a user or a password, which would get into Cargo.toml: name it without them with \
                 --git URL, and let a credential helper of Git give them",
            ));
        }
        Ok(Self::Git { url, version })
    }

    /// The members of the runtime's dependency in Cargo.toml, and those of the emulator's.
    pub(crate) fn members(&self) -> (String, String) {
        let of_both = match self {
            Self::Path(checkout) => {
                let path = |folder: &Path| format!("path = {}", quoted(&folder.display()));
                return (path(&checkout.sailor), path(&checkout.emulator));
            }
            Self::Git { url, version } => {
                let url = format!("git = {}", quoted(url));
                match version {
                    GitVersion::Default => url,
                    GitVersion::Rev(rev) => format!("{url}, rev = {}", quoted(rev)),
                    GitVersion::Tag(tag) => format!("{url}, tag = {}", quoted(tag)),
                    GitVersion::Branch(name) => format!("{url}, branch = {}", quoted(name)),
                }
            }
            Self::Registry(version) => format!("version = {}", quoted(version)),
        };
        (of_both.clone(), of_both)
    }

    /// The folder that has to be there when the component is built, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Path(checkout) => Some(&checkout.root),
            _ => None,
        }
    }

    /// The lock file of the versions that the checkout is tested with.
    pub(crate) fn lock_file(&self) -> Option<PathBuf> {
        let lock = self.folder()?.join("Cargo.lock");
        lock.is_file().then_some(lock)
    }

    /// What is to be known about the source before the component leaves this machine.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        matches!(self, Self::Path(_)).then_some(
            " Other machines, such as that of CI, do not have that folder: before you share the component, write \
             `git = \"URL\"` in place of both `path = …`.",
        )
    }
}

/// What cargo has noted about this program when it installed it.
#[derive(Debug, PartialEq)]
enum Installed {
    Path(PathBuf),
    Git {
        url: String,
        commit: String,
    },
    Registry(String),
    /// A place that no component can name, such as another registry: crates.io may have a package of the same name.
    Other,
}

const CRATES_IO: [&str; 2] = [
    "registry+https://github.com/rust-lang/crates.io-index",
    "sparse+https://index.crates.io/",
];

impl Installed {
    /// Reads cargo's list of installed programs. A key of it is `name version (kind+url#commit)`.
    fn read(record: &Value) -> Option<Self> {
        let mut installs = record["installs"].as_object()?.keys();
        let rest = installs.find_map(|install| install.strip_prefix(&format!("{EMULATOR} ")))?;
        let (version, id) = rest.split_once(" (")?;
        let id = id.strip_suffix(')')?;
        if CRATES_IO.contains(&id) {
            return Some(Self::Registry(version.to_owned()));
        }
        Some(
            Self::path(id)
                .or_else(|| Self::git(id))
                .unwrap_or(Self::Other),
        )
    }

    fn path(id: &str) -> Option<Self> {
        let url = Url::parse(id.strip_prefix("path+")?).ok()?;
        url.to_file_path().ok().map(Self::Path)
    }

    fn git(id: &str) -> Option<Self> {
        let (url, commit) = id.strip_prefix("git+")?.split_once('#')?;
        Some(Self::Git {
            url: url.split('?').next()?.to_owned(),
            commit: commit.to_owned(),
        })
    }

    fn source(self) -> anyhow::Result<Source> {
        Ok(match self {
            Self::Path(folder) => Source::Path(Checkout::find(&folder)?),
            Self::Git { url, commit } => Source::git(url, GitVersion::Rev(commit))?,
            Self::Registry(version) => Source::Registry(version),
            Self::Other => {
                let text = format!(
                    "cargo has installed {EMULATOR} from a place that a component cannot name, such as a registry other than \
                     crates.io: say it with --git URL or --path DIR"
                );
                return Err(InputError::new(text).into());
            }
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(checkout) => write!(f, "the folder {}", checkout.root.display()),
            Self::Git { url, version } => match version {
                GitVersion::Default => write!(f, "the repository {url}"),
                GitVersion::Rev(rev) => write!(f, "the repository {url} at {rev}"),
                GitVersion::Tag(name) | GitVersion::Branch(name) => {
                    write!(f, "the repository {url}, {name}")
                }
            },
            Self::Registry(version) => write!(f, "crates.io in version {version}"),
        }
    }
}

/// Whether a URL has a password, or a user that is not only the account of SSH.
fn has_login(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let is_web = matches!(url.scheme(), "http" | "https");
        url.password().is_some() || is_web && !url.username().is_empty()
    })
}

/// A text in TOML, whose escapes are those of JSON.
fn quoted(text: &impl ToString) -> String {
    Value::String(text.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_of_installed_programs_says_the_source() {
        let read = |id: &str| {
            let key = format!("elasticio-emulator 0.1.0 ({id})");
            let other = "ripgrep 14.1.1 (registry+https://github.com/rust-lang/crates.io-index)";
            Installed::read(&json!({ "installs": { other: {}, key: {} } }))
        };
        let git = |url: &str, commit: &str| Installed::Git {
            url: url.into(),
            commit: commit.into(),
        };
        for (id, expected) in [
            (
                "path+file:///src/emulator",
                Some(Installed::Path("/src/emulator".into())),
            ),
            (
                "git+https://host/a.git#12ab",
                Some(git("https://host/a.git", "12ab")),
            ),
            (
                "git+file:///src?branch=main#12ab",
                Some(git("file:///src", "12ab")),
            ),
            (
                "path+file:///my%20src/gr%C3%B6%C3%9Fe",
                Some(Installed::Path("/my src/größe".into())),
            ),
            ("path+something", Some(Installed::Other)),
            (CRATES_IO[0], Some(Installed::Registry("0.1.0".into()))),
            (CRATES_IO[1], Some(Installed::Registry("0.1.0".into()))),
            ("registry+https://host/index", Some(Installed::Other)),
            ("sparse+https://host/index/", Some(Installed::Other)),
            ("something new", Some(Installed::Other)),
        ] {
            assert_eq!(read(id), expected, "{id}");
        }
        assert_eq!(Installed::read(&json!({ "installs": {} })), None);
        assert_eq!(Installed::read(&json!([])), None);
    }

    #[test]
    fn another_registry_is_not_taken_for_crates_io() {
        let error = Installed::Other.source().unwrap_err().to_string();
        assert!(
            error.contains("say it with --git URL or --path DIR"),
            "{error}"
        );
    }

    #[test]
    fn a_login_does_not_get_into_the_manifest() {
        for url in [
            "https://token@host/a.git",
            "https://user:hunter2@host/a.git",
            "http://:hunter2@host/a",
            "ssh://git:hunter2@host/a.git",
        ] {
            let error = Source::git(url.into(), GitVersion::Default).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("credential helper"), "{url}: {error}");
            assert!(
                !error.contains("hunter2") && !error.contains("token"),
                "{error}"
            );
        }
        for url in [
            "https://host/a.git",
            "ssh://git@host/a.git",
            "git@host:a.git",
            "file:///a",
        ] {
            assert!(
                Source::git(url.into(), GitVersion::Default).is_ok(),
                "{url}"
            );
        }
    }

    #[test]
    fn a_source_becomes_members_of_a_dependency() {
        let git = |version| Source::Git {
            url: "https://host/a.git".into(),
            version,
        };
        let checkout = Checkout {
            root: "/src".into(),
            sailor: "/src".into(),
            emulator: "/src/the \"emulator\"".into(),
        };
        for (source, sailor, emulator) in [
            (
                Source::Path(checkout),
                r#"path = "/src""#,
                r#"path = "/src/the \"emulator\"""#,
            ),
            (
                git(GitVersion::Default),
                r#"git = "https://host/a.git""#,
                "",
            ),
            (
                git(GitVersion::Tag("v1".into())),
                r#"git = "https://host/a.git", tag = "v1""#,
                "",
            ),
            (
                git(GitVersion::Branch("b".into())),
                r#"git = "https://host/a.git", branch = "b""#,
                "",
            ),
            (
                git(GitVersion::Rev("12".into())),
                r#"git = "https://host/a.git", rev = "12""#,
                "",
            ),
            (Source::Registry("0.1.0".into()), r#"version = "0.1.0""#, ""),
        ] {
            let emulator = if emulator.is_empty() {
                sailor
            } else {
                emulator
            };
            assert_eq!(source.members(), (sailor.to_owned(), emulator.to_owned()));
        }
    }
}
