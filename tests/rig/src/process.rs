//! A process, its output, and its end.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// Long enough for anything on a busy machine. A test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what a test expects to happen.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
#[track_caller]
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}, awaited at {at}"))
    }
}

/// A command that inherits no environment variables and reads no input. Its process is killed when its handle is dropped.
pub fn command(binary: impl AsRef<Path>) -> Command {
    let mut command = Command::new(binary.as_ref());
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Sends a signal, such as `TERM`, to a process.
///
/// # Panics
/// When the process has ended.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the process has ended").to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &id])
        .status();
    assert!(sent.unwrap().success(), "kill -s {name} {id}");
}

/// A process whose output is read.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: ChildStderr,
    stdout: String,
}

/// How a process ended, and all that it printed.
#[derive(Debug)]
pub struct Ended {
    /// The exit status, or -1 after a signal.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.as_std().get_program()));
        Self {
            lines: BufReader::new(child.stdout.take().expect("it is piped")).lines(),
            stderr: child.stderr.take().expect("it is piped"),
            child,
            stdout: String::new(),
        }
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub async fn run(command: Command) -> Ended {
        Self::start(command).end().await
    }

    /// The process.
    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the operating system cannot say.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its status")
    }

    /// The next line of its standard output; none at the end. Cancel safe.
    ///
    /// # Panics
    /// When no line comes within [`PATIENCE`].
    pub async fn next_line(&mut self) -> Option<String> {
        let line = soon("a line of output", self.lines.next_line()).await;
        let line = line.expect("standard output is UTF-8")?;
        self.stdout += &line;
        self.stdout.push('\n');
        Some(line)
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub async fn end(mut self) -> Ended {
        let mut stderr = String::new();
        let rest_of_stdout = async {
            while let Some(line) = self
                .lines
                .next_line()
                .await
                .expect("standard output is UTF-8")
            {
                self.stdout += &line;
                self.stdout.push('\n');
            }
        };
        let outputs = async {
            let (read, ()) = tokio::join!(self.stderr.read_to_string(&mut stderr), rest_of_stdout);
            read.expect("standard error is UTF-8");
        };
        soon("the end of the output", outputs).await;
        let status = soon("the end of the process", self.child.wait()).await;
        Ended {
            status: status.expect("its status").code().unwrap_or(-1),
            stdout: self.stdout,
            stderr,
        }
    }
}

impl Ended {
    /// Everything that it printed.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
