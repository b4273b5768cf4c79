//! Tests of the functions, with an OAuth2 provider and its API on loopback. They need no network.

use crate::component;
use emulator::provider::{Fault, Provider, ProviderConfig};
use sailor::{
    Verified,
    testing::{Event, Harness, Verdict},
};
use serde_json::{Value, json};

/// A harness whose credentials belong to the provider.
fn harness<'a>(
    component: &'a sailor::Component,
    function: &'a str,
    provider: &Provider,
    tokens: Value,
    fields: Value,
) -> Harness<'a> {
    let mut config = json!({ "baseUrl": provider.api_url(), "oauth": tokens });
    for (name, value) in fields.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    Harness::new(component, function)
        .config(config)
        .environment("API_CLIENT_ID", provider.client_id())
        .environment("API_CLIENT_SECRET", provider.client_secret())
        .environment("API_AUTH_URI", &provider.authorize_url())
        .environment("API_TOKEN_URI", &provider.token_url())
}

async fn provider() -> Provider {
    Provider::start(ProviderConfig::default()).await.unwrap()
}

#[tokio::test]
async fn an_item_is_created_below_its_parent() {
    let (provider, component) = (provider().await, component().unwrap());
    let (tokens, fields) = (json!(provider.issue()), json!({ "parent": "item-1" }));
    let harness = harness(&component, "createItem", &provider, tokens, fields);
    let emitted = harness.run(json!({ "name": "Bolt" })).await.unwrap();
    let item = json!({ "id": "item-4", "name": "Bolt", "parent": "item-1" });
    assert_eq!(emitted.data::<Value>(), [item], "{:?}", emitted.error);
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
}

#[tokio::test]
async fn an_expired_token_is_refreshed_once() {
    let (provider, component) = (provider().await, component().unwrap());
    let tokens = json!(provider.issue_expired());
    let harness = harness(&component, "createItem", &provider, tokens, json!({}));
    let emitted = harness.run(json!({ "name": "Bolt" })).await.unwrap();
    assert_eq!(emitted.data::<Value>().len(), 1, "{:?}", emitted.error);
    assert_eq!(provider.refreshes(), 1);
}

#[tokio::test]
async fn an_item_that_the_api_refuses_is_rejected() {
    let (provider, component) = (provider().await, component().unwrap());
    provider.script_api([Fault::Status(422)]);
    let tokens = json!(provider.issue());
    let harness = harness(&component, "createItem", &provider, tokens, json!({}));
    let emitted = harness.run(json!({ "name": "Bolt" })).await.unwrap();
    assert_eq!(emitted.verdict, Verdict::Rejected);
    assert!(emitted.error.unwrap().to_string().contains("422"));
}

#[tokio::test]
async fn each_record_is_emitted_once() {
    let (provider, component) = (provider().await, component().unwrap());
    let poll = async |snapshot: Value| {
        let tokens = json!(provider.issue());
        let harness = harness(&component, "pollRecords", &provider, tokens, json!({}));
        harness.snapshot(snapshot).run(json!({})).await.unwrap()
    };

    let first = poll(json!({})).await;
    assert_eq!(first.data::<Value>().len(), 5, "{:?}", first.error);
    let Some(Event::Snapshot(snapshot)) = first.events.last() else {
        panic!("the last event is no snapshot");
    };

    let same_instant = json!({ "id": 6, "name": "Nut", "updated_at": "2026-01-31T11:00:00Z" });
    let last = json!({ "id": 5, "name": "Record 5", "updated_at": "2026-01-31T11:00:00Z" });
    provider.set_records([last.clone(), same_instant.clone()]);
    let second = poll(snapshot.clone()).await;
    assert_eq!(second.data::<Value>(), [same_instant]);
    let Some(Event::Snapshot(snapshot)) = second.events.last() else {
        panic!("the last event is no snapshot");
    };

    let renamed = json!({ "id": 6, "name": "Wing nut", "updated_at": "2026-01-31T11:00:00Z" });
    provider.set_records([last, renamed.clone()]);
    let third = poll(snapshot.clone()).await;
    assert_eq!(third.data::<Value>(), [renamed]);
}

#[tokio::test]
async fn only_valid_credentials_are_verified() {
    let (provider, component) = (provider().await, component().unwrap());
    let verify = async |tokens: Value| {
        let harness = harness(&component, "", &provider, tokens, json!({}));
        harness.verify().await.unwrap()
    };
    assert_eq!(verify(json!(provider.issue())).await, Verified::Yes);
    let revoked = json!(provider.issue());
    provider.revoke_all();
    assert!(matches!(verify(revoked).await, Verified::No(_)));
}

#[tokio::test]
async fn the_items_can_be_chosen() {
    let (provider, component) = (provider().await, component().unwrap());
    let tokens = json!(provider.issue());
    let harness = harness(&component, "createItem", &provider, tokens, json!({}));
    let choices = harness.select_model("getItems").await.unwrap();
    assert_eq!(choices["item-1"], "Item 1");
}
