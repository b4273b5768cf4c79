//! The code of docs/components.md that promises more than that it compiles.

mod polling;

use emulator::{
    platform::{Platform, PlatformConfig},
    provider::{PreparedResponse, Provider, ProviderConfig},
};
use sailor::{
    oauth2::OAuth2,
    prelude::*,
    testing::{Event, Harness, Verdict},
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/components.md");
const COMPONENT: &str = r#"{
    "title": "Issues",
    "credentials": {
        "fields": { "oauth": { "label": "Connection", "viewClass": "OAuthFieldView" } },
        "oauth2": { "client_id": "{{ID}}", "client_secret": "{{SECRET}}", "auth_uri": "https://a.example", "token_uri": "{{URI}}" }
    },
    "actions": { "act": { "title": "Act", "main": "./act.rs" } },
    "triggers": { "poll": { "title": "Poll", "main": "./poll.rs", "type": "polling" } }
}"#;

// Blocks of the page, as wide as pages are: rustfmt leaves included files alone.
mod list_issues {
    include!("list_issues.rs");

    pub(super) fn component() -> Component {
        super::component().action("act", list_issues)
    }
}

mod readable {
    include!("readable.rs");

    pub(super) async fn get(
        _: sailor::Message<sailor::NoBody>,
        cx: sailor::Context,
    ) -> anyhow::Result<()> {
        let order = cx.oauth().get("/orders/7").send_json::<serde_json::Value>();
        let order = order.await.map_err(readable)?;
        cx.data(&order).await
    }
}

mod reports {
    include!("reports.rs");

    pub(super) fn sender() -> Component {
        super::component().action("act", send_report)
    }

    pub(super) fn fetcher() -> Component {
        super::component().action("act", fetch_report)
    }
}

fn component() -> Component {
    let component = Component::new(COMPONENT).unwrap();
    component.oauth2(OAuth2::new().base_url("{{BASE}}"))
}

/// A harness with tokens that have just expired: each function refreshes them.
fn harness<'a>(component: &'a Component, function: &'a str, provider: &Provider) -> Harness<'a> {
    Harness::new(component, function)
        .config(json!({ "oauth": provider.issue_expired() }))
        .environment("ID", provider.client_id())
        .environment("SECRET", provider.client_secret())
        .environment("URI", &provider.token_url())
        .environment("BASE", &provider.api_url())
}

async fn provider() -> Provider {
    Provider::start(ProviderConfig::default()).await.unwrap()
}

#[test]
fn the_page_has_the_code_that_is_tested() {
    for (name, code) in [
        ("changed_issues", include_str!("changed_issues.rs")),
        ("list_issues", include_str!("list_issues.rs")),
        ("readable", include_str!("readable.rs")),
        ("reports", include_str!("reports.rs")),
    ] {
        assert!(PAGE.contains(&format!("```rust\n{code}```")), "{name}");
    }
}

#[tokio::test]
async fn the_pages_of_a_link_header_are_emitted() {
    let (provider, component) = (provider().await, list_issues::component());
    let next = format!("<{}/issues?page=2>; rel=\"next\"", provider.api_url());
    let first = PreparedResponse::json(200, &json!([1, 2])).header("link", next);
    provider.respond(r"GET /api/issues\?per_page=100$", [first]);
    let last = PreparedResponse::json(200, &json!([3]));
    provider.respond(r"GET /api/issues\?page=2$", [last]);
    let emitted = harness(&component, "act", &provider).run(json!({})).await;
    assert_eq!(emitted.unwrap().data::<u64>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_file_of_the_message_is_uploaded() {
    let (provider, component) = (provider().await, reports::sender());
    provider.handle("POST /api/uploads$", |call| {
        let form = String::from_utf8_lossy(&call.body);
        let has_file = form.contains("filename=\"report.pdf\"") && form.contains("%PDF");
        PreparedResponse::json(201, &json!({ "file": has_file }))
    });
    let storage = Platform::start(PlatformConfig::default()).await.unwrap();
    let emitted = harness(&component, "act", &provider)
        .object_storage(&storage.url(), "emulator-storage-token")
        .attachment("report.pdf", storage.store("%PDF", "application/pdf"))
        .run(json!({}));
    let emitted = emitted.await.unwrap();
    assert_eq!(emitted.data::<Value>(), [json!({ "file": true })]);
    assert_eq!(provider.refreshes(), 1, "the form was sent twice");
}

#[tokio::test]
async fn a_file_of_the_api_is_emitted() {
    let (provider, component) = (provider().await, reports::fetcher());
    provider.respond("GET /api/reports/7$", [PreparedResponse::ok("%PDF")]);
    let storage = Platform::start(PlatformConfig::default()).await.unwrap();
    let harness = harness(&component, "act", &provider);
    let harness = harness.object_storage(&storage.url(), "emulator-storage-token");
    let emitted = harness.run(json!({})).await.unwrap();
    assert_eq!(
        storage.file(&emitted.attachment("report.pdf")).unwrap(),
        "%PDF"
    );
}

#[tokio::test]
async fn the_text_of_the_api_begins_the_error() {
    let (provider, component) = (provider().await, component().action("act", readable::get));
    let refusal = PreparedResponse::json(422, &json!({ "message": "no stock" }));
    provider.respond("GET /api/orders/7$", [refusal]);
    let refused = harness(&component, "act", &provider).run(json!({}));
    let refused = refused.await.unwrap();
    assert_eq!(refused.verdict, Verdict::Rejected);
    assert_eq!(refused.error.unwrap().to_string(), "the API says: no stock");
}

#[tokio::test]
async fn a_readable_error_still_rebounds() {
    let (provider, component) = (provider().await, component().action("act", readable::get));
    let busy = PreparedResponse::json(429, &json!({ "message": "too fast" }))
        .header("retry-after", "3600");
    provider.respond("GET /api/orders/7$", [busy]);
    let emitted = harness(&component, "act", &provider)
        .run(json!({}))
        .await
        .unwrap();
    let Some(Event::Rebound(reason)) = emitted.events.last() else {
        panic!("{emitted:?}")
    };
    assert!(reason.starts_with("the API says: too fast"), "{reason}");
}
