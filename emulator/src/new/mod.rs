//! `emulator new`: writes a component of its own, ready to run, test, build as an image and deploy.

mod name;
mod packages;
mod source;
mod staging;
mod template;

pub(crate) use name::ComponentName;
pub(crate) use packages::Checkout;
pub(crate) use source::{GitVersion, Source};

use anyhow::{Context, ensure};
use staging::Staging;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

/// What to write, and where.
pub(crate) struct NewPlan {
    pub(crate) name: ComponentName,
    /// A folder that does not exist or is empty; one of the component's name without it.
    pub(crate) folder: Option<PathBuf>,
    /// Where the runtime comes from; as the emulator itself without it.
    pub(crate) source: Option<Source>,
}

/// Writes the component, and prints what to do with it. If anything fails, nothing is written; if the process is killed, a
/// hidden folder can stay, which is no obstacle for the next one.
pub(crate) fn create(plan: NewPlan) -> anyhow::Result<()> {
    let NewPlan {
        name,
        folder,
        source,
    } = plan;
    let folder = folder.unwrap_or_else(|| PathBuf::from(name.as_str()));
    let staging = Staging::begin(&folder)?;
    let source = match source {
        Some(source) => source,
        None => Source::of_this_program()?,
    };
    for (path, text) in template::files(&name, &source) {
        staging.write(path, &text)?;
    }
    if let Some(lock) = source.lock_file() {
        let to = staging.path().join("Cargo.lock");
        fs::copy(&lock, to).with_context(|| format!("copying {}", lock.display()))?;
    }
    resolve(&staging.path(), &source)?;
    staging.finish()?;
    print_next_steps(&name, &folder, &source);
    Ok(())
}

/// Lets cargo find every dependency, and write Cargo.lock.
fn resolve(folder: &Path, source: &Source) -> anyhow::Result<()> {
    let output = crate::cargo::cargo()
        .args(["update", "--workspace", "--quiet"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context(packages::CARGO_MISSING)?;
    ensure!(
        output.status.success(),
        "cargo cannot find the dependencies; the runtime was to come from {source}; nothing was written:\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

/// Prints what was written and what comes next. If nobody reads it, the component is there all the same.
fn print_next_steps(name: &ComponentName, folder: &Path, source: &Source) {
    let folder = folder.display();
    let warning = source.warning().unwrap_or_default();
    let text = format!(
        "Created the component {name} in {folder}. elasticio-sailor and elasticio-emulator come from {source}: see Cargo.toml.{warning}

Next, in {folder}:
  cargo test
  emulator run --function createItem --config samples/config.json --message samples/create-item.json
  emulator run --function pollRecords --config samples/config.json
README.md says how to change, check and deploy it.
"
    );
    let _ = io::stdout().write_all(text.as_bytes());
}
