//! The packages of a checkout that a component depends on.

use crate::{
    cargo::{Metadata, ask_metadata},
    input::InputError,
};
use anyhow::Context;
use std::path::{Path, PathBuf};

pub(crate) const SAILOR: &str = "elasticio-sailor";
/// This package.
pub(crate) const EMULATOR: &str = env!("CARGO_PKG_NAME");
pub(crate) const CARGO_MISSING: &str =
    "cargo cannot be started; install Rust with https://rustup.rs; nothing was written";

/// A checkout of the repository.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
    pub(crate) sailor: PathBuf,
    pub(crate) emulator: PathBuf,
}

impl Checkout {
    /// Asks cargo for the packages of the workspace in a folder.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let shown = folder.display();
        if !manifest.is_file() {
            let text =
                format!("{shown} has no Cargo.toml: name a checkout of the repository of {SAILOR}");
            return Err(InputError::new(text).into());
        }
        let output = ask_metadata(Some(&manifest)).context(CARGO_MISSING)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let text = format!(
                "cargo cannot read {}:\n{}",
                manifest.display(),
                why.trim_end()
            );
            return Err(InputError::new(text).into());
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("reading what cargo metadata says")?;
        let of = |name: &str| {
            let package = metadata
                .packages
                .iter()
                .find(|package| package.name == name);
            let folder = package.and_then(|package| package.manifest_path.parent());
            folder.map(Path::to_owned).ok_or_else(|| {
                InputError::new(format!(
                    "{shown} has no package {name}: name a checkout of the repository of {SAILOR}"
                ))
            })
        };
        let (sailor, emulator) = (of(SAILOR)?, of(EMULATOR)?);
        if !is_plain(&metadata.workspace_root) {
            let text = format!(
                "the path {:?} has a quote, a backslash, `$` or a control character, which the Dockerfile and the commands of a \
                 component cannot have: move the checkout, or take --git",
                metadata.workspace_root
            );
            return Err(InputError::new(text).into());
        }
        Ok(Self {
            sailor,
            emulator,
            root: metadata.workspace_root,
        })
    }
}

/// Whether a path means the same in a Dockerfile, in quotes of a shell and in JSON.
fn is_plain(path: &Path) -> bool {
    let is_special = |c: char| matches!(c, '\'' | '"' | '\\' | '$') || c.is_control();
    path.to_str().is_some_and(|text| !text.contains(is_special))
}
