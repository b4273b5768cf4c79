//! The programs that are measured, and how each is started: all with the same environment.

use crate::{
    bare_loop::Acknowledge,
    broker::{ERROR_KEY, EXCHANGE, OUTPUT_KEY, REBOUND_KEY, SNAPSHOT_KEY},
    sample::{CRYPTO_IV, CRYPTO_PASSWORD},
};
use anyhow::Context as _;
use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// The protocol version of every message.
pub const PROTOCOL: i64 = 2;

/// The name of the bare loop.
pub const LOOP: &str = "loop";
/// The name of the bare loop that acknowledges many messages at once.
pub const BATCHED_LOOP: &str = "batched loop";
/// The name of the loop that [`LOOP`] is compared with.
pub const REFERENCE_LOOP: &str = "reference loop";
/// The name of the loop that [`BATCHED_LOOP`] is compared with.
pub const REFERENCE_BATCHED_LOOP: &str = "reference batched loop";

/// A program that works on the queues, and its name in the report.
#[derive(Debug)]
pub struct Contestant {
    /// Its name in the report.
    pub name: String,
    /// What it is.
    pub program: Program,
}

/// What a contestant runs.
#[derive(Debug)]
pub enum Program {
    /// A component's binary, built with this project's sailor, and the function to run.
    Component(PathBuf, String),
    /// The component in `bench/node`, run by the Node sailor's `run.js`.
    Node(PathBuf),
    /// A bare loop of this project.
    Loop(Acknowledge),
    /// A command for the shell that does what the bare loop does, written by others.
    ReferenceLoop(Acknowledge, String),
    /// A command for the shell. Its environment has `PREFETCH`, `MESSAGES` and `AMQP_URI` in addition to the platform's
    /// variables.
    Shell(String),
}

/// What a contestant works on.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The broker.
    pub uri: &'a str,
    /// The platform's API.
    pub platform: SocketAddr,
    /// The queue that is consumed.
    pub queue: &'a str,
    /// The id of the step, which the platform's response depends on.
    pub step: &'a str,
    /// How many messages are processed at the same time.
    pub prefetch: u16,
    /// How many messages the queue holds.
    pub messages: usize,
    /// Whether the contestant's output goes to the standard error of this process.
    pub logs: bool,
}

impl Contestant {
    /// A component of this project's sailor, from `PATH` or `PATH:FUNCTION`. The function is `echo` by default.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn component(name: &str, path: &str) -> anyhow::Result<Self> {
        let (path, function) = path.split_once(':').unwrap_or((path, "echo"));
        let program = Program::Component(found(Path::new(path))?, function.to_owned());
        Ok(Self {
            name: name.to_owned(),
            program,
        })
    }

    /// The Node sailor in a folder `node_modules`.
    ///
    /// # Errors
    /// Returns an error if the Node sailor is not installed in this folder.
    pub fn node(modules: &Path) -> anyhow::Result<Self> {
        let script = found(&modules.join("elasticio-sailor-nodejs/run.js"))?;
        Ok(Self {
            name: "Node".to_owned(),
            program: Program::Node(script),
        })
    }

    /// A bare loop.
    #[must_use]
    pub fn bare_loop(acknowledge: Acknowledge) -> Self {
        let name = match acknowledge {
            Acknowledge::Each => LOOP,
            Acknowledge::Batches => BATCHED_LOOP,
        };
        Self {
            name: name.to_owned(),
            program: Program::Loop(acknowledge),
        }
    }

    /// A command that does what the bare loop does. Its environment has what [`Program::Shell`] has.
    #[must_use]
    pub fn reference(acknowledge: Acknowledge, command: &str) -> Self {
        let name = match acknowledge {
            Acknowledge::Each => REFERENCE_LOOP,
            Acknowledge::Batches => REFERENCE_BATCHED_LOOP,
        };
        Self {
            name: name.to_owned(),
            program: Program::ReferenceLoop(acknowledge, command.to_owned()),
        }
    }

    /// The file whose size counts, where it is one of this project's.
    #[must_use]
    pub fn binary(&self) -> Option<&Path> {
        match &self.program {
            Program::Component(path, _) => Some(path),
            _ => None,
        }
    }

    /// Starts the program. It is killed when the handle is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, setup: &Setup) -> anyhow::Result<Child> {
        let mut command = self.command(setup)?;
        let output = || {
            if setup.logs {
                Stdio::from(std::io::stderr())
            } else {
                Stdio::null()
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .kill_on_drop(true);
        command
            .spawn()
            .with_context(|| format!("starting {}", self.name))
    }

    fn command(&self, setup: &Setup) -> anyhow::Result<Command> {
        let mut command = match &self.program {
            Program::Component(path, _) => with_arguments(path, ["run".into()]),
            Program::Node(script) => {
                let mut command = with_arguments(Path::new("node"), [script.into()]);
                command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("node"));
                command
            }
            Program::Loop(acknowledge) => {
                // Beside the program that runs, which may be another one of this folder.
                let program = std::env::current_exe()?.with_file_name("sailor-bench");
                let mut command = Command::new(found(&program)?);
                command
                    .arg("loop")
                    .args(["--prefetch", &setup.prefetch.to_string()]);
                if *acknowledge == Acknowledge::Batches {
                    command.arg("--batched");
                }
                command
            }
            // `exec` replaces the shell, so that the command itself is measured.
            Program::Shell(line) | Program::ReferenceLoop(_, line) => with_arguments(
                Path::new("sh"),
                ["-c".into(), format!("exec {line}").into()],
            ),
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .envs(variables(setup))
            .env("ELASTICIO_FUNCTION", self.function());
        Ok(command)
    }

    fn function(&self) -> &str {
        match &self.program {
            Program::Component(_, function) => function,
            _ => "echo",
        }
    }
}

