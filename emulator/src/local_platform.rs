//! The local platform of the command line: the emulator, and a stand-in for the API that the component uses.

use crate::{
    config::EmulatorConfig,
    emulator::Emulator,
    input::InputError,
    placeholders::Placeholders,
    provider::{Provider, Trouble},
    standins::{RunningStandin, StandinName},
};
use anyhow::Context;
use serde_json::Value;

pub(crate) struct LocalPlatform {
    pub(crate) emulator: Emulator,
    standin: Option<RunningStandin>,
    /// Whether `{{…}}` in files is left as it is.
    no_placeholders: bool,
}

/// The variables that every component gets besides the platform's.
const OWN_VARIABLES: [&str; 6] = [
    "EMULATOR_URL",
    "PROVIDER_URL",
    "OAUTH_CLIENT_ID",
    "OAUTH_CLIENT_SECRET",
    "OAUTH_AUTH_URI",
    "OAUTH_TOKEN_URI",
];

impl LocalPlatform {
    /// Starts everything, and fills the addresses into the step.
    pub(crate) async fn start(
        config: EmulatorConfig,
        standin: Option<StandinName>,
        no_placeholders: bool,
    ) -> anyhow::Result<Self> {
        let (flow, mut step) = (config.flow.clone(), config.step.clone());
        let trouble = config.provider.trouble.clone();
        let emulator = Emulator::start(config).await?;
        let standin = start_standin(standin, emulator.provider(), trouble).await?;
        let local = Self {
            emulator,
            standin,
            no_placeholders,
        };
        local.fill_in("the configuration file", &mut step.config)?;
        local.fill_in("the snapshot file", &mut step.snapshot)?;
        local.emulator.platform().set_step(&flow, step);
        Ok(local)
    }

    /// Fills addresses and tokens into a value from a file. `what` is the value, for errors.
    pub(crate) fn fill_in(&self, what: &str, value: &mut Value) -> Result<(), InputError> {
        self.placeholders().fill_in(what, value)
    }

    pub(crate) fn placeholders(&self) -> Placeholders<'_> {
        Placeholders {
            platform: self.emulator.platform(),
            provider: self.emulator.provider(),
            standin: self.standin.as_ref(),
            off: self.no_placeholders,
        }
    }

    /// The addresses.
    pub(crate) fn banner(&self) -> String {
        let emulator = &self.emulator;
        let (broker, platform) = (emulator.broker().addr(), emulator.platform().url());
        let standin = self
            .standin
            .as_ref()
            .map(|standin| format!(", {} at {}", standin.title(), standin.url()));
        format!(
            "emulator: broker at {broker}, platform at {platform}, OAuth2 provider at {}{}, state in memory only",
            emulator.provider().url(),
            standin.unwrap_or_default()
        )
    }

    /// The addresses of the platform, the provider and the stand-in.
    pub(crate) fn urls(&self) -> [Option<String>; 3] {
        let standin = self.standin.as_ref().map(RunningStandin::url);
        let emulator = &self.emulator;
        [
            Some(emulator.platform().url()),
            Some(emulator.provider().url()),
            standin,
        ]
    }

    /// The variables that the platform sets, and the addresses for samples.
    pub(crate) fn component_env(&self) -> Vec<(String, String)> {
        let mut env = self.emulator.env();
        env.push(("EMULATOR_URL".into(), self.emulator.platform().url()));
        env.extend(provider_env(
            self.emulator.provider(),
            self.standin.as_ref(),
        ));
        env
    }

    pub(crate) async fn shutdown(&self) {
        self.emulator.shutdown().await;
        if let Some(standin) = &self.standin {
            standin.shutdown().await;
        }
    }
}

/// Starts a stand-in with sample data, whose responses have this trouble.
pub(crate) async fn start_standin(
    standin: Option<StandinName>,
    provider: &Provider,
    trouble: Trouble,
) -> anyhow::Result<Option<RunningStandin>> {
    let Some(name) = standin else { return Ok(None) };
    let running = name
        .start(provider)
        .await
        .context("the stand-in cannot listen on 127.0.0.1")?;
    running.set_trouble(trouble);
    Ok(Some(running))
}

/// The names of the variables that the component gets besides the platform's.
pub(crate) fn given_variables(standin: Option<StandinName>) -> Vec<&'static str> {
    let of_standin = standin.map(StandinName::variables).unwrap_or_default();
    [&OWN_VARIABLES, of_standin].concat()
}

/// The provider's address, and the variables from which the reference component's component.json reads a provider; with
/// a stand-in, its variables too.
pub(crate) fn provider_env(
    provider: &Provider,
    standin: Option<&RunningStandin>,
) -> Vec<(String, String)> {
    let mut env = vec![
        ("PROVIDER_URL".into(), provider.url()),
        ("OAUTH_CLIENT_ID".into(), provider.client_id().into()),
        (
            "OAUTH_CLIENT_SECRET".into(),
            provider.client_secret().into(),
        ),
        ("OAUTH_AUTH_URI".into(), provider.authorize_url()),
        ("OAUTH_TOKEN_URI".into(), provider.token_url()),
    ];
    env.extend(
        standin
            .map(|standin| standin.env(provider))
            .unwrap_or_default(),
    );
    env
}
