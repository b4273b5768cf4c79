//! The reference component: its functions in memory against the emulator's provider and its API, and its binary with a
//! broker and a platform.

mod bodies;
mod changing_lists;
mod check;
mod cli;
mod configuration;
mod field_inputs;
mod handshakes;
mod limits;
mod login;
mod paging;
mod polling;
mod process;
mod promise;
mod requests;
mod responses;
mod samples;
mod snapshots;
mod too_large;
mod unreadable;
mod verify;
mod webhooks;

use emulator::{
    platform::{Platform, PlatformConfig},
    provider::{Fault, Knobs, Provider, ProviderConfig},
};
use reference_component::component;
use sailor::{
    Component,
    snapshot::{Fingerprint, Fingerprints, MAX_BYTES},
    testing::{Emitted, Event, Harness},
};
use serde_json::{Map, Value, json};

/// The repository: component.json and the samples are there.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The API and its provider, an account, object storage, and the component.
struct Rig {
    provider: Provider,
    platform: Platform,
    tokens: Map<String, Value>,
    component: Component,
}

impl Rig {
    async fn new() -> Self {
        Self::with(Knobs::default(), Provider::issue).await
    }

    /// The stored access token is expired, and the refresh token is valid once.
    async fn expired() -> Self {
        Self::with(Knobs::rotating(), Provider::issue_expired).await
    }

    async fn with(knobs: Knobs, tokens: impl FnOnce(&Provider) -> Map<String, Value>) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        let platform = Platform::start(PlatformConfig::default()).await.unwrap();
        Self {
            tokens: tokens(&provider),
            provider,
            platform,
            component: component().unwrap(),
        }
    }

    /// The function with these fields, in the environment of a container.
    fn harness<'a>(&'a self, function: &'a str, fields: Value) -> Harness<'a> {
        let mut config =
            json!({ "_account": "acc", "baseUrl": self.provider.api_url(), "oauth": self.tokens });
        config
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        Harness::new(&self.component, function)
            .config(config)
            .object_storage(&self.platform.url(), "emulator-storage-token")
            .environment("OAUTH_CLIENT_ID", self.provider.client_id())
            .environment("OAUTH_CLIENT_SECRET", self.provider.client_secret())
            .environment("OAUTH_AUTH_URI", &self.provider.authorize_url())
            .environment("OAUTH_TOKEN_URI", &self.provider.token_url())
    }

    /// Makes a request with these fields of the step.
    async fn request(&self, fields: Value, body: Value) -> Emitted {
        self.harness("makeRequest", fields).run(body).await.unwrap()
    }

    /// Polls with these fields of the step and this snapshot. The next ones must be within the platform's limit.
    async fn poll(&self, fields: Value, snapshot: Value) -> Emitted {
        let harness = self.harness("pollItems", fields).snapshot(snapshot);
        let emitted = harness.run(json!({})).await.unwrap();
        for event in &emitted.events {
            if let Event::Snapshot(snapshot) = event {
                let size = snapshot.to_string().len();
                assert!(size <= MAX_BYTES, "{size} bytes: {snapshot}");
            }
        }
        emitted
    }

    /// The statuses of the API's responses.
    fn statuses(&self) -> Vec<u16> {
        self.provider
            .api_calls()
            .iter()
            .filter_map(|call| call.status)
            .collect()
    }

    /// Asserts that the access token was refreshed and saved once, and the refused request repeated unchanged.
    #[track_caller]
    fn assert_refreshed_once(&self, emitted: &Emitted) {
        let calls = self.provider.api_calls();
        let statuses = self.statuses();
        assert_eq!(
            (self.provider.refreshes(), statuses[0]),
            (1, 401),
            "{statuses:?}"
        );
        assert!(
            statuses[1..].iter().all(|status| *status < 300),
            "{statuses:?}"
        );
        assert_eq!(
            (&calls[0].path, &calls[0].query, &calls[0].body),
            (&calls[1].path, &calls[1].query, &calls[1].body)
        );
        let saved = emitted.events.iter().filter_map(|event| match event {
            Event::UpdateKeys(keys) => keys["oauth"]["refresh_token"].as_str(),
            _ => None,
        });
        let saved: Vec<_> = saved.collect();
        assert!(
            matches!(saved[..], [token] if self.provider.is_spendable(token)),
            "it is saved once"
        );
    }

    /// The API is busy for one request.
    fn busy_once(&self) {
        self.provider.script_api([Fault::retry_after(429, "0")]);
    }

    /// The API is busy for longer than a request is retried.
    fn busy_for_long(&self) {
        self.provider
            .script_api((0..10).map(|_| Fault::retry_after(429, "3600")));
    }
}

/// The text of the one error.
#[track_caller]
fn error_text(emitted: &Emitted) -> &str {
    match &emitted.events[..] {
        [Event::Error(text)] => text,
        events => panic!("not one error: {events:?}"),
    }
}

/// The reason of the one rebound.
#[track_caller]
fn rebound(emitted: &Emitted) -> &str {
    match &emitted.events[..] {
        [Event::Rebound(reason)] => reason,
        events => panic!("not one rebound: {events:?}"),
    }
}

#[track_caller]
fn snapshot(emitted: &Emitted) -> Value {
    let snapshots = emitted.events.iter().rev().find_map(|event| match event {
        Event::Snapshot(snapshot) => Some(snapshot.clone()),
        _ => None,
    });
    snapshots.unwrap_or_else(|| panic!("no snapshot: {emitted:?}"))
}

#[test]
fn its_metadata_matches_its_types() {
    let differences = component().unwrap().schema_differences(ROOT.as_ref());
    assert_eq!(
        differences, [""; 0],
        "mend with: cargo run -- schema --write"
    );
}

/// The ids of the emitted items.
fn ids(emitted: &Emitted) -> Vec<u64> {
    emitted
        .data::<Value>()
        .iter()
        .map(|item| item["id"].as_u64().unwrap())
        .collect()
}

/// Ids as a snapshot has them.
fn seen(ids: impl IntoIterator<Item = u64>) -> Value {
    let fingerprint = |id: u64| Fingerprint::of(&id.to_string());
    let seen: Fingerprints = ids.into_iter().map(fingerprint).collect();
    json!(seen)
}
