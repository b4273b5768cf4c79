//! The packages of a checkout that a component depends on.

use crate::{cargo::cargo, input::InputError};
use anyhow::Context;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

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

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
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
        let output = cargo()
            .args([
                "metadata",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
            ])
            .arg(&manifest)
            .stdin(Stdio::null())
            .output()
            .context(CARGO_MISSING)?;
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
        Ok(Self {
            sailor,
            emulator,
            root: metadata.workspace_root,
        })
    }
}
