//! The reference component in memory, against the emulator's sample API.

use crate::component::component;
use emulator::platform::{Platform, PlatformConfig};
use sailor::{
    Verified,
    testing::{Emitted, Event, Harness, Verdict},
};
use serde_json::{Value, json};

async fn sample_api() -> Platform {
    Platform::start(PlatformConfig::default()).await.unwrap()
}

fn credentials(api: &Platform) -> Value {
    json!({ "baseUrl": format!("{}/sample/", api.url()), "oauth": { "access_token": "t" }, "verifyPath": "/me" })
}

/// The environment of a container of this component.
fn deployed(harness: Harness<'_>) -> Harness<'_> {
    harness
        .environment("OAUTH_CLIENT_ID", "client")
        .environment("OAUTH_CLIENT_SECRET", "secret")
        .environment("OAUTH_AUTH_URI", "http://127.0.0.1:1/authorize")
        .environment("OAUTH_TOKEN_URI", "http://127.0.0.1:1/token")
}

async fn request(api: &Platform, body: Value) -> Emitted {
    let component = component().unwrap();
    deployed(Harness::new(&component, "makeRequest")).config(credentials(api)).run(body).await.unwrap()
}

#[test]
fn its_metadata_is_what_its_types_say() {
    let differences = component().unwrap().schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(differences, [""; 0], "mend with: cargo run -- schema --write");
}

#[tokio::test]
async fn a_request_emits_the_answer() {
    let api = sample_api().await;
    let emitted = request(&api, json!({ "path": "/items", "query": { "limit": "2" } })).await;
    let answer: Value = emitted.data().remove(0);
    assert_eq!((&answer["status"], answer["body"]["items"].as_array().unwrap().len()), (&json!(200), 2));
    let created = request(&api, json!({ "method": "post", "path": "items", "body": { "name": "New" } })).await;
    assert_eq!(created.data::<Value>()[0]["status"], json!(201));
}

#[tokio::test]
async fn an_error_status_is_an_error_and_one_that_passes_is_a_rebound() {
    let api = sample_api().await;
    let missing = request(&api, json!({ "path": "/items/none" })).await;
    assert_eq!(missing.verdict, Verdict::Rejected);
    let statuses = [429, 500, 503];
    let later = statuses.map(|status| request(&api, json!({ "path": format!("/status/{status}") })));
    for (status, later) in statuses.into_iter().zip(futures_util::future::join_all(later).await) {
        assert!(
            matches!(&later.events[..], [Event::Rebound(reason)] if reason.contains(&status.to_string())),
            "{later:?}"
        );
    }
}

#[tokio::test]
async fn the_token_goes_to_no_other_host() {
    let api = sample_api().await;
    let elsewhere = request(&api, json!({ "path": "https://example.com/" })).await;
    assert!(matches!(&elsewhere.events[..], [Event::Error(text)] if text.contains("no origin")), "{elsewhere:?}");
    assert!(api.calls().is_empty());
    // Not another host, but a path of this one.
    let below = request(&api, json!({ "path": "//example.com/" })).await;
    assert!(matches!(&below.events[..], [Event::Error(text)] if text.contains("/sample/example.com/")), "{below:?}");
}

#[tokio::test]
async fn what_may_have_changed_something_is_not_sent_twice_and_what_cannot_be_sent_is_an_error() {
    let api = sample_api().await;
    let post = request(&api, json!({ "method": "POST", "path": "/status/500" })).await;
    assert_eq!(post.verdict, Verdict::Rejected);
    let broken = request(&api, json!({ "path": "/items", "headers": { "x": "a\nb" } })).await;
    assert_eq!(broken.verdict, Verdict::Rejected);
}

#[tokio::test]
async fn polling_emits_each_item_once() {
    let api = sample_api().await;
    let component = component().unwrap();
    let mut config = credentials(&api);
    for (name, value) in [("path", "/items"), ("itemsPointer", "/items"), ("sinceParameter", "updated_since")] {
        config[name] = value.into();
    }
    let (mut snapshot, mut seen) = (json!({}), Vec::new());
    loop {
        let poll = deployed(Harness::new(&component, "pollItems")).config(config.clone()).snapshot(snapshot);
        let emitted = poll.run(json!({})).await.unwrap();
        let Some(Event::Snapshot(next)) = emitted.events.last() else { panic!("{emitted:?}") };
        snapshot = next.clone();
        let items = emitted.data::<Value>();
        if items.is_empty() {
            break;
        }
        seen.extend(items.into_iter().map(|item| item["id"].clone()));
    }
    assert_eq!(seen, (1..=25).map(|n| json!(format!("item-{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn credentials_are_checked_with_a_request() {
    let api = sample_api().await;
    let component = component().unwrap();
    let verify = |token: &str| {
        let mut credentials = credentials(&api);
        credentials["oauth"]["access_token"] = token.into();
        deployed(Harness::new(&component, "")).config(credentials).verify()
    };
    assert_eq!(verify("t").await.unwrap(), Verified::Yes);
    assert!(matches!(verify("expired").await.unwrap(), Verified::No(reason) if reason.contains("refresh token")));
}
