//! The component's processes. Each has its own process group, which is killed with it.

use anyhow::Context;
use futures_util::future::select_all;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::VecDeque,
    ffi::OsString,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    sync::mpsc,
    time::timeout,
};

/// How many lines are kept to explain an early end.
const LAST_LINES: usize = 20;

/// The time limit for reading the last lines after the process has ended.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// A running component. Dropping it kills the whole process group.
pub(crate) struct Process {
    process: tokio::process::Child,
    group: Option<Pid>,
}

/// Processes of the same component, its replicas.
pub(crate) struct Replicas(Vec<Process>);

/// What processes print, standard output and standard error together.
pub(crate) struct Output {
    lines: mpsc::Receiver<String>,
    last_lines: VecDeque<String>,
}

impl Process {
    /// Starts `command` with the environment of this process and `env`. `ELASTICIO_*` variables of this process are removed:
    /// variables of the user's shell must not reach the component.
    pub(crate) fn start(
        command: &[String],
        env: &[(String, String)],
    ) -> anyhow::Result<(Self, Output)> {
        let (sender, lines) = mpsc::channel(256);
        Ok((Self::start_for(command, env, &sender)?, Output::of(lines)))
    }

    fn start_for(
        command: &[String],
        env: &[(String, String)],
        output: &mpsc::Sender<String>,
    ) -> anyhow::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .context("the component's command is empty")?;
        let inherited: Vec<OsString> = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_string_lossy().starts_with("ELASTICIO_"))
            .collect();
        let mut process = Command::new(program);
        for name in inherited {
            process.env_remove(name);
        }
        process
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut process = process.spawn().with_context(|| {
            format!("the component's command {program:?} cannot be started; is it installed?")
        })?;
        // Both are piped, see above.
        if let Some(stdout) = process.stdout.take() {
            tokio::spawn(forward(stdout, output.clone()));
        }
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(forward(stderr, output.clone()));
        }
        let group = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self { process, group })
    }

    /// Waits for the end of the process. Cancel safe.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process
            .wait()
            .await
            .context("waiting for the component's end")
    }

    /// Asks the process and its children to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills the process and its children.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.ended().await.map(drop)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails when the group is empty, which is fine.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    /// Also after the process has ended: its children may still run.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Replicas {
    /// Starts `count` processes like [`Process::start`].
    pub(crate) fn start(
        count: usize,
        command: &[String],
        env: &[(String, String)],
    ) -> anyhow::Result<(Self, Output)> {
        let (sender, lines) = mpsc::channel(256);
        let processes = (0..count)
            .map(|_| Process::start_for(command, env, &sender))
            .collect::<Result<_, _>>()?;
        Ok((Self(processes), Output::of(lines)))
    }

    /// Waits for one of them to end, and removes it; never returns when none is left. Cancel safe.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (status, which, _) =
            select_all(self.0.iter_mut().map(|process| Box::pin(process.ended()))).await;
        self.0.swap_remove(which);
        status
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks all of them and their children to end.
    pub(crate) fn terminate(&self) {
        self.0.iter().for_each(Process::terminate);
    }

    /// Kills all that are left.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        for process in &mut self.0 {
            process.kill().await?;
        }
        Ok(())
    }
}

impl Output {
    fn of(lines: mpsc::Receiver<String>) -> Self {
        Self {
            lines,
            last_lines: VecDeque::with_capacity(LAST_LINES),
        }
    }

    /// The next line of output; none when both streams have ended. Cancel safe.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let line = self.lines.recv().await?;
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line.clone());
        Some(line)
    }

    /// Shows the remaining output of a process that has ended. Its children may keep the streams open, so this has a time
    /// limit.
    pub(crate) async fn remaining(&mut self, mut show: impl FnMut(&str)) {
        let _ = timeout(STRAGGLERS, async {
            while let Some(line) = self.line().await {
                show(&line);
            }
        })
        .await;
    }

    /// The last lines that [`Self::line`] gave.
    pub(crate) fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last_lines.iter().map(String::as_str)
    }
}

async fn forward(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(text).await.is_err() {
            return;
        }
        line.clear();
    }
}

/// How a process ended, as text.
pub(crate) fn exit_description(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("status {code}"),
        None => status.to_string(),
    }
}
