//! The arguments of `emulator new`.

use crate::new::{Checkout, ComponentName, GitVersion, NewPlan, Source};
use clap::{ArgGroup, Args};
use std::path::PathBuf;

#[derive(Args)]
#[command(group(ArgGroup::new("source").args(["path", "git", "registry"])))]
#[command(group(ArgGroup::new("version").args(["rev", "tag", "branch"]).requires("git")))]
pub(super) struct NewArgs {
    /// The component's name: lower-case letters, digits and hyphens. Its package, binary, image and objects in Kubernetes
    /// get it
    #[arg(value_parser = ComponentName::parse)]
    name: ComponentName,
    /// The folder, which does not exist or is empty [default: one of the component's name]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Take elasticio-sailor and elasticio-emulator from a checkout of their repository [default: from where this program
    /// was installed]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Take them from a Git repository
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// The commit in that repository [default: the newest one]
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// The tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The branch
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Take them from crates.io, in this version [default: that of this program]
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = env!("CARGO_PKG_VERSION"))]
    registry: Option<String>,
}

impl NewArgs {
    pub(super) fn plan(self) -> anyhow::Result<NewPlan> {
        let version = match (self.rev, self.tag, self.branch) {
            (Some(rev), ..) => GitVersion::Rev(rev),
            (_, Some(tag), _) => GitVersion::Tag(tag),
            (.., Some(branch)) => GitVersion::Branch(branch),
            _ => GitVersion::Default,
        };
        let source = match (self.path, self.git, self.registry) {
            (Some(folder), ..) => Some(Source::Path(Checkout::find(&folder)?)),
            (_, Some(url), _) => Some(Source::git(url, version)?),
            (.., Some(version)) => Some(Source::Registry(version)),
            _ => None,
        };
        Ok(NewPlan {
            name: self.name,
            folder: self.folder,
            source,
        })
    }
}
