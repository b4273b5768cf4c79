//! The component as a process: with a broker, a platform, object storage, a provider, and the stand-in for Graph.

use emulator::{
    Emulator, EmulatorConfig, Event, EventKind, platform,
    provider::{Knobs, Provider, ProviderConfig},
};
use graph_standin::Graph;
use sailor::protocol::Headers;
use serde_json::{Map, Value, json};
use std::{process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// The longest that a test waits for anything: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const ACCOUNT: &str = "acc";

/// A step on the emulator, with a connected account.
pub struct Step {
    pub emulator: Emulator,
    pub graph: Graph,
    variables: Vec<(&'static str, String)>,
}

impl Step {
    pub async fn new<T: Into<Value>>(
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> T,
    ) -> Self {
        let knobs = Knobs::preset("microsoft").unwrap();
        Self::with_knobs(knobs, function, fields, tokens).await
    }

    /// The same with a provider of these knobs.
    pub async fn with_knobs<T: Into<Value>>(
        knobs: Knobs,
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> T,
    ) -> Self {
        let mut step = platform::Step {
            function: function.to_owned(),
            config: fields,
            ..platform::Step::default()
        };
        step.config["_account"] = ACCOUNT.into();
        let config = EmulatorConfig {
            provider: ProviderConfig {
                knobs,
                ..ProviderConfig::default()
            },
            step,
            rebound_speed_up: 100,
            next_step: true,
            ..EmulatorConfig::default()
        };
        let emulator = Emulator::start(config).await.unwrap();
        let graph = Graph::start(emulator.provider()).await.unwrap();
        let provider = emulator.provider();
        let variables = vec![
            ("MSAPP_CLIENT_ID", provider.client_id().to_owned()),
            ("MSAPP_CLIENT_SECRET", provider.client_secret().to_owned()),
            ("MSAPP_TOKEN_URI", provider.token_url()),
            ("GRAPH_BASE_URL", graph.url()),
            ("LOG_LEVEL", "trace".to_owned()),
        ];
        let tokens = tokens(provider);
        let step = Self {
            emulator,
            graph,
            variables,
        };
        step.connect(tokens);
        step
    }

    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Sets the account's tokens.
    pub fn connect(&self, tokens: impl Into<Value>) {
        let keys = Map::from_iter([("oauth".to_owned(), tokens.into())]);
        self.emulator.platform().set_account(ACCOUNT, keys);
    }

    /// The tokens that the platform has stored.
    pub fn stored(&self) -> Value {
        self.emulator.platform().account(ACCOUNT).unwrap()["oauth"].clone()
    }

    pub fn snapshot(&self) -> Value {
        self.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlook"));
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command
            .envs(self.emulator.env())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn start(&self) -> Running {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running {
            child,
            lines,
            secrets: self.emulator.provider().clone(),
        }
    }

    pub fn send(&self, body: Value) {
        self.emulator
            .send(&json!({ "headers": {}, "body": body }), &Headers::new());
    }

    pub async fn settled(&self) {
        timeout(PATIENCE, self.emulator.settled())
            .await
            .expect("messages stay unsettled");
    }

    /// Waits for `count` events of this kind.
    pub async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
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

    /// The bodies of the events of this kind so far.
    pub fn bodies(&self, kind: EventKind) -> Vec<Value> {
        let mut events = self.emulator.events();
        let all = std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == kind);
        all.map(|event| event.body.clone()).collect()
    }

    /// The bodies of the messages that were emitted so far.
    pub fn data(&self) -> Vec<Value> {
        self.bodies(EventKind::Data)
            .into_iter()
            .map(|message| message["body"].clone())
            .collect()
    }

    /// The texts of the errors so far.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.bodies(EventKind::Error);
        errors
            .iter()
            .map(|body| body["error"]["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many calls of the platform have this in their path.
    pub fn platform_calls(&self, part: &str) -> usize {
        self.emulator
            .platform()
            .calls()
            .iter()
            .filter(|call| call.path.contains(part))
            .count()
    }

    /// Starts the component, sends a message, waits until it is settled, and returns the log.
    pub async fn run(&self, body: Value) -> Value {
        let component = self.start();
        self.send(body);
        self.settled().await;
        component.stop().await
    }

    /// The result of a one-time call.
    pub async fn service(&self, method: &str, variables: &[(&str, &str)]) -> Value {
        let platform = self.emulator.platform();
        let mut config = platform.step("emulated-flow", "step_1").unwrap().config;
        config["_account"] = ACCOUNT.into();
        let mut command = self.command();
        command
            .args(["service", method])
            .envs(variables.iter().copied());
        command
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"))
            .env("ELASTICIO_CFG", config.to_string());
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        assert_no_secrets(self.emulator.provider(), &log);
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {log}"));
        json!({ "success": result.success, "data": result.data })
    }
}

/// A running component.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    secrets: Provider,
}

impl Running {
    pub fn signal(&self, name: &str) {
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

    /// Stops it, and returns its log, which must not contain a secret.
    pub async fn stop(mut self) -> Value {
        self.signal("TERM");
        let mut log = Vec::new();
        while let Some(line) = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("no end")
            .unwrap()
        {
            assert_no_secrets(&self.secrets, &line);
            log.push(
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a bunyan line: {line}")),
            );
        }
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .expect("no end")
            .unwrap();
        assert!(status.success(), "{status}: {log:?}");
        Value::Array(log)
    }
}

#[track_caller]
fn assert_no_secrets(provider: &Provider, text: &str) {
    let secrets = provider.secrets();
    assert!(
        secrets.iter().all(|secret| !text.contains(secret.as_str())),
        "the log contains a secret: {text}"
    );
}