fn with_arguments<const N: usize>(program: &Path, arguments: [OsString; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn found(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} is missing", path.display()))
}

/// The platform's variables for a step. Logs are as short as they can be, and rates are not limited.
#[must_use]
pub fn variables(setup: &Setup) -> Vec<(&'static str, String)> {
    let platform = format!("http://{}", setup.platform);
    let numbers = [
        ("PREFETCH", u64::from(setup.prefetch)),
        ("MESSAGES", setup.messages as u64),
        (
            "ELASTICIO_RABBITMQ_PREFETCH_SAILOR",
            u64::from(setup.prefetch),
        ),
        ("ELASTICIO_PROTOCOL_VERSION", PROTOCOL.unsigned_abs()),
        ("ELASTICIO_DATA_RATE_LIMIT", 1_000_000),
        ("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", 1 << 30),
    ];
    let texts = [
        ("LOG_LEVEL", "error"),
        ("AMQP_URI", setup.uri),
        ("ELASTICIO_AMQP_URI", setup.uri),
        ("ELASTICIO_API_URI", &platform),
        ("ELASTICIO_API_USERNAME", "user"),
        ("ELASTICIO_API_KEY", "key"),
        ("ELASTICIO_FLOW_ID", "flow"),
        ("ELASTICIO_EXEC_ID", "execution"),
        ("ELASTICIO_STEP_ID", setup.step),
        ("ELASTICIO_CONTAINER_ID", "container"),
        ("ELASTICIO_WORKSPACE_ID", "workspace"),
        ("ELASTICIO_USER_ID", "user"),
        ("ELASTICIO_COMP_ID", "component"),
        ("ELASTICIO_MESSAGE_CRYPTO_PASSWORD", CRYPTO_PASSWORD),
        ("ELASTICIO_MESSAGE_CRYPTO_IV", CRYPTO_IV),
        ("ELASTICIO_LISTEN_MESSAGES_ON", setup.queue),
        ("ELASTICIO_PUBLISH_MESSAGES_TO", EXCHANGE),
        ("ELASTICIO_DATA_ROUTING_KEY", OUTPUT_KEY),
        ("ELASTICIO_ERROR_ROUTING_KEY", ERROR_KEY),
        ("ELASTICIO_SNAPSHOT_ROUTING_KEY", SNAPSHOT_KEY),
        ("ELASTICIO_REBOUND_ROUTING_KEY", REBOUND_KEY),
    ];
    let numbers = numbers.map(|(name, number)| (name, number.to_string()));
    numbers
        .into_iter()
        .chain(texts.map(|(name, text)| (name, text.to_owned())))
        .collect()
}
