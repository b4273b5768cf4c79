//! The sample API.

use crate::{json_of, platform};
use serde_json::json;

#[tokio::test]
async fn paging_sample_items_lists_each_change_once() {
    let (platform, client) = platform().await;
    let (mut page, mut ids) = (1, Vec::new());
    loop {
        let url = format!(
            "{}/sample/items?updated_since=2026-01-01T05:00:00Z&limit=8&page={page}",
            platform.url()
        );
        let response = json_of(client.get(url).send().await.unwrap()).await;
        ids.extend(
            response["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match response["next_page"].as_u64() {
            Some(next) => page = next,
            None => break,
        }
    }
    assert_eq!(
        ids,
        (6..=25).map(|n| format!("item-{n}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn new_sample_items_are_listed_since_the_last() {
    let (platform, client) = platform().await;
    let url = platform.url() + "/sample/items";
    let last = json_of(client.get(format!("{url}/item-25")).send().await.unwrap()).await;
    let created = client
        .post(&url)
        .json(&json!({"name": "New"}))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let since = format!(
        "{url}?updated_since={}",
        last["updated_at"].as_str().unwrap()
    );
    let response = json_of(client.get(since).send().await.unwrap()).await;
    assert_eq!(response["items"], json!([json_of(created).await]));
}

#[tokio::test]
async fn invalid_sample_queries_are_400() {
    let (platform, client) = platform().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "page=-1",
        "updated_since=yesterday",
        "colour=red",
    ] {
        let response = client
            .get(format!("{}/sample/items?{query}", platform.url()))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn sample_me_accepts_only_valid_credentials() {
    let (platform, client) = platform().await;
    let me = || client.get(platform.url() + "/sample/me");
    for (request, status) in [
        (me(), 401),
        (me().bearer_auth("expired"), 401),
        (me().header("authorization", "Basic x"), 401),
        (me().bearer_auth("token"), 200),
        (me().header("x-api-key", "key"), 200),
    ] {
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn sample_status_returns_the_requested_status() {
    let (platform, client) = platform().await;
    for (asked, status) in [
        ("200", 200),
        ("204", 204),
        ("429", 429),
        ("503", 503),
        ("99", 400),
        ("600", 400),
        ("x", 400),
    ] {
        let response = client
            .get(format!("{}/sample/status/{asked}", platform.url()))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status);
    }
}
