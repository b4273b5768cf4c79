//! The processes of the step, and what restarts them.

use crate::signal::{self, Signal};
use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a process may take to end after SIGTERM. Its own limit is 25 s.
const END: Duration = Duration::from_secs(40);
/// How long the platform waits before it starts a process again that has ended by itself.
const RESTART: Duration = Duration::from_secs(1);

/// A program that works on the step.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in the report.
    pub name: &'static str,
    /// Whether its figures are promises.
    pub is_ours: bool,
    command: OsString,
    arguments: Vec<OsString>,
    /// The folder that has its component.json.
    folder: PathBuf,
}

impl Program {
    /// A component's binary.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn binary(name: &'static str, path: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            is_ours: true,
            command: found(path)?.into(),
            arguments: vec!["run".into()],
            folder: ".".into(),
        })
    }

    /// The Node sailor in a folder `node_modules`, with the component in `folder`.
    ///
    /// # Errors
    /// When there are no such files.
    pub fn node(modules: &Path, folder: &str) -> anyhow::Result<Self> {
        let script = found(&modules.join("elasticio-sailor-nodejs/run.js"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Ok(Self {
            name: "Node",
            is_ours: false,
            command: "node".into(),
            arguments: vec![script.into()],
            folder: found(&root.join(folder))?,
        })
    }

    fn start(&self, variables: &BTreeMap<String, String>, log: &Path) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.command);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        command
            .spawn()
            .with_context(|| format!("starting {:?}", self.command))
    }
}

fn found(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} is missing", path.display()))
}

/// One replica of the step. Its process is started again when it ends, until it is stopped.
pub struct Replica {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Default)]
struct State {
    /// The process, while one runs.
    id: Option<u32>,
    /// The signal that ends it.
    asked: Option<Signal>,
    exits: Exits,
}

/// How the processes of a replica have ended.
#[derive(Clone, Debug, Default)]
pub struct Exits {
    /// By themselves, with their statuses.
    pub by_itself: Vec<String>,
    /// After SIGTERM, with another status than 0.
    pub unclean: Vec<String>,
    /// Not within 40 s after SIGTERM.
    pub hung: usize,
}

impl Replica {
    /// Starts it with these variables. `log` gets all its output.
    pub fn start(program: Program, variables: BTreeMap<String, String>, log: PathBuf) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let stop = CancellationToken::new();
        let keeping = keep(program, variables, log, state.clone(), stop.clone());
        Self {
            state,
            stop,
            task: tokio::spawn(keeping),
        }
    }

    /// The process that runs now.
    pub fn id(&self) -> Option<u32> {
        lock(&self.state).id
    }

    /// Sends a signal. After SIGTERM and SIGKILL the process counts as ended on purpose. Returns whether one runs.
    pub fn signal(&self, name: Signal) -> bool {
        let mut state = lock(&self.state);
        let Some(id) = state.id else { return false };
        if name == Signal::TERM || name == Signal::KILL {
            state.asked = Some(name);
        }
        signal::send(id, name).is_ok()
    }

    /// Ends it with SIGTERM. Kills it if it takes longer than 40 s.
    ///
    /// # Errors
    /// When its process could not be started.
    pub async fn stop(mut self) -> anyhow::Result<Exits> {
        self.stop.cancel();
        self.signal(Signal::TERM);
        if let Ok(ended) = timeout(END, &mut self.task).await {
            ended??;
        } else {
            lock(&self.state).exits.hung += 1;
            self.signal(Signal::KILL);
            self.task.await??;
        }
        Ok(lock(&self.state).exits.clone())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep(
    program: Program,
    variables: BTreeMap<String, String>,
    log: PathBuf,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let mut process = program.start(&variables, &log)?;
        lock(&state).started(&process, &stop);
        let status = process.wait().await?;
        let asked = {
            let mut state = lock(&state);
            state.id = None;
            state.ended(status);
            state.asked
        };
        if asked.is_none() {
            tokio::select! {
                () = sleep(RESTART) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

impl State {
    fn started(&mut self, process: &Child, stop: &CancellationToken) {
        (self.id, self.asked) = (process.id(), None);
        // It was stopped when no process ran.
        if let (true, Some(id)) = (stop.is_cancelled(), self.id) {
            self.asked = Some(Signal::TERM);
            let _ = signal::send(id, Signal::TERM);
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        // A signal has no status.
        let text = status
            .code()
            .map_or_else(|| status.to_string(), |code| code.to_string());
        match self.asked {
            None => self.exits.by_itself.push(text),
            Some(Signal::TERM) if !status.success() => self.exits.unclean.push(text),
            Some(_) => {}
        }
    }
}

impl Exits {
    /// Adds those of another replica.
    pub fn add(&mut self, other: Self) {
        self.by_itself.extend(other.by_itself);
        self.unclean.extend(other.unclean);
        self.hung += other.hung;
    }

    /// Whether each process has ended only when it was told to, in time and with status 0.
    pub fn are_clean(&self) -> bool {
        self.by_itself.is_empty() && self.unclean.is_empty() && self.hung == 0
    }
}

impl std::fmt::Display for Exits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        let mut statuses = self.by_itself.clone();
        statuses.dedup();
        if !statuses.is_empty() {
            let (times, statuses) = (self.by_itself.len(), statuses.join(", "));
            parts.push(format!("by itself × {times} ({statuses})"));
        }
        if !self.unclean.is_empty() {
            parts.push(format!("after SIGTERM: {}", self.unclean.join(", ")));
        }
        if self.hung > 0 {
            parts.push("had to be killed".into());
        }
        let text = if parts.is_empty() {
            "clean".into()
        } else {
            parts.join("; ")
        };
        f.write_str(&text)
    }
}
