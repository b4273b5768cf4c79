//! What the API's status says, by the profile and by the fields of the credentials: limits, scopes, and what it wants in
//! every request.

use super::{Rig, error_text, ids, rebound};
use emulator::provider::Fault;
use sailor::testing::Event;
use serde_json::{Value, json};

fn refusal(status: u16, retry_after: Option<&str>, body: &Value) -> Fault {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(retry_after.map(|delay| ("retry-after".to_owned(), delay.to_owned())));
    Fault::Response {
        status,
        headers,
        body: body.to_string(),
    }
}

fn google() -> Value {
    json!({ "error": { "code": 403, "errors": [{ "reason": "userRateLimitExceeded" }] } })
}

#[tokio::test]
async fn a_limit_under_another_status_is_waited_for() {
    let slow_down = json!({ "message": "Slow down" });
    for (fields, fault) in [
        (json!({}), refusal(403, Some("0"), &json!({}))),
        (
            json!({ "provider": "google" }),
            refusal(403, None, &google()),
        ),
        (
            json!({ "busyResponses": "420; 403 slow down" }),
            refusal(403, None, &slow_down),
        ),
        (
            json!({ "busyResponses": "420; 403 slow down" }),
            refusal(420, Some("0"), &json!(null)),
        ),
    ] {
        let rig = Rig::new().await;
        rig.provider.script_api([fault]);
        // A POST request too: the API has not processed it.
        let request = json!({ "method": "POST", "path": "/echo", "body": {} });
        let emitted = rig.request(fields.clone(), request).await;
        assert_eq!(
            emitted.data::<Value>()[0]["status"],
            200,
            "{fields}: {emitted:?}"
        );
        assert_eq!(rig.statuses().len(), 2, "{fields}");
    }
}

#[tokio::test]
async fn a_limit_that_lasts_rebounds_the_message() {
    for (fields, fault) in [
        (json!({}), refusal(403, Some("3600"), &json!({}))),
        (
            json!({ "provider": "google" }),
            refusal(403, Some("3600"), &google()),
        ),
        (
            json!({ "busyResponses": "420" }),
            refusal(420, Some("3600"), &json!({})),
        ),
    ] {
        let rig = Rig::new().await;
        rig.provider.script_api([fault]);
        let emitted = rig.poll(with_list(fields), json!({})).await;
        assert!(rebound(&emitted).contains("returned 4"), "{emitted:?}");
        assert_eq!(rig.statuses().len(), 1);
    }
}

#[tokio::test]
async fn another_403_is_an_error_at_once() {
    let rig = Rig::new().await;
    rig.provider.script_api([refusal(403, None, &google())]);
    let emitted = rig.request(json!({}), json!({ "path": "/me" })).await;
    assert!(error_text(&emitted).contains("returned 403"), "{emitted:?}");
    assert_eq!((rig.statuses().len(), rig.provider.refreshes()), (1, 0));
}

#[tokio::test]
async fn a_response_can_ask_for_a_scope() {
    let slack = json!({ "ok": false, "error": "missing_scope" });
    let rights = json!({ "message": "Needs more rights" });
    for (fields, fault) in [
        (json!({ "provider": "slack" }), refusal(200, None, &slack)),
        (
            json!({ "scopeResponses": "403 needs more rights" }),
            refusal(403, None, &rights),
        ),
        (
            json!({ "scopeResponses": "418" }),
            refusal(418, None, &rights),
        ),
    ] {
        let rig = Rig::new().await;
        rig.provider.script_api([fault]);
        let emitted = rig.request(fields.clone(), json!({ "path": "/me" })).await;
        let error = error_text(&emitted);
        assert!(
            error.contains("needs a scope that the credential lacks"),
            "{fields}: {error}"
        );
    }
}

#[tokio::test]
async fn a_wrong_rule_is_named() {
    let rig = Rig::new().await;
    for (field, meaning) in [
        ("busyResponses", "ask for fewer requests"),
        ("scopeResponses", "ask for a scope"),
    ] {
        let emitted = rig
            .request(json!({ field: "200" }), json!({ "path": "/me" }))
            .await;
        let error = error_text(&emitted);
        assert!(
            error.contains(meaning) && error.contains("entry 1"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_profile_brings_the_headers_that_the_api_wants() {
    let rig = Rig::new().await;
    for (fields, name, value) in [
        (
            json!({ "provider": "notion" }),
            "notion-version",
            "2022-06-28",
        ),
        (
            json!({ "provider": "notion", "headers": "Notion-Version: 2025-09-03" }),
            "notion-version",
            "2025-09-03",
        ),
        (json!({}), "accept", "application/json"),
        (
            json!({ "provider": "quickbooks" }),
            "accept",
            "application/json",
        ),
        (
            json!({ "headers": "Accept: text/csv\nxero-tenant-id: 7" }),
            "xero-tenant-id",
            "7",
        ),
        (
            json!({ "headers": "Accept: text/csv\nxero-tenant-id: 7" }),
            "accept",
            "text/csv",
        ),
    ] {
        rig.poll(with_list(fields.clone()), json!({})).await;
        let call = rig.provider.api_calls().pop().unwrap();
        let values: Vec<_> = call.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{fields}");
    }
    let wrong = with_list(json!({ "headers": "Accept: a\nno header: secret" }));
    let emitted = rig.poll(wrong, json!({})).await;
    let error = error_text(&emitted);
    assert!(
        error.contains("2022-06-28\" in line 2") && !error.contains("secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_next_page_may_be_on_an_allowed_host() {
    let (rig, other) = (Rig::new().await, Rig::new().await);
    let first = json!({ "records": [{ "id": 1, "updated_at": 1 }], "next": other.provider.api_url() + "/records" });
    let paged = json!({ "paging": "nextLink", "nextPointer": "/next" });
    let mut allowed = paged.clone();
    allowed["allowedOrigins"] = format!("https://a.example {}", other.provider.api_url()).into();
    rig.provider
        .script_api([refusal(200, None, &first), refusal(200, None, &first)]);
    other.provider.script_api([refusal(
        200,
        None,
        &json!({ "records": [{ "id": 2, "updated_at": 2 }] }),
    )]);
    // Without the field the page is refused. The next poll emits nothing twice.
    let refused = rig.poll(with_list(paged), json!({})).await;
    assert_eq!(ids(&refused), [1]);
    assert!(
        matches!(refused.events.last(), Some(Event::Error(text)) if text.contains("`allowedOrigins`")),
        "{refused:?}"
    );
    let emitted = rig
        .poll(with_list(allowed), super::snapshot(&refused))
        .await;
    assert_eq!(ids(&emitted), [2]);
    let call = other.provider.api_calls().pop().unwrap();
    assert!(call.token.is_some(), "the token goes to the allowed host");
}

fn with_list(mut fields: Value) -> Value {
    fields["path"] = "/records".into();
    fields["itemsPointer"] = "/records".into();
    fields
}
