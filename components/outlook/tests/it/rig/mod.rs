//! A mailbox behind a provider, and the component's functions on it, in memory and as a process.

pub mod process;

use emulator::{
    platform::{Platform, PlatformConfig},
    provider::{Knobs, Provider, ProviderConfig},
};
use graph_standin::{Fault, Graph};
use outlook::component;
use sailor::{
    Component,
    snapshot::MAX_BYTES,
    testing::{Emitted, Event, Harness},
};
use serde_json::{Value, json};

pub struct Rig {
    pub provider: Provider,
    pub graph: Graph,
    pub platform: Platform,
    component: Component,
}

impl Rig {
    /// With a provider that behaves like Microsoft's.
    pub async fn new() -> Self {
        let knobs = Knobs::preset("microsoft").unwrap();
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        let graph = Graph::start(&provider).await.unwrap();
        let platform = Platform::start(PlatformConfig::default()).await.unwrap();
        Self {
            provider,
            graph,
            platform,
            component: component().unwrap(),
        }
    }

    /// The function with these fields and a valid access token.
    pub fn function(&self, name: &'static str, fields: Value) -> Harness<'_> {
        self.connected(name, fields, json!(self.provider.issue()))
    }

    /// The same with these tokens.
    pub fn connected(&self, name: &'static str, mut fields: Value, tokens: Value) -> Harness<'_> {
        fields["oauth"] = tokens;
        Harness::new(&self.component, name)
            .config(fields)
            .environment("MSAPP_CLIENT_ID", self.provider.client_id())
            .environment("MSAPP_CLIENT_SECRET", self.provider.client_secret())
            .environment("MSAPP_TOKEN_URI", &self.provider.token_url())
            .environment("GRAPH_BASE_URL", &self.graph.url())
            .object_storage(
                &self.platform.url(),
                &PlatformConfig::default().storage_token,
            )
    }

    pub async fn run(&self, name: &'static str, fields: Value, body: Value) -> Emitted {
        self.function(name, fields).run(body).await.unwrap()
    }

    /// Another process: it remembers nothing.
    pub fn restart(&mut self) {
        self.component = component().unwrap();
    }

    /// Polls with the snapshot of the last poll. The next ones must be within the platform's limit.
    pub async fn poll(&self, name: &'static str, fields: Value, since: &mut Value) -> Emitted {
        let emitted = self
            .function(name, fields)
            .snapshot(since.clone())
            .run(json!({}))
            .await
            .unwrap();
        for snapshot in snapshots(&emitted) {
            let size = snapshot.to_string().len();
            assert!(size <= MAX_BYTES, "{size} bytes: {snapshot}");
            *since = snapshot;
        }
        emitted
    }

    /// Runs the function twice: first with an expired access token, then with a 429.
    pub async fn run_after_401_and_after_429(
        &self,
        name: &'static str,
        fields: Value,
        body: Value,
    ) {
        let expired = json!(self.provider.issue_expired());
        let first = self.connected(name, fields.clone(), expired);
        one(&first.run(body.clone()).await.unwrap());
        self.graph.inject_faults(".", [Fault::Throttled(0)]);
        one(&self.run(name, fields, body).await);
        let calls = self.graph.calls_matching(".");
        for status in [401, 429] {
            assert!(calls.iter().any(|call| call.status == Some(status)));
        }
    }
}

/// A file of `samples/`, with the addresses that the emulator fills in.
pub fn sample(file: &str, platform: &Platform) -> Value {
    let path = format!("{}/samples/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text.replace("{{EMULATOR_URL}}", &platform.url())).unwrap()
}

/// The body of a message of `samples/`. Like the emulator, it takes an object without a `body` for one.
pub fn sample_body(file: &str, platform: &Platform) -> Value {
    let message = sample(file, platform);
    message.get("body").cloned().unwrap_or(message)
}

/// The object with these members.
pub fn with(mut object: Value, members: Value) -> Value {
    object
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    object
}

pub fn snapshots(emitted: &Emitted) -> Vec<Value> {
    let snapshots = emitted.events.iter().filter_map(|event| match event {
        Event::Snapshot(snapshot) => Some(snapshot.clone()),
        _ => None,
    });
    snapshots.collect()
}

/// A member of each emitted body.
pub fn each(emitted: &Emitted, member: &str) -> Vec<Value> {
    emitted
        .data::<Value>()
        .into_iter()
        .map(|body| body[member].clone())
        .collect()
}

/// The text of the one error.
#[track_caller]
pub fn error(emitted: &Emitted) -> String {
    match &emitted.events[..] {
        [.., Event::Error(text)] => text.clone(),
        _ => panic!("no error: {emitted:?}"),
    }
}

/// The texts of all errors.
pub fn errors(emitted: &Emitted) -> Vec<String> {
    let errors = emitted.events.iter().filter_map(|event| match event {
        Event::Error(text) => Some(text.clone()),
        _ => None,
    });
    errors.collect()
}

/// The one body.
#[track_caller]
pub fn one(emitted: &Emitted) -> Value {
    let mut bodies = emitted.data::<Value>();
    assert_eq!(bodies.len(), 1, "{emitted:?}");
    bodies.remove(0)
}

/// A contact with its name and the time of its last change.
pub fn contact(name: &str, changed: &str) -> Value {
    let addresses = json!([{ "address": "a@example.com" }]);
    json!({ "displayName": name, "lastModifiedDateTime": changed, "emailAddresses": addresses })
}

/// An unread mail with its subject and the time of its last change.
pub fn mail(subject: &str, changed: &str) -> Value {
    json!({
        "subject": subject, "lastModifiedDateTime": changed, "isRead": false, "hasAttachments": false,
    })
}
