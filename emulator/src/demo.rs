//! `emulator demo`: shows how the reference component's sailor handles a stored token that has expired.

use crate::{
    config::EmulatorConfig,
    demo_notes::{ACCOUNT, DemoNotes, FIELD},
    platform::Step,
    provider::ProviderConfig,
    run::RunPlan,
    variables::Variables,
};
use serde_json::{Value, json};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(60);

/// The options of the demo.
pub(crate) struct DemoPlan {
    pub(crate) provider: ProviderConfig,
    /// The component's OAuth2 profile for the provider.
    pub(crate) profile: Option<String>,
    /// How many messages are sent at once.
    pub(crate) concurrent: u16,
    pub(crate) replicas: u16,
    pub(crate) command: Vec<String>,
}

/// One step whose stored access token is expired, and messages that each need it for a request.
pub(crate) fn plan(demo: DemoPlan) -> RunPlan {
    let DemoPlan {
        provider,
        profile,
        concurrent,
        replicas,
        command,
    } = demo;
    let messages = (1..=concurrent).map(message).collect();
    let mut config = json!({"_account": ACCOUNT, "baseUrl": "{{PROVIDER_URL}}/api"});
    config[FIELD] = "{{PROVIDER_EXPIRED_TOKENS}}".into();
    let notes = DemoNotes::new(concurrent.into(), replicas.into(), provider.knobs.rotate);
    let emulator = EmulatorConfig {
        provider,
        step: Step {
            function: "makeRequest".into(),
            config,
            ..Step::default()
        },
        prefetch: concurrent.div_ceil(replicas),
        // Otherwise the time line ends with a remark about the flow's end.
        next_step: true,
        ..EmulatorConfig::default()
    };
    RunPlan {
        emulator,
        standin: None,
        messages,
        headers: Default::default(),
        key_file: Default::default(),
        command,
        replicas: replicas.into(),
        record: None,
        shutdown: false,
        notes: Some(notes),
        variables: Variables::of(profile.map(|name| ("OAUTH_PROFILE".to_owned(), name))),
        no_placeholders: false,
        is_webhook: false,
        start_timeout: START_TIMEOUT,
        timeout: TIMEOUT,
    }
}

fn message(n: u16) -> Value {
    json!({"id": format!("message-{n}"), "body": {"method": "POST", "path": "/items", "body": {"name": format!("Item {n}")}}})
}
