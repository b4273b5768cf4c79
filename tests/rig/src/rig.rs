//! A step on the emulator, and the component that works on it.

use crate::process::{Ended, Process, command, soon};
use emulator::{Emulator, EmulatorConfig, Event, EventKind, platform::ServiceResult};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};
use tokio::process::Command;

/// A flow's step on the emulator, and the component that works on it.
#[derive(Debug)]
pub struct Rig {
    /// The platform.
    pub emulator: Emulator,
    binary: PathBuf,
    /// Additional environment variables of the component.
    variables: Vec<(&'static str, String)>,
}

impl Rig {
    /// A step for the component of this binary.
    ///
    /// # Panics
    /// When the emulator does not start.
    pub async fn new(binary: impl Into<PathBuf>, config: EmulatorConfig) -> Self {
        Self {
            emulator: Emulator::start(config).await.expect("the emulator starts"),
            binary: binary.into(),
            variables: vec![],
        }
    }

    /// Sets an environment variable of the component. An empty value removes one of the platform's.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The component's command, with the platform's variables.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = command(&self.binary);
        command.envs(self.emulator.env());
        for (name, value) in &self.variables {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        command
    }

    /// Starts the component.
    #[must_use]
    pub fn start(&self) -> Running {
        Running::start(self.command())
    }

    /// Runs the component until it ends by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn run(&self) -> Ended {
        Process::run(self.command()).await
    }

    /// Makes a one-time call with this configuration and these variables. Returns the posted result and the log.
    ///
    /// # Panics
    /// When it does not end in time, or posts nothing.
    pub async fn call(
        &self,
        method: &str,
        config: &Value,
        variables: &[(&str, &str)],
    ) -> (ServiceResult, Vec<Value>) {
        let platform = self.emulator.platform();
        let mut command = self.command();
        command
            .args(["service", method])
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"))
            .env("ELASTICIO_CFG", config.to_string())
            .envs(variables.iter().copied());
        let ended = Process::run(command).await;
        let posted = platform.results().pop();
        let result = posted.unwrap_or_else(|| panic!("it posted nothing: {ended:?}"));
        (result, ended.stdout.lines().map(log_line).collect())
    }

    /// Sends a message with a script that the component `scripted` carries out. Returns the message's id.
    ///
    /// # Panics
    /// Never: the headers are an object.
    pub fn send(&self, script: Value) -> String {
        self.send_with(script, json!({}))
    }

    /// Sends a message with a script, and with these AMQP headers in addition to the platform's.
    ///
    /// # Panics
    /// When `headers` is not an object.
    pub fn send_with(&self, script: Value, headers: Value) -> String {
        let headers: &Headers = headers.as_object().expect("headers are an object");
        let message = json!({ "headers": {}, "body": { "script": script } });
        self.emulator.send(&message, headers)
    }

    /// Waits until `count` events of this kind have happened since the start, and returns them.
    ///
    /// # Panics
    /// When they do not happen in time.
    pub async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        let mut found = Vec::new();
        while found.len() < count {
            let what = format!("{kind:?} number {} of {count}", found.len() + 1);
            let next = soon(&what, events.find(|event| event.kind == kind)).await;
            found.push(next.expect("the emulator runs"));
        }
        found
    }

    /// The events of this kind that have happened so far.
    #[must_use]
    pub fn so_far(&self, kind: EventKind) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        std::iter::from_fn(|| events.try_next())
            .filter(|event| event.kind == kind)
            .collect()
    }

    /// Waits until every message is settled.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn settled(&self) {
        soon("every message is settled", self.emulator.settled()).await;
    }

    /// How many messages are in the step's queue, ready or delivered.
    #[must_use]
    pub fn left_in_queue(&self) -> usize {
        let depth = self
            .emulator
            .broker()
            .depth(&self.emulator.topology().input);
        depth.ready + depth.unacked
    }
}

/// A running component.
#[derive(Debug)]
pub struct Running {
    process: Process,
}

impl Running {
    /// Starts the command of a component.
    ///
    /// # Panics
    /// When there is no such program.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let process = Process::start(command);
        Self { process }
    }

    /// The component's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_some()
    }

    /// Reads the log until a line whose message contains `text`.
    ///
    /// # Panics
    /// When there is none in time, or a line is not JSON.
    pub async fn says(&mut self, text: &str) {
        loop {
            let line = self.process.next_line().await;
            let line =
                log_line(&line.unwrap_or_else(|| panic!("the log has no line with {text:?}")));
            if line["msg"].as_str().is_some_and(|msg| msg.contains(text)) {
                return;
            }
        }
    }

    /// Waits until it ends. Returns the exit status and the whole log.
    ///
    /// # Panics
    /// When it does not end in time, or a line of the log is not JSON.
    pub async fn end(self) -> (i32, Vec<Value>) {
        let Ended { status, stdout, .. } = self.process.end().await;
        (status, stdout.lines().map(log_line).collect())
    }

    /// Sends SIGTERM and waits until it ends. Returns the exit status and the whole log.
    ///
    /// # Panics
    /// As [`Running::end`].
    pub async fn stop(self) -> (i32, Vec<Value>) {
        self.signal("TERM");
        self.end().await
    }
}

fn log_line(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|_| panic!("this line of the log is not JSON: {line}"))
}

/// The bodies of emitted messages.
#[must_use]
pub fn bodies(events: &[Arc<Event>]) -> Vec<&Value> {
    events.iter().map(|event| &event.body["body"]).collect()
}
