//! The Outlook component in memory, against the emulator's stand-in for Microsoft Graph.

#[path = "../lib/component.rs"]
mod component;

use component::component;
use emulator::{
    provider::{Knobs, Provider, ProviderConfig},
    standins::graph::Graph,
};
use sailor::{
    Component, Verified,
    testing::{Harness, Verdict},
};
use serde_json::{Value, json};

struct Rig {
    provider: Provider,
    graph: Graph,
    component: Component,
}

impl Rig {
    async fn new() -> Self {
        let scope = "openid offline_access User.Read Contacts.Read Calendars.ReadWrite Mail.ReadWrite Mail.Send";
        let knobs = Knobs { scope: scope.to_owned(), ..Knobs::rotating() };
        let config = ProviderConfig { knobs, ..ProviderConfig::default() };
        let provider = Provider::start(config).await.unwrap();
        let graph = Graph::start(&provider).await.unwrap();
        Self { provider, graph, component: component().unwrap() }
    }

    /// A function whose stored token has expired.
    fn harness<'a>(&'a self, function: &'a str) -> Harness<'a> {
        Harness::new(&self.component, function)
            .config(json!({ "oauth": self.provider.issue_expired() }))
            .environment("MSAPP_CLIENT_ID", self.provider.client_id())
            .environment("MSAPP_CLIENT_SECRET", self.provider.client_secret())
            .environment("MSAPP_TOKEN_URI", &self.provider.token_url())
            .environment("GRAPH_BASE_URL", &self.graph.url())
    }
}

#[test]
fn its_metadata_is_what_its_types_say() {
    let differences = component().unwrap().schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(differences, [""; 0], "mend with: component schema --write");
}

#[tokio::test]
async fn given_an_expired_token_when_contacts_are_polled_then_one_refresh_and_each_contact_comes() {
    let rig = Rig::new().await;
    for name in ["Ada", "Grace"] {
        rig.graph.add_contact(json!({ "displayName": name }));
    }
    let emitted = rig.harness("getContacts").run(json!({})).await.unwrap();
    let names: Vec<Value> = emitted.data::<Value>().iter().map(|contact| contact["displayName"].clone()).collect();
    assert_eq!(names, ["Ada", "Grace"], "{emitted:?}");
    assert_eq!(rig.provider.refreshes(), 1);
}

#[tokio::test]
async fn given_a_mail_that_is_not_to_be_kept_when_it_is_sent_then_graph_is_told_so() {
    let rig = Rig::new().await;
    let mail = json!({
        "subject": "Hello",
        "toRecipients": [{ "emailAddress": { "address": "ada@example.com" } }],
        "body": { "content": "Hi" },
        "saveToSentItems": false,
    });
    let emitted = rig.harness("sendMail").run(mail).await.unwrap();
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    assert_eq!(rig.graph.sent().len(), 1);
    let calls = rig.graph.calls("POST .*sendMail");
    let told = serde_json::to_value(&calls.last().unwrap().body).unwrap();
    assert!(told.to_string().contains("saveToSentItems"), "{told}");
}

#[tokio::test]
async fn given_credentials_when_checked_then_an_expired_token_is_refreshed_and_a_revoked_one_is_no_longer_good() {
    let rig = Rig::new().await;
    assert_eq!(rig.harness("").verify().await.unwrap(), Verified::Yes);
    let revoked = rig.harness("");
    rig.provider.revoke_all();
    assert!(matches!(revoked.verify().await.unwrap(), Verified::No(_)));
}
