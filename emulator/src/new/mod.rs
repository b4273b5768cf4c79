//! `emulator new`: writes a component of its own, ready to run, test, build as an image and deploy.

mod interruption;
mod name;
mod packages;
mod source;
mod staging;
mod template;

pub(crate) use name::ComponentName;
pub(crate) use packages::Checkout;
pub(crate) use source::{GitVersion, Source};

use anyhow::{Context, bail, ensure};
use interruption::Interruption;
use staging::{Place, Staging};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{io::AsyncReadExt as _, process::Command};

/// What to write, and where.
pub(crate) struct NewPlan {
    pub(crate) name: ComponentName,
    /// A folder that does not exist or is empty; one of the component's name without it.
    pub(crate) folder: Option<PathBuf>,
    /// Where the runtime comes from; as the emulator itself without it.
    pub(crate) source: Option<Source>,
}

/// Writes the component, and prints what to do with it. If anything fails, or the process is interrupted, nothing is written. Only
/// a process that is killed leaves a hidden folder, which is no obstacle for the next one.
pub(crate) async fn create(plan: NewPlan) -> anyhow::Result<()> {
    let NewPlan {
        name,
        folder,
        source,
    } = plan;
    let folder = folder.unwrap_or_else(|| PathBuf::from(name.as_str()));
    let place = Place::check(&folder)?;
    let source = match source {
        Some(source) => source,
        None => Source::of_this_program()?,
    };
    // From here on, a signal does not end the process before the files are removed.
    let mut interruption = Interruption::listen()?;
    let staging = Staging::begin(place)?;
    for (path, text) in template::files(&name, &source) {
        staging.write(path, &text)?;
    }
    if let Some(lock) = source.lock_file() {
        let to = staging.path().join("Cargo.lock");
        fs::copy(&lock, to).with_context(|| format!("copying {}", lock.display()))?;
    }
    resolve(&staging.path(), &source, &mut interruption).await?;
    staging.finish()?;
    print_next_steps(&name, &folder, &source);
    Ok(())
}

/// Lets cargo find every dependency, and write Cargo.lock. At an interruption cargo is ended first, so that it writes nothing more.
async fn resolve(
    folder: &Path,
    source: &Source,
    interruption: &mut Interruption,
) -> anyhow::Result<()> {
    const INTERRUPTED: &str = "interrupted; nothing was written";
    let mut cargo = Command::from(crate::cargo::cargo())
        .args(["update", "--workspace", "--quiet"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context(packages::CARGO_MISSING)?;
    let stderr = cargo.stderr.take();
    let ended = async {
        let mut told = Vec::new();
        if let Some(mut stderr) = stderr {
            stderr.read_to_end(&mut told).await?;
        }
        io::Result::Ok((cargo.wait().await?, told))
    };
    let ended = tokio::select! {
        biased;
        () = interruption.comes() => None,
        ended = ended => Some(ended.context("waiting for cargo")?),
    };
    let Some((status, told)) = ended else {
        cargo.kill().await.context("ending cargo")?;
        bail!(INTERRUPTED);
    };
    // A terminal's Ctrl-C reaches cargo too, and may reach it first.
    ensure!(!interruption::is_by(status), INTERRUPTED);
    ensure!(
        status.code().is_some(),
        "cargo was ended from outside ({status}); nothing was written"
    );
    ensure!(
        status.success(),
        "cargo cannot find the dependencies; the runtime was to come from {source}; nothing was written:\n{}",
        String::from_utf8_lossy(&told).trim_end()
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
