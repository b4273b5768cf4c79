//! `emulator run --watch`: runs again when a file has changed.
//!
//! The files are looked at every so often: that works on every file system, and for folders that come later.

use crate::{cargo, run::Outcome, timeline::Timeline};
use anyhow::Context;
use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at. Also how long they must stay the same: editors write in several steps.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// What is built or downloaded, or written by a build. Hidden files and folders are left out too.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", "Cargo.lock"];

/// The files whose changes count.
pub(crate) struct Sources {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// What the emulator writes itself.
    written: Vec<PathBuf>,
}

/// When each file was changed, and how long it is.
type State = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Sources {
    /// The sources of the component that `command` starts, and these files.
    pub(crate) fn of(command: &[String], mut files: Vec<PathBuf>) -> Self {
        let mut folders = Vec::new();
        if cargo::is_built(command) {
            folders = cargo::source_folders();
        }
        if folders.is_empty() {
            folders.push(PathBuf::from("."));
        }
        // A program that somebody else builds.
        files.extend(
            command
                .first()
                .filter(|p| p.contains('/'))
                .map(PathBuf::from),
        );
        files.push(PathBuf::from(".env"));
        Self {
            folders,
            files,
            written: Vec::new(),
        }
    }

    /// Leaves out a file that the emulator writes: a change of it is no reason to run again.
    pub(crate) fn without(mut self, written: Option<&Path>) -> Self {
        self.written = written.map(Path::to_owned).into_iter().collect();
        self
    }

    fn state(&self) -> State {
        let mut state = State::new();
        for file in &self.files {
            if let Ok(metadata) = fs::metadata(file) {
                state.insert(file.clone(), stamp(&metadata));
            }
        }
        for folder in &self.folders {
            look(folder, &mut state);
        }
        for written in &self.written {
            state.retain(|path, _| !is_same(path, written));
        }
        state
    }

    /// Waits until files are different from `old`, and stay as they are for a moment. Returns one of them. Cancel safe.
    async fn changed(&self, old: &State) -> PathBuf {
        let mut last = old.clone();
        loop {
            sleep(LOOK_INTERVAL).await;
            let new = self.state();
            if new == last
                && let Some(path) = difference(old, &new)
            {
                return path.clone();
            }
            last = new;
        }
    }
}

fn is_same(path: &Path, other: &Path) -> bool {
    let same_name = path.file_name() == other.file_name();
    same_name && matches!((path.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Adds the files in a folder, and in the folders in it.
fn look(folder: &Path, state: &mut State) {
    // A folder can go away at any time.
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if name.starts_with('.') || LEFT_OUT.contains(&&*name) || state.contains_key(&path) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => look(&path, state),
            Ok(metadata) => {
                state.insert(path, stamp(&metadata));
            }
            Err(_) => {}
        }
    }
}

fn stamp(metadata: &Metadata) -> (Option<SystemTime>, u64) {
    (metadata.modified().ok(), metadata.len())
}

/// A file that is new, gone or different.
fn difference<'a>(old: &'a State, new: &'a State) -> Option<&'a PathBuf> {
    let changed = new
        .iter()
        .find(|(path, stamp)| old.get(*path) != Some(stamp));
    let gone = || old.keys().find(|path| !new.contains_key(*path));
    changed.map(|(path, _)| path).or_else(gone)
}

/// Runs again and again, each time that `sources` change, until SIGINT or SIGTERM. A change ends a run that is going on. Returns
/// whether the last run succeeded.
pub(crate) async fn repeat(
    sources: &Sources,
    timeline: &Timeline,
    run: impl AsyncFn(&CancellationToken) -> anyhow::Result<Outcome>,
) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    loop {
        let state = sources.state();
        let outdated = CancellationToken::new();
        let running = run(&outdated);
        tokio::pin!(running);
        let outcome = tokio::select! {
            outcome = &mut running => outcome,
            path = sources.changed(&state) => {
                tell(&path, timeline);
                outdated.cancel();
                running.await
            }
        };
        let succeeded = match outcome {
            Ok(Outcome::Interrupted) => return Ok(false),
            Ok(outcome) => outcome == Outcome::Succeeded,
            Err(error) => {
                eprintln!("emulator: {error:#}");
                false
            }
        };
        if outdated.is_cancelled() {
            continue;
        }
        timeline.plain("waits for a change; Ctrl-C ends it.");
        tokio::select! {
            path = sources.changed(&state) => tell(&path, timeline),
            () = signals.next() => return Ok(succeeded),
        }
    }
}

fn tell(path: &Path, timeline: &Timeline) {
    timeline.plain(&format!("{} has changed", path.display()));
}

struct Signals(Signal, Signal);

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self(
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        ))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn changes_of_sources_count_and_those_of_what_is_built_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sources = Sources {
            folders: vec![folder.path().to_owned()],
            files: vec![at(".env")],
            written: vec![at("src/../keys.json")],
        };
        write(folder.path(), "src/a/main.rs", "one");
        write(folder.path(), "component.json", "{}");
        let first = sources.state();
        for name in [
            "target/debug/x",
            "keys.json",
            "src/.main.rs.swp",
            "a/node_modules/b.js",
            "Cargo.lock",
            ".git/index",
        ] {
            write(folder.path(), name, "x");
        }
        assert_eq!(difference(&first, &sources.state()), None);
        for name in [".env", "src/a/main.rs", "src/new/b.rs"] {
            let before = sources.state();
            write(folder.path(), name, "longer");
            assert_eq!(difference(&before, &sources.state()), Some(&at(name)));
        }
        let before = sources.state();
        fs::remove_file(at("component.json")).unwrap();
        let after = sources.state();
        assert_eq!(difference(&before, &after), Some(&at("component.json")));
    }
}
