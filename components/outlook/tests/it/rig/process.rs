//! The component as a process: with a broker, a platform, object storage, a provider, and the stand-in for Graph.

use emulator::{
    EmulatorConfig, EventKind, platform,
    provider::{Knobs, Provider, ProviderConfig},
};
use graph_standin::Graph;
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::ops::Deref;
use test_rig::{ACCOUNT, Rig};

/// A step on the emulator, with a connected account.
pub struct Step {
    rig: Rig,
    pub graph: Graph,
}

impl Deref for Step {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
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
        let rig = Rig::new(env!("CARGO_BIN_EXE_outlook"), config).await;
        let provider = rig.emulator.provider().clone();
        let graph = Graph::start(&provider).await.unwrap();
        rig.connect(tokens(&provider));
        let rig = rig
            .variable("MSAPP_CLIENT_ID", provider.client_id())
            .variable("MSAPP_CLIENT_SECRET", provider.client_secret())
            .variable("MSAPP_TOKEN_URI", provider.token_url())
            .variable("GRAPH_BASE_URL", graph.url())
            .variable("LOG_LEVEL", "trace");
        Self { rig, graph }
    }

    pub fn variable(self, name: &'static str, value: impl Into<String>) -> Self {
        let rig = self.rig.variable(name, value);
        Self { rig, ..self }
    }

    pub fn send(&self, body: Value) {
        self.emulator
            .send(&json!({ "headers": {}, "body": body }), &Headers::new());
    }

    /// The bodies of the events of this kind so far.
    pub fn bodies(&self, kind: EventKind) -> Vec<Value> {
        let events = self.so_far(kind);
        events.iter().map(|event| event.body.clone()).collect()
    }

    /// The bodies of the messages that were emitted so far.
    pub fn data(&self) -> Vec<Value> {
        let events = self.so_far(EventKind::Data);
        test_rig::bodies(&events).into_iter().cloned().collect()
    }

    /// The texts of the errors so far.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.so_far(EventKind::Error);
        errors
            .iter()
            .map(|event| event.body["error"]["message"].as_str().unwrap().to_owned())
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
        self.stop(component).await.into()
    }
}
