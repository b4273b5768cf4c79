//! makeRequest: the request, the meaning of a status, and retries.

use super::{Rig, error_text, rebound};
use emulator::provider::Fault;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn method_query_and_headers_are_sent() {
    let rig = Rig::new().await;
    let request = json!({
        "method": "put", "path": "echo/a b?x=1", "query": { "y": "2 3", "z": [4, true], "none": null },
        "headers": { "x-mine": "yes", "Authorization": "Bearer stolen" }, "body": { "n": 1 },
    });
    let emitted = rig.request(json!({}), request).await;
    let response: Value = emitted.data().remove(0);
    assert_eq!(
        (&response["status"], &response["headers"]["content-type"]),
        (&json!(200), &json!("application/json"))
    );
    let echo = &response["body"];
    assert_eq!(
        (&echo["method"], &echo["path"]),
        (&json!("PUT"), &json!("/api/echo/a%20b"))
    );
    assert_eq!(echo["query"], "x=1&y=2+3&z=4&z=true");
    assert_eq!(
        (&echo["headers"]["x-mine"], &echo["body"]),
        (&json!("yes"), &json!(r#"{"n":1}"#))
    );
    assert!(
        rig.provider
            .is_valid(rig.provider.api_calls()[0].token.as_deref().unwrap())
    );
}

#[tokio::test]
async fn an_address_must_be_on_an_allowed_host() {
    let rig = Rig::new().await;
    let own = rig
        .request(
            json!({}),
            json!({ "path": format!("{}/me", rig.provider.api_url()) }),
        )
        .await;
    assert_eq!(own.data::<Value>()[0]["body"]["id"], "user-1");
    let elsewhere = rig
        .request(json!({}), json!({ "path": "https://example.com/" }))
        .await;
    assert!(
        error_text(&elsewhere).contains("may not receive the token"),
        "{elsewhere:?}"
    );
    // Not another host: a path of this one.
    let below = rig
        .request(json!({}), json!({ "path": "//example.com/" }))
        .await;
    assert!(
        error_text(&below).contains("/api/example.com/"),
        "{below:?}"
    );
}

#[tokio::test]
async fn an_expired_token_is_refreshed_and_the_request_resent() {
    let rig = Rig::expired().await;
    let request = json!({ "method": "POST", "path": "/items", "body": { "name": "New" } });
    let emitted = rig.request(json!({}), request).await;
    rig.assert_refreshed_once(&emitted);
    assert_eq!(emitted.data::<Value>()[0]["status"], 201);
    assert_eq!(rig.statuses(), [401, 201]);
}

#[tokio::test]
async fn a_busy_api_is_retried_or_rebounds_the_message() {
    let rig = Rig::new().await;
    rig.busy_once();
    let post = json!({ "method": "POST", "path": "/items", "body": {} });
    let emitted = rig.request(json!({}), post.clone()).await;
    assert_eq!(
        (rig.statuses(), emitted.data::<Value>().len()),
        (vec![429, 201], 1)
    );
    rig.busy_for_long();
    let emitted = rig.request(json!({}), post).await;
    assert!(rebound(&emitted).contains("429"), "{emitted:?}");
}

#[tokio::test]
async fn invalid_input_is_named_and_nothing_is_sent() {
    let rig = Rig::new().await;
    for (fields, body, expected) in [
        (json!({}), json!({}), "missing field `path`"),
        (
            json!({}),
            json!({ "path": "/me", "method": "G ET" }),
            "`method` is not an HTTP method: \"G ET\"",
        ),
        (
            json!({}),
            json!({ "path": "/me", "query": { "a": { "b": 1 } } }),
            "`query.a` must be a text or a number",
        ),
        (
            json!({}),
            json!({ "path": "/me", "headers": { "x": "a\nb" } }),
            "the request was not sent",
        ),
        (
            json!({ "bodyType": "jason" }),
            json!({ "path": "/me" }),
            "bodyType: expected one of",
        ),
        (
            json!({ "onError": "explode" }),
            json!({ "path": "/me" }),
            "onError: expected one of",
        ),
        (
            json!({ "answerType": "pdf" }),
            json!({ "path": "/me" }),
            "answerType: expected one of",
        ),
        (
            json!({ "expectedStatuses": "ok" }),
            json!({ "path": "/me" }),
            "expectedStatuses: expected statuses such as",
        ),
        (
            json!({ "splitPointer": "items" }),
            json!({ "path": "/me" }),
            "splitPointer: expected a JSON pointer",
        ),
        (
            json!({ "requestsPerMinute": "0" }),
            json!({ "path": "/me" }),
            "requestsPerMinute: expected a number above",
        ),
        (
            json!({ "idempotencyHeader": "x" }),
            json!({ "path": "/me" }),
            "map `idempotencyKey`",
        ),
    ] {
        let emitted = rig.request(fields, body).await;
        assert!(
            error_text(&emitted).contains(expected),
            "{expected}: {emitted:?}"
        );
    }
    assert!(rig.provider.api_calls().is_empty());
}

#[tokio::test]
async fn empty_fields_count_as_missing() {
    let rig = Rig::new().await;
    let fields = json!({
        "bodyType": "", "onError": "", "answerType": null, "expectedStatuses": " ", "splitPointer": "",
        "idempotencyHeader": "", "requestsPerMinute": "",
    });
    let emitted = rig
        .request(fields, json!({ "path": "/me", "method": "" }))
        .await;
    assert_eq!(emitted.data::<Value>()[0]["status"], 200);
}

#[tokio::test]
async fn the_step_decides_on_error_statuses() {
    let rig = Rig::new().await;
    enum Outcome {
        Emitted,
        Error,
        Rebound,
    }
    use Outcome::*;
    for (method, status, expected, on_error, outcome) in [
        ("GET", 404, "", "error", Error),
        ("GET", 404, "", "rebound", Rebound),
        ("GET", 404, "", "emit", Emitted),
        ("GET", 404, "200, 404", "error", Emitted),
        ("GET", 204, "200", "error", Error),
        ("GET", 201, "200", "rebound", Rebound),
        ("GET", 503, "", "emit", Emitted),
        ("GET", 304, "", "error", Emitted),
        // A redirect without a target is not a success.
        ("GET", 302, "", "error", Error),
        ("GET", 302, "3xx", "error", Emitted),
        // A transient error rebounds by itself, but not if the request may have changed something.
        ("GET", 500, "", "error", Rebound),
        ("POST", 500, "", "error", Error),
        ("POST", 500, "", "rebound", Rebound),
        ("POST", 500, "5xx", "error", Emitted),
        ("POST", 409, "4xx", "error", Emitted),
    ] {
        let fields = json!({ "expectedStatuses": expected, "onError": on_error });
        let request = json!({ "method": method, "path": format!("/status/{status}") });
        let emitted = rig.request(fields, request).await;
        let case = format!("{method} {status} {expected:?} {on_error}");
        match outcome {
            Emitted => assert_eq!(emitted.data::<Value>()[0]["status"], status, "{case}"),
            Error => assert!(
                error_text(&emitted).contains(&format!("/status/{status} returned {status}")),
                "{case}"
            ),
            Rebound => assert!(rebound(&emitted).contains(&status.to_string()), "{case}"),
        }
        let verdict = if matches!(outcome, Error) {
            Verdict::Rejected
        } else {
            Verdict::Acknowledged
        };
        assert_eq!(emitted.verdict, verdict, "{case}");
    }
}

#[tokio::test]
async fn a_lost_post_is_resent_only_with_an_idempotency_key() {
    let message = |body: Value| json!({ "id": "message-1", "headers": {}, "body": body });
    for (key, sent) in [(Value::Null, "message-1"), (json!("order-7"), "order-7")] {
        let rig = Rig::new().await;
        rig.provider.script_api([Fault::DropAfter]);
        let headers = json!({ "idempotency-key": "not this" });
        let body = json!({ "method": "POST", "path": "/items", "body": {}, "headers": headers, "idempotencyKey": key });
        let harness = rig.harness(
            "makeRequest",
            json!({ "idempotencyHeader": "Idempotency-Key" }),
        );
        let emitted = harness.run_message(message(body)).await.unwrap();
        assert_eq!(emitted.data::<Value>()[0]["status"], 201);
        let keys = rig
            .provider
            .api_calls()
            .into_iter()
            .map(|call| call.headers["idempotency-key"].clone());
        assert_eq!(keys.collect::<Vec<_>>(), [sent, sent]);
    }
    let rig = Rig::new().await;
    rig.provider.script_api([Fault::DropAfter]);
    let body = json!({ "method": "POST", "path": "/items", "body": {} });
    let emitted = rig
        .harness("makeRequest", json!({}))
        .run_message(message(body))
        .await
        .unwrap();
    assert!(
        error_text(&emitted).contains("failed without a response"),
        "{emitted:?}"
    );
    assert_eq!(rig.provider.api_calls().len(), 1);
}

#[tokio::test]
async fn the_request_limit_is_shared_per_account() {
    let rig = Rig::new().await;
    let begun = Instant::now();
    for _ in 0..2 {
        let emitted = rig
            .request(
                json!({ "requestsPerMinute": 600 }),
                json!({ "path": "/me" }),
            )
            .await;
        assert_eq!(emitted.data::<Value>().len(), 1);
    }
    let fields =
        json!({ "requestsPerMinute": "600", "path": "/records", "itemsPointer": "/records" });
    assert_eq!(rig.poll(fields, json!({})).await.data::<Value>().len(), 5);
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    let other = json!({ "requestsPerMinute": 0.001, "_account": "other" });
    assert!(matches!(
        rig.request(other, json!({ "path": "/me" })).await.events[..],
        [Event::Data(_)]
    ));
}

#[tokio::test]
async fn transport_headers_in_a_message_are_rejected() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
    ] {
        let rig = Rig::new().await;
        let body = json!({ "path": "/me", "method": "POST", "headers": { name: "5" }, "body": { "a": 1 } });
        let emitted = rig.request(json!({}), body).await;
        assert!(
            error_text(&emitted).contains(&format!("`headers.{name}`")),
            "{emitted:?}"
        );
        assert!(rig.provider.api_calls().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn null_members_count_as_missing() {
    let rig = Rig::new().await;
    let body =
        json!({ "path": "/me", "method": null, "query": null, "headers": null, "body": null });
    let emitted = rig.request(json!({}), body).await;
    assert_eq!(
        emitted.verdict,
        Verdict::Acknowledged,
        "{:?}",
        emitted.events
    );
}

#[tokio::test]
async fn the_token_is_not_sent_to_other_hosts() {
    let thief = Rig::new().await;
    let there = thief.provider.api_url();
    let host = there.split_once("://").unwrap().1;
    for path in [
        there.clone(),
        format!("//{host}"),
        format!("/\\{host}"),
        format!("@{host}"),
        format!("http:\\\\{host}/me"),
    ] {
        let rig = Rig::new().await;
        let emitted = rig.request(json!({}), json!({ "path": path })).await;
        assert!(thief.provider.api_calls().is_empty(), "{path}");
        assert!(
            matches!(emitted.events[..], [Event::Error(_)]),
            "{path}: {emitted:?}"
        );
    }
}
