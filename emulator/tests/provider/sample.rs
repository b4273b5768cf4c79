//! The sample API: records in every way of paging, subscriptions, any status; and invalid requests.

use crate::{client, provider, text};
use emulator::provider::{Knobs, Provider, Trouble};
use reqwest::Method;
use serde_json::{Value, json};

/// Status, the `Link` header, and the body of a call.
async fn call(
    provider: &Provider,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, String, Value) {
    let record = provider.issue();
    let request = client().request(method, format!("{}{path}", provider.api_url()));
    let response = request
        .bearer_auth(text(&record, "access_token"))
        .json(&body)
        .send()
        .await
        .unwrap();
    let link = response
        .headers()
        .get("link")
        .map(|link| link.to_str().unwrap().to_owned());
    (
        response.status().as_u16(),
        link.unwrap_or_default(),
        response.json().await.unwrap_or_default(),
    )
}

async fn get(provider: &Provider, path: &str) -> (u16, String, Value) {
    call(provider, Method::GET, path, Value::Null).await
}

#[tokio::test]
async fn each_paging_style_links_the_next_page() {
    let provider = provider(Knobs::default()).await;
    for (path, ids, next, link) in [
        ("/records", json!([1, 2, 3, 4, 5]), Value::Null, ""),
        (
            "/records?updated_since=2026-01-31T09:00:00Z",
            json!([4, 5]),
            Value::Null,
            "",
        ),
        (
            "/records?updated_from=2026-01-31T10:00:00Z",
            json!([4, 5]),
            Value::Null,
            "",
        ),
        ("/records/pages?page=2", json!([3, 4]), Value::Null, ""),
        ("/records/pages?page=9", json!([]), Value::Null, ""),
        (
            "/records/offsets?offset=4&limit=3",
            json!([5]),
            Value::Null,
            "",
        ),
        ("/records/cursors?limit=3", json!([1, 2, 3]), json!("3"), ""),
        ("/records/cursors?cursor=3", json!([4, 5]), Value::Null, ""),
        (
            "/records/links?limit=4",
            json!([1, 2, 3, 4]),
            json!("/api/records/links?limit=4&at=4"),
            "",
        ),
        (
            "/records/headers?at=2",
            json!([3, 4]),
            Value::Null,
            "</api/records/headers>; rel=\"first\", </api/records/headers?at=4>; rel=\"next\"",
        ),
    ] {
        let (status, found, body) = get(&provider, path).await;
        let listed: Value = body["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["id"].clone())
            .collect();
        let named = body
            .get("next")
            .or(body.get("next_cursor"))
            .cloned()
            .unwrap_or_default();
        assert_eq!(
            (status, listed, named, &*found),
            (200, ids, next, link),
            "{path}"
        );
    }
    provider.set_records([json!({"id": "a"})]);
    assert_eq!(
        get(&provider, "/records").await.2,
        json!({"records": [{"id": "a"}]})
    );
}

#[tokio::test]
async fn subscriptions_are_known_while_they_last() {
    let provider = provider(Knobs::default()).await;
    let wanted = json!({"url": "https://hooks.example.com/1"});
    let (status, _, answer) = call(&provider, Method::POST, "/webhooks", wanted.clone()).await;
    assert_eq!(
        (status, &answer["id"], provider.subscriptions()),
        (201, &json!("webhook-1"), vec![wanted])
    );
    for status in [204, 404] {
        assert_eq!(
            call(
                &provider,
                Method::DELETE,
                "/webhooks/webhook-1",
                Value::Null
            )
            .await
            .0,
            status
        );
    }
    assert!(provider.subscriptions().is_empty());
}

#[tokio::test]
async fn missing_resources_are_named() {
    let provider = provider(Knobs::default()).await;
    for (method, path, status, reason) in [
        (
            Method::GET,
            "/records?since=1",
            400,
            "there is no parameter since here",
        ),
        (
            Method::GET,
            "/records/pages?at=1",
            400,
            "there is no parameter at here",
        ),
        (
            Method::GET,
            "/records/pages?page=first",
            400,
            "\"first\" is not a number",
        ),
        (Method::GET, "/records/piles", 404, "GET /api/records/piles"),
        (Method::POST, "/webhooks", 400, "must be a JSON object"),
        (Method::GET, "/status/99", 400, "99 is not a status"),
        (Method::PUT, "/status/418", 418, ""),
    ] {
        let (found, _, body) = call(&provider, method, path, Value::Null).await;
        let message = body["error"].as_str().unwrap_or_default();
        assert!(
            found == status && message.contains(reason),
            "{path}: {found} {message}"
        );
    }
}

#[tokio::test]
async fn the_api_has_the_trouble_of_the_test() {
    let provider = provider(Knobs::default()).await;
    provider.set_trouble(Trouble {
        calls: "/api/records".into(),
        failing_ids: vec!["3".into()],
        ..Trouble::default()
    });
    for (path, status) in [
        ("/records", 500),
        ("/records/pages?page=1", 200),
        ("/records/pages?page=2", 500),
        ("/me", 200),
    ] {
        assert_eq!(get(&provider, path).await.0, status, "{path}");
    }
    assert_eq!(provider.api_calls()[0].status, Some(500));
}
