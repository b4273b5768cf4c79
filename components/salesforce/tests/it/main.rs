//! The Salesforce component in memory, against the emulator's stand-in.

#[path = "../../lib/component.rs"]
mod component;

use component::component;
use emulator::{
    provider::{Provider, ProviderConfig},
    standins::salesforce::Salesforce,
};
use sailor::{
    Component, Verified,
    testing::{Harness, Verdict},
};
use serde_json::{Value, json};

struct Rig {
    provider: Provider,
    salesforce: Salesforce,
    component: Component,
}

impl Rig {
    async fn new() -> Self {
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        let salesforce = Salesforce::start(&provider).await.unwrap();
        Self { provider, salesforce, component: component().unwrap() }
    }

    fn harness<'a>(&'a self, function: &'a str, fields: Value) -> Harness<'a> {
        let mut tokens = self.provider.issue();
        tokens.insert("instance_url".into(), self.salesforce.url().into());
        let mut config = json!({ "prodEnv": "login", "oauth": tokens });
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Harness::new(&self.component, function)
            .config(config)
            .environment("SALESFORCE_KEY", self.provider.client_id())
            .environment("SALESFORCE_SECRET", self.provider.client_secret())
    }
}

#[test]
fn its_metadata_is_what_its_types_say() {
    let differences = component().unwrap().schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(differences, [""; 0], "mend with: component schema --write");
}

#[tokio::test]
async fn given_records_when_queried_then_they_come_from_the_instance_of_the_token() {
    let rig = Rig::new().await;
    rig.salesforce.insert("Account", json!({ "Name": "O'Hara" }));
    let query = json!({ "query": "SELECT Id, Name FROM Account" });
    let emitted = rig.harness("query", json!({})).run(query).await.unwrap();
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    let data = serde_json::to_string(&emitted.data::<Value>()).unwrap();
    assert!(data.contains("O'Hara"), "{data}");
}

#[tokio::test]
async fn given_credentials_when_checked_then_they_are_good() {
    let rig = Rig::new().await;
    assert_eq!(rig.harness("", json!({})).verify().await.unwrap(), Verified::Yes);
}
