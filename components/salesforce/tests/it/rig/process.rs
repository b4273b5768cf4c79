//! The component as a process: with a broker, a platform, object storage, a provider, and the stand-in for Salesforce.

use emulator::{
    Emulator, EmulatorConfig, Event, EventKind,
    platform::Step,
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::protocol::Headers;
use salesforce_standin::Salesforce;
use serde_json::{Map, Value, json};
use std::{process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// The longest that a test waits for anything: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const FLOW: &str = "emulated-flow";

/// The component on a step of its own, connected to an organisation.
pub struct Deployed {
    pub emulator: Emulator,
    pub api: Salesforce,
    pub variables: Vec<(&'static str, String)>,
}

impl Deployed {
    pub async fn new(
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> Map<String, Value>,
    ) -> Self {
        let provider = ProviderConfig {
            knobs: Knobs::preset("salesforce").unwrap(),
            ..ProviderConfig::default()
        };
        let step = Step {
            function: function.into(),
            ..Step::default()
        };
        let config = EmulatorConfig {
            provider,
            step: step.clone(),
            prefetch: 20,
            rebound_speed_up: 100,
            next_step: true,
            ..Default::default()
        };
        let emulator = Emulator::start(config).await.unwrap();
        let api = Salesforce::start(emulator.provider()).await.unwrap();
        let account = json!({ "prodEnv": "login", "oauth": tokens(emulator.provider()) });
        let mut config = json!({ "_account": "acc" });
        for more in [&account, &fields] {
            config
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        }
        emulator.platform().set_step(FLOW, Step { config, ..step });
        emulator
            .platform()
            .set_account("acc", account.as_object().unwrap().clone());
        let provider = emulator.provider();
        let variables = vec![
            ("SALESFORCE_KEY", provider.client_id().to_owned()),
            ("SALESFORCE_SECRET", provider.client_secret().to_owned()),
            ("SALESFORCE_TOKEN_URI", provider.token_url()),
            ("LOG_LEVEL", "trace".to_owned()),
        ];
        Self {
            emulator,
            api,
            variables,
        }
    }

    pub fn provider(&self) -> &Provider {
        self.emulator.provider()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_salesforce"));
        command
            .env_clear()
            .envs(self.emulator.env())
            .envs(self.variables.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub fn start(&self) -> Running {
        let mut child = self.command().spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        Running { child, log }
    }

    pub fn send(&self, body: Value) {
        self.send_message(json!({ "headers": {}, "body": body }));
    }

    pub fn send_message(&self, message: Value) {
        self.emulator.send(&message, &Headers::new());
    }

    /// Waits for `count` events of this kind, and until all messages are settled; returns all events of this kind.
    pub async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        let (mut events, mut found) = (self.emulator.events(), vec![]);
        while found.len() < count {
            let next = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
            let next = next.unwrap_or_else(|_| {
                panic!("{} of {count} {kind:?}: {:?}", found.len(), self.errors())
            });
            found.push(next.unwrap());
        }
        timeout(PATIENCE, self.emulator.settled())
            .await
            .expect("messages stay unsettled");
        let all = std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == kind);
        found.extend(all);
        found
    }

    pub fn errors(&self) -> Vec<String> {
        let mut events = self.emulator.events();
        let errors =
            std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == EventKind::Error);
        errors
            .map(|event| event.body["error"].to_string())
            .collect()
    }

    /// The tokens that the platform has stored.
    pub fn stored(&self) -> Value {
        self.emulator.platform().account("acc").unwrap()["oauth"].clone()
    }

    pub fn snapshot(&self) -> Value {
        self.emulator
            .platform()
            .step(FLOW, "step_1")
            .unwrap()
            .snapshot
    }

    /// Stops the component. Asserts that its log contains no secret and none of `contents`.
    pub async fn stop(&self, running: Running, contents: &[&str]) {
        running.terminate();
        let Running { mut child, mut log } = running;
        let (mut lines, mut line) = (vec![], String::new());
        while timeout(PATIENCE, log.read_line(&mut line))
            .await
            .expect("no end")
            .unwrap()
            > 0
        {
            lines.push(std::mem::take(&mut line));
        }
        assert!(
            timeout(PATIENCE, child.wait())
                .await
                .expect("no end")
                .unwrap()
                .success(),
            "{lines:?}"
        );
        assert!(lines.len() > 2, "the log is read");
        self.assert_no_secrets(&lines, contents);
    }

    fn assert_no_secrets(&self, lines: &[String], contents: &[&str]) {
        let secrets = self.provider().secrets();
        assert!(secrets.len() > 2, "there are secrets to search for");
        for line in lines {
            assert!(
                !secrets.iter().any(|secret| line.contains(secret.as_str())),
                "there is a secret in: {line}"
            );
            assert!(
                !contents.iter().any(|content| line.contains(content)),
                "there are contents in: {line}"
            );
        }
        for error in self.errors() {
            assert!(
                !secrets.iter().any(|secret| error.contains(secret.as_str())),
                "there is a secret in: {error}"
            );
        }
    }

    /// A one-time call, and its result.
    pub async fn service(&self, method: &str, model: Option<&str>) -> (bool, Value) {
        let platform = self.emulator.platform();
        let step = platform.step(FLOW, "step_1").unwrap();
        let mut command = self.command();
        command
            .args(["service", method])
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"));
        command
            .env("ELASTICIO_CFG", step.config.to_string())
            .env("ELASTICIO_ACTION_OR_TRIGGER", step.function);
        command.envs(model.map(|model| ("ELASTICIO_GET_MODEL_METHOD", model)));
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        self.assert_no_secrets(&log.lines().map(str::to_owned).collect::<Vec<_>>(), &[]);
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {log}"));
        (result.success, result.data)
    }
}

/// A running component.
pub struct Running {
    child: Child,
    log: BufReader<ChildStdout>,
}

impl Running {
    /// Asks it to stop.
    fn terminate(&self) {
        let id = self
            .child
            .id()
            .expect("the component has ended")
            .to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", "TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

pub fn bodies(events: &[Arc<Event>]) -> Vec<&Value> {
    events.iter().map(|event| &event.body["body"]).collect()
}
