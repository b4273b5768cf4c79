//! `emulator up`: a platform that keeps running, for a component that is started by hand or in a debugger.

use crate::{
    config::EmulatorConfig, local_platform::LocalPlatform, save_keys::KeyFile,
    standins::StandinName, timeline::Timeline,
};
use anyhow::Context;
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};

/// Starts everything, prints how to reach it, and shows what happens until SIGINT or SIGTERM.
pub(crate) async fn up(
    config: EmulatorConfig,
    standin: Option<StandinName>,
    env_file: Option<PathBuf>,
    key_file: &KeyFile,
    timeline: &Timeline,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let local = LocalPlatform::start(config, standin).await?;
    timeline.plain(&local.banner());
    let exports: String = local
        .component_env()
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    match env_file {
        Some(path) => {
            write(&path, &exports).with_context(|| {
                format!("the environment file {} cannot be written", path.display())
            })?;
            timeline.plain(&format!(
                "a component's environment: source {}",
                path.display()
            ));
        }
        None => timeline.plain(exports.trim_end()),
    }
    timeline.plain("Ctrl-C ends it.");
    let mut events = local.emulator.events();
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                timeline.event(&event);
                if let Err(error) = key_file.record(&event) {
                    timeline.note(&error);
                }
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    local.shutdown().await;
    Ok(())
}

/// Writes a file that only its owner can read: it contains passwords, if only the emulator's.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
