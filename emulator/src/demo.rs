//! `emulator demo`: what a sailor does when the token that is stored is expired, on the reference component.

use crate::{
    config::EmulatorConfig,
    platform::Step,
    provider::ProviderConfig,
    run::Plan,
    story::{ACCOUNT, FIELD, Story},
};
use serde_json::{Value, json};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(60);

/// One step whose stored access token is expired, and `concurrent` messages that each want to ask the API something.
/// `profile` is how the component shall take the provider.
pub(crate) fn plan(
    provider: ProviderConfig,
    profile: Option<String>,
    concurrent: u16,
    replicas: u16,
    command: Vec<String>,
) -> Plan {
    let messages = (1..=concurrent).map(message).collect();
    let mut config = json!({"_account": ACCOUNT, "baseUrl": "{{PROVIDER_URL}}/api"});
    config[FIELD] = "{{PROVIDER_EXPIRED_TOKENS}}".into();
    let story = Story::new(concurrent.into(), replicas.into(), provider.knobs.rotate);
    let emulator = EmulatorConfig {
        provider,
        step: Step {
            function: "makeRequest".into(),
            config,
            ..Step::default()
        },
        prefetch: concurrent.div_ceil(replicas),
        // What comes after it is no part of the story.
        next_step: true,
        ..EmulatorConfig::default()
    };
    // Only replicas need to lock each other out.
    let lock = (replicas > 1).then(|| ("ELASTICIO_OAUTH_LOCK".to_owned(), "broker".to_owned()));
    Plan {
        emulator,
        standin: None,
        messages,
        headers: Default::default(),
        keeper: Default::default(),
        command,
        replicas: replicas.into(),
        story: Some(story),
        env: lock
            .into_iter()
            .chain(profile.map(|name| ("OAUTH_PROFILE".to_owned(), name)))
            .collect(),
        start_timeout: START_TIMEOUT,
        timeout: TIMEOUT,
    }
}

fn message(n: u16) -> Value {
    json!({"id": format!("message-{n}"), "body": {"method": "POST", "path": "/items", "body": {"name": format!("Item {n}")}}})
}
