//! The scripted component as a process, on the emulator: signals, failures, faults of broker and platform.

mod bodies;
mod delivery;
mod faults;
mod hostile;
pub(crate) mod interfering;
mod json;
mod log;
mod memory;
mod oauth;
mod reference;
mod start_up;
mod stopping;

use emulator::{Emulator, EmulatorConfig, Event, EventKind, platform::Step};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Long enough for anything on a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The scripted component, which cargo builds with the tests; with `--test it` alone it is not built again.
fn scripted() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("examples/scripted");
    assert!(
        binary.exists(),
        "{} is missing: build it with `cargo build --example scripted`",
        binary.display()
    );
    binary
}

/// A command without anything of this process's environment that could be the platform's.
fn command() -> Command {
    command_of(&scripted())
}

fn command_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A flow's step on the emulator, worked on by the scripted component.
struct Rig {
    emulator: Emulator,
    binary: PathBuf,
    /// What is set beside what the platform sets.
    variables: Vec<(&'static str, String)>,
}

impl Rig {
    /// A step with another one after it.
    async fn new(config: EmulatorConfig) -> Self {
        Self::alone(EmulatorConfig {
            next_step: true,
            ..config
        })
        .await
    }

    /// A step with nothing else than the configuration has.
    async fn alone(config: EmulatorConfig) -> Self {
        let step = Step {
            function: "script".into(),
            ..config.step
        };
        let emulator = Emulator::start(EmulatorConfig { step, ..config })
            .await
            .unwrap();
        Self {
            emulator,
            binary: scripted(),
            variables: vec![],
        }
    }

    async fn with_prefetch(prefetch: u16) -> Self {
        Self::new(EmulatorConfig {
            prefetch,
            ..EmulatorConfig::default()
        })
        .await
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = command_of(&self.binary);
        command.envs(self.emulator.env());
        for (name, value) in &self.variables {
            match value.as_str() {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        command
    }

    fn start(&self) -> Running {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running {
            child,
            lines,
            seen: vec![],
        }
    }

    /// Runs the component until it ends by itself.
    async fn run(&self) -> Output {
        timeout(PATIENCE, self.command().output())
            .await
            .expect("the component does not end")
            .unwrap()
    }

    fn send(&self, script: Value) -> String {
        self.send_with(script, json!({}))
    }

    fn send_with(&self, script: Value, headers: Value) -> String {
        let headers: Headers = headers.as_object().unwrap().clone();
        self.emulator.send(
            &json!({ "headers": {}, "body": { "script": script } }),
            &headers,
        )
    }

    /// Waits until `count` events of this kind have happened, and gives them.
    async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        let mut found = Vec::new();
        while found.len() < count {
            let next = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
            found.push(
                next.unwrap_or_else(|_| panic!("only {} of {count} {kind:?}", found.len()))
                    .unwrap(),
            );
        }
        found
    }

    /// What has happened so far of this kind.
    fn so_far(&self, kind: EventKind) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        std::iter::from_fn(|| events.try_next())
            .filter(|event| event.kind == kind)
            .collect()
    }

    async fn settled(&self) {
        timeout(PATIENCE, self.emulator.settled())
            .await
            .expect("messages stay unsettled");
    }

    fn left_in_queue(&self) -> usize {
        let depth = self
            .emulator
            .broker()
            .depth(&self.emulator.topology().input);
        depth.ready + depth.unacked
    }
}

/// A component at work.
struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    seen: Vec<Value>,
}

impl Running {
    fn signal(&self, name: &str) {
        let id = self
            .child
            .id()
            .expect("the component has ended")
            .to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Reads the log until a line with this text.
    async fn says(&mut self, text: &str) {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line
                .unwrap_or_else(|_| panic!("never said: {text}"))
                .unwrap()
                .expect("the log has ended");
            self.seen.push(
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("no bunyan line: {line}")),
            );
            if self
                .seen
                .last()
                .is_some_and(|line| line["msg"].as_str().is_some_and(|msg| msg.contains(text)))
            {
                return;
            }
        }
    }

    /// Waits for the end: exit status, and the rest of the log.
    async fn end(mut self) -> (i32, Vec<Value>) {
        while let Some(line) = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("no end")
            .unwrap()
        {
            self.seen.push(
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("no bunyan line: {line}")),
            );
        }
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .expect("no end")
            .unwrap();
        (status.code().unwrap_or(-1), self.seen)
    }

    async fn stop(self) -> (i32, Vec<Value>) {
        self.signal("TERM");
        self.end().await
    }
}

fn bodies(events: &[Arc<Event>]) -> Vec<&Value> {
    events.iter().map(|event| &event.body["body"]).collect()
}
