//! The reference component as a process: broker, platform, object storage, OAuth2 provider and API.

mod doctor;
mod files;
mod monitoring;
mod one_time_calls;
mod polling;
mod refreshing;
mod saving;
mod secrets;
mod traces;
mod variables;
mod webhooks;

use emulator::{
    EmulatorConfig, Event, EventKind,
    platform::{Platform, Step},
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::protocol::Headers;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use test_rig::{ACCOUNT, FLOW, Rig, soon};

/// A function that issues the first stored tokens, such as `Provider::issue_expired`.
type Issue = fn(&Provider) -> Map<String, Value>;

/// The reference component on a step of its own, with an account at the emulator's provider.
struct Connected {
    rig: Rig,
}

/// The action `makeRequest`, with a provider that behaves as the knobs say.
async fn connected(knobs: Knobs, issue: Issue) -> Connected {
    let config = EmulatorConfig {
        prefetch: 20,
        ..EmulatorConfig::default()
    };
    connected_with(knobs, issue, config).await
}

/// Like [`connected`], on this step.
async fn connected_with(knobs: Knobs, issue: Issue, config: EmulatorConfig) -> Connected {
    let provider = ProviderConfig {
        knobs,
        ..ProviderConfig::default()
    };
    let config = EmulatorConfig { provider, ..config };
    let fields = json!({ "verifyPath": "/me" });
    let connected = Connected::start("makeRequest", issue, fields, config).await;
    // What other crates log below `warn` would show tokens.
    connected.variable(
        "LOG_LEVEL",
        "trace,hyper=trace,h2=trace,hyper_util=trace,reqwest=trace,rustls=trace,lapin=trace",
    )
}

impl Connected {
    /// A function of the component, with these fields.
    async fn start(function: &str, issue: Issue, fields: Value, config: EmulatorConfig) -> Self {
        let config = EmulatorConfig {
            next_step: true,
            ..config
        };
        let rig = Rig::new(env!("CARGO_BIN_EXE_component"), config).await;
        let (platform, provider) = (rig.emulator.platform(), rig.emulator.provider());
        rig.connect(issue(provider));
        let mut step = Step {
            function: function.into(),
            config: json!({ "_account": ACCOUNT, "baseUrl": provider.api_url() }),
            consumes_raw_data: true,
            ..Step::default()
        };
        for (name, value) in fields.as_object().unwrap() {
            step.config[name] = value.clone();
        }
        platform.set_step(FLOW, step);
        let (id, secret) = (
            provider.client_id().to_owned(),
            provider.client_secret().to_owned(),
        );
        let (authorize, token) = (provider.authorize_url(), provider.token_url());
        Self { rig }
            .variable("ELASTICIO_FUNCTION", function)
            .variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1")
            .variable("OAUTH_CLIENT_ID", id)
            .variable("OAUTH_CLIENT_SECRET", secret)
            .variable("OAUTH_AUTH_URI", authorize)
            .variable("OAUTH_TOKEN_URI", token)
    }

    fn variable(self, name: &'static str, value: impl Into<String>) -> Self {
        Self {
            rig: self.rig.variable(name, value),
        }
    }

    fn platform(&self) -> &Platform {
        self.rig.emulator.platform()
    }

    fn provider(&self) -> &Provider {
        self.rig.emulator.provider()
    }

    /// Sends a message that has `makeRequest` post to this path.
    fn send(&self, path: &str) {
        let body = json!({ "method": "POST", "path": path, "body": { "name": "Ada" } });
        self.send_message(json!({ "headers": {}, "body": body }));
    }

    fn send_message(&self, message: Value) {
        self.rig.emulator.send(&message, &Headers::new());
    }

    /// Sets a field of the step's configuration.
    fn set_field(&self, name: &str, value: &str) {
        let mut step = self.rig.step();
        step.config[name] = value.into();
        self.platform().set_step(FLOW, step);
    }

    fn snapshot(&self) -> Value {
        self.rig.step().snapshot
    }

    fn count(&self, kind: EventKind) -> usize {
        self.rig.so_far(kind).len()
    }

    fn acked_and_rejected(&self) -> (usize, usize) {
        (
            self.count(EventKind::Acked),
            self.count(EventKind::Rejected),
        )
    }
}
