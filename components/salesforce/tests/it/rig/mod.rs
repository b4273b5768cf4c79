//! An organisation, its provider, and a platform with object storage; the component in memory, and as a process.

pub mod process;

use emulator::{
    platform::{Platform, PlatformConfig},
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::{
    Component,
    testing::{Emitted, Event, Harness, Verdict},
};
use salesforce::component;
use salesforce_standin::Salesforce;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub struct Org {
    pub provider: Provider,
    pub api: Salesforce,
    pub platform: Platform,
    pub component: Arc<Component>,
}

impl Org {
    pub async fn new() -> Self {
        let knobs = Knobs::preset("salesforce").unwrap();
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        Self {
            api: Salesforce::start(&provider).await.unwrap(),
            provider,
            platform: Platform::start(PlatformConfig::default()).await.unwrap(),
            component: component().unwrap().into(),
        }
    }

    pub fn harness<'a>(
        &'a self,
        function: &'a str,
        fields: Value,
        tokens: Map<String, Value>,
    ) -> Harness<'a> {
        let mut config = json!({ "prodEnv": "login", "oauth": tokens });
        config
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        Harness::new(&self.component, function)
            .config(config)
            .environment("SALESFORCE_KEY", self.provider.client_id())
            .environment("SALESFORCE_SECRET", self.provider.client_secret())
            .environment("SALESFORCE_TOKEN_URI", &self.provider.token_url())
            .object_storage(
                &self.platform.url(),
                &PlatformConfig::default().storage_token,
            )
    }

    pub async fn run(&self, function: &str, fields: Value, body: Value) -> Emitted {
        self.harness(function, fields, self.provider.issue())
            .run(body)
            .await
            .unwrap()
    }

    /// The emitted bodies of a function that must not fail.
    pub async fn data(&self, function: &str, fields: Value, body: Value) -> Vec<Value> {
        let emitted = self.run(function, fields, body).await;
        assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
        emitted.data()
    }

    /// The text of the error that the function ends with.
    pub async fn error(&self, function: &str, fields: Value, body: Value) -> String {
        let emitted = self.run(function, fields, body).await;
        let Some(Event::Error(text)) = emitted.events.last() else {
            panic!("no error: {emitted:?}")
        };
        text.clone()
    }

    /// Puts a file into object storage and returns its URL.
    pub fn file(&self, name: &str, bytes: &str) -> String {
        self.platform.set_object(name, bytes.to_owned());
        format!(
            "{}/objects/{name}?storage_type=maester",
            self.platform.url()
        )
    }

    /// The content of an attachment in object storage.
    pub fn stored(&self, attachment: &Value) -> String {
        let url = attachment["url"].as_str().unwrap();
        let id = url
            .rsplit_once("/objects/")
            .unwrap()
            .1
            .split('?')
            .next()
            .unwrap();
        String::from_utf8(self.platform.object(id).unwrap().to_vec()).unwrap()
    }
}

pub fn snapshot_of(emitted: &Emitted) -> Option<Value> {
    let snapshots = emitted.events.iter().rev();
    snapshots.into_iter().find_map(|event| match event {
        Event::Snapshot(state) => Some(state.clone()),
        _ => None,
    })
}
