//! A step whose component is connected to the emulator's OAuth2 provider.

use crate::rig::{Rig, Running};
use emulator::{EventKind, platform::Step};
use serde_json::{Map, Value};

/// The flow of the emulated step, unless a configuration says otherwise.
pub const FLOW: &str = "emulated-flow";
/// The account that the step's configuration names in `_account`.
pub const ACCOUNT: &str = "acc";

impl Rig {
    /// The step as the platform has it.
    ///
    /// # Panics
    /// When the flow is not [`FLOW`].
    #[must_use]
    pub fn step(&self) -> Step {
        let step = self.emulator.platform().step(FLOW, "step_1");
        step.expect("the platform has the step")
    }

    /// Sets the tokens of the account.
    pub fn connect(&self, tokens: impl Into<Value>) {
        let keys = Map::from_iter([("oauth".to_owned(), tokens.into())]);
        self.emulator.platform().set_account(ACCOUNT, keys);
    }

    /// The tokens that the platform has stored in the account.
    ///
    /// # Panics
    /// When there is no account.
    #[must_use]
    pub fn stored_tokens(&self) -> Value {
        let account = self.emulator.platform().account(ACCOUNT);
        account.expect("there is an account")["oauth"].clone()
    }

    /// Whether the provider accepts the refresh token that the platform has stored.
    #[must_use]
    pub fn has_spendable_token(&self) -> bool {
        let tokens = self.stored_tokens();
        let refresh_token = tokens["refresh_token"].as_str();
        refresh_token.is_some_and(|token| self.emulator.provider().is_spendable(token))
    }

    /// Makes a one-time call with the step's configuration and these variables. Asserts that no secret is shown. Returns
    /// whether the call succeeded, and the posted data.
    ///
    /// # Panics
    /// When it does not end in time, posts nothing, or shows a secret.
    pub async fn service(&self, method: &str, variables: &[(&str, &str)]) -> (bool, Value) {
        let config = self.step().config;
        let (result, log) = self.call(method, &config, variables).await;
        self.assert_no_secret_in(&log);
        (result.success, result.data)
    }

    /// Stops the component. Asserts that it succeeds, and that no secret is shown. Returns the log.
    ///
    /// # Panics
    /// When it does not end in time, fails, or shows a secret.
    pub async fn stop(&self, component: Running) -> Vec<Value> {
        let (status, log) = component.stop().await;
        assert_eq!(status, 0, "{log:?}");
        self.assert_no_secret_in(&log);
        log
    }

    /// Asserts that neither the log nor an error event has a secret of the provider.
    ///
    /// # Panics
    /// When one has.
    #[track_caller]
    pub fn assert_no_secret_in(&self, log: &[Value]) {
        let secrets = self.emulator.provider().secrets();
        assert!(!secrets.is_empty(), "there are secrets to search for");
        let errors = self.so_far(EventKind::Error);
        let errors = errors.iter().map(|error| error.body["error"].to_string());
        for text in log.iter().map(Value::to_string).chain(errors) {
            let shown = secrets.iter().any(|secret| text.contains(secret.as_str()));
            assert!(!shown, "a secret is shown: {text}");
        }
    }
}
