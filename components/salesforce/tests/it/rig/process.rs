//! The component as a process: with a broker, a platform, object storage, a provider, and the stand-in for Salesforce.

use emulator::{
    EmulatorConfig, Event, EventKind,
    platform::Step,
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::protocol::Headers;
use salesforce_standin::Salesforce;
use serde_json::{Map, Value, json};
use std::{ops::Deref, sync::Arc};
use test_rig::{ACCOUNT, FLOW, Rig, Running};

/// The component on a step of its own, connected to an organisation.
pub struct Deployed {
    rig: Rig,
    pub api: Salesforce,
}

impl Deref for Deployed {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
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
        let rig = Rig::new(env!("CARGO_BIN_EXE_salesforce"), config).await;
        let (platform, provider) = (rig.emulator.platform(), rig.emulator.provider().clone());
        let api = Salesforce::start(&provider).await.unwrap();
        let account = json!({ "prodEnv": "login", "oauth": tokens(&provider) });
        let mut config = json!({ "_account": ACCOUNT });
        for more in [&account, &fields] {
            config
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        }
        platform.set_step(FLOW, Step { config, ..step });
        platform.set_account(ACCOUNT, account.as_object().unwrap().clone());
        let rig = rig
            .variable("SALESFORCE_KEY", provider.client_id())
            .variable("SALESFORCE_SECRET", provider.client_secret())
            .variable("SALESFORCE_TOKEN_URI", provider.token_url())
            .variable("LOG_LEVEL", "trace");
        Self { rig, api }
    }

    pub fn variable(self, name: &'static str, value: impl Into<String>) -> Self {
        let rig = self.rig.variable(name, value);
        Self { rig, ..self }
    }

    pub fn provider(&self) -> &Provider {
        self.emulator.provider()
    }

    pub fn send(&self, body: Value) {
        self.send_message(json!({ "headers": {}, "body": body }));
    }

    pub fn send_message(&self, message: Value) {
        self.emulator.send(&message, &Headers::new());
    }

    /// Waits for `count` events of this kind, and until all messages are settled; returns all events of this kind.
    pub async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        self.rig.events(kind, count).await;
        self.settled().await;
        self.so_far(kind)
    }

    pub fn errors(&self) -> Vec<String> {
        let errors = self.so_far(EventKind::Error);
        errors
            .iter()
            .map(|event| event.body["error"].to_string())
            .collect()
    }

    /// Whether the API accepts the access token that the platform has stored.
    pub fn has_valid_token(&self) -> bool {
        let tokens = self.stored_tokens();
        self.provider()
            .is_valid(tokens["access_token"].as_str().unwrap())
    }

    /// Stops the component. Asserts that its log contains no secret and none of `contents`.
    pub async fn stop(&self, running: Running, contents: &[&str]) {
        let log = self.rig.stop(running).await;
        assert!(log.len() > 2, "the log is read");
        for line in log.iter().map(Value::to_string) {
            let shown = contents.iter().find(|content| line.contains(**content));
            assert_eq!(shown, None, "there are contents in: {line}");
        }
    }

    /// A one-time call, and its result.
    pub async fn service(&self, method: &str, model: Option<&str>) -> (bool, Value) {
        let function = self.step().function;
        let mut variables = vec![("ELASTICIO_ACTION_OR_TRIGGER", function.as_str())];
        variables.extend(model.map(|model| ("ELASTICIO_GET_MODEL_METHOD", model)));
        self.rig.service(method, &variables).await
    }
}
