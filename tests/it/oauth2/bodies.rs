//! Bodies, and which requests may be sent twice.

use super::rig::Rig;
use emulator::provider::{Fault, Knobs, Provider, ProviderConfig};
use reqwest::Method;
use sailor::oauth2::{Error, OAuth2};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// token-failures: T45.
#[tokio::test]
async fn a_json_body_is_resent_unchanged() {
    let rig = Rig::stale(Knobs::default()).await;
    let body = json!({ "name": "Zoë \u{1F980}", "nested": { "n": 1.5, "list": [null, true] } });
    let echo: Value = rig
        .replica()
        .client()
        .post("/echo/contacts")
        .json(&body)
        .send_json()
        .await
        .unwrap();
    let calls = rig.provider.api_calls();
    assert_eq!(rig.statuses(), [401, 200]);
    for call in &calls {
        assert_eq!(call.body, serde_json::to_vec(&body).unwrap());
        assert_eq!(call.headers["content-length"], call.body.len().to_string());
        assert_eq!(call.headers["content-type"], "application/json");
    }
    assert_eq!(echo["body"].as_str().unwrap().as_bytes(), calls[1].body);
}

/// The error of a request with a time limit to an API that responds too late, and how often the API got the request.
async fn timed_out(method: Method, idempotent: Option<bool>) -> (Error, usize) {
    let rig = Rig::new(Knobs::default()).await;
    let _hold = rig.provider.hold_api_responses();
    let mut request = rig
        .replica()
        .client()
        .request(method, "/echo/orders")
        .timeout(Duration::from_secs(5));
    if let Some(idempotent) = idempotent {
        request = request.idempotent(idempotent);
    }
    let error = rig.drive(request.send()).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoResponse { reason, .. } if reason == "timed out after 5 s, the `timeout` of the request"),
        "{error}"
    );
    (error, rig.provider.api_calls().len())
}

/// token-failures: T49.
#[tokio::test]
async fn a_post_that_times_out_is_not_resent() {
    let (error, calls) = timed_out(Method::POST, None).await;
    assert_eq!((calls, error.is_transient()), (1, false));
}

/// token-failures: T49.
#[tokio::test]
async fn an_idempotent_post_that_times_out_is_resent() {
    let (error, calls) = timed_out(Method::POST, Some(true)).await;
    assert_eq!((calls, error.is_transient()), (4, true));
}

/// token-failures: T49.
#[tokio::test]
async fn a_get_marked_not_idempotent_is_sent_once() {
    let (error, calls) = timed_out(Method::GET, Some(false)).await;
    assert_eq!((calls, error.is_transient()), (1, false));
}

/// The statuses of a request whose first response is this one.
async fn statuses_after(first: Fault, method: Method, idempotent: Option<bool>) -> Vec<u16> {
    let rig = Rig::new(Knobs::default()).await;
    rig.provider.script_api([first]);
    let mut request = rig.replica().client().request(method, "/echo/orders");
    if let Some(idempotent) = idempotent {
        request = request.idempotent(idempotent);
    }
    let response = rig.drive(request.send_any_status()).await.unwrap();
    let statuses = rig.statuses();
    assert_eq!(Some(&response.status().as_u16()), statuses.last());
    assert_eq!(rig.provider.refreshes(), 0);
    statuses
}

fn unavailable() -> Fault {
    Fault::Json(503, json!({}))
}

/// token-failures: T49.
#[tokio::test]
async fn a_get_with_503_is_resent() {
    assert_eq!(
        statuses_after(unavailable(), Method::GET, None).await,
        [503, 200]
    );
}

/// token-failures: T49.
#[tokio::test]
async fn a_post_with_503_is_not_resent() {
    assert_eq!(
        statuses_after(unavailable(), Method::POST, None).await,
        [503]
    );
}

/// token-failures: T49.
#[tokio::test]
async fn an_idempotent_post_with_503_is_resent() {
    assert_eq!(
        statuses_after(unavailable(), Method::POST, Some(true)).await,
        [503, 200]
    );
}

/// token-failures: T49.
#[tokio::test]
async fn a_post_with_503_and_retry_after_is_resent() {
    assert_eq!(
        statuses_after(Fault::retry_after(503, "1"), Method::POST, None).await,
        [503, 200]
    );
}

/// How long the client waits after a 429 with this `Retry-After`.
async fn waited(when: &str) -> Duration {
    let rig = Rig::new(Knobs::default()).await;
    rig.provider.script_api([Fault::retry_after(429, when)]);
    let replica = rig.replica();
    let start = Instant::now();
    let posting = replica.client().post("/echo/orders").send();
    // The clock runs slowly, so that the requests themselves take almost no time on it.
    rig.clock
        .drive_by(Duration::from_millis(10), posting)
        .await
        .unwrap();
    assert_eq!(rig.statuses(), [429, 200]);
    start.elapsed()
}

/// token-failures: T49.
#[tokio::test]
async fn retry_after_in_seconds_is_waited_for() {
    let waited = waited("2").await;
    assert!((2.0..4.0).contains(&waited.as_secs_f64()), "{waited:?}");
}

/// token-failures: T49.
#[tokio::test]
async fn retry_after_as_a_date_is_waited_for() {
    // A date has no fractions of seconds, so up to one of the four seconds can be over.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
    let waited = waited(&date).await;
    assert!((2.5..6.0).contains(&waited.as_secs_f64()), "{waited:?}");
}

/// token-failures: T49.
#[tokio::test]
async fn a_retry_after_of_a_day_is_reported_as_a_minute() {
    let rig = Rig::new(Knobs::default()).await;
    rig.provider.script_api([Fault::retry_after(429, "99999")]);
    let error = rig
        .replica()
        .client()
        .post("/echo/orders")
        .send()
        .await
        .unwrap_err();
    let Error::Status {
        status,
        retry_after,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (status.as_u16(), *retry_after),
        (429, Some(Duration::from_secs(60)))
    );
    assert!(error.is_transient(), "the message is rebounded");
    assert_eq!(rig.provider.api_calls().len(), 1);
}

#[tokio::test]
async fn a_json_response_is_read_as_in_javascript() {
    let rig = Rig::new(Knobs::rotating()).await;
    let deep = format!(
        r#"{{"a": "deep", "b": {}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (body, expected) in [
        (r#" {"a": "\ud800!"} "#, "\u{fffd}!"),
        (r#"{"a": "plain"}"#, "plain"),
        (&*deep, "deep"),
    ] {
        let body = body.to_owned();
        rig.provider.script_api([Fault::Response {
            status: 200,
            headers: vec![],
            body,
        }]);
        assert_eq!(rig.replica().get().await.unwrap()["a"], expected);
    }
    rig.provider.script_api([Fault::Response {
        status: 200,
        headers: vec![],
        body: r#"{"a": secret}"#.to_owned(),
    }]);
    let error = rig.replica().get().await.unwrap_err().to_string();
    assert!(
        error.contains("line 1, column 7") && !error.contains("secret"),
        "{error}"
    );
}

/// After a 303 the request is processed, so nothing causes it to be sent again.
/// token-failures: T49.
#[tokio::test]
async fn a_303_post_is_sent_once() {
    let elsewhere = Provider::start(ProviderConfig::default()).await.unwrap();
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    let post = async |to: String| {
        let headers = vec![("location".to_owned(), to)];
        rig.provider.script_api([Fault::Response {
            status: 303,
            headers,
            body: String::new(),
        }]);
        rig.drive(
            replica
                .client()
                .post("/echo/orders")
                .json(&json!({ "n": 1 }))
                .send(),
        )
        .await
    };
    let error = post("http://127.0.0.1:1/".into()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoResponse {
                repeatable: false,
                ..
            }
        ) && !error.is_transient(),
        "{error}"
    );
    for status in [401, 429, 503] {
        elsewhere.script_api([Fault::retry_after(status, "1")]);
        let error = post(format!("{}/x", elsewhere.api_url()))
            .await
            .unwrap_err();
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(status),
            "{error}"
        );
    }
    assert_eq!(rig.statuses(), [303; 4]);
    assert_eq!(
        (elsewhere.authorizations().len(), rig.provider.refreshes()),
        (0, 0)
    );
    assert!(
        elsewhere
            .api_calls()
            .iter()
            .all(|call| call.method == "GET" && call.body.is_empty())
    );

    let outcome: Value = post("/api/echo/orders/1".into())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&outcome["method"], &outcome["path"]),
        (&json!("GET"), &json!("/api/echo/orders/1"))
    );
    assert_eq!(rig.statuses()[4..], [303, 200]);
}

/// An error with this text at the end of a body of 40 KB.
fn long_error(status: u16, text: &str) -> Fault {
    Fault::Response {
        status,
        headers: vec![],
        body: json!({ "a": "é".repeat(20_000), "z": text }).to_string(),
    }
}

#[tokio::test]
async fn a_long_error_is_kept_and_its_message_is_short() {
    let rig = Rig::new(Knobs::default()).await;
    rig.provider.script_api([long_error(400, "the code")]);
    let error = rig.drive(rig.replica().get()).await.unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.len() < 2200 && shown.ends_with('…'),
        "{}",
        shown.len()
    );
    let Error::Status { body, .. } = error else {
        panic!("{error}")
    };
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["z"], "the code");
}

#[tokio::test]
async fn rules_see_the_end_of_a_long_error() {
    let mut rig = Rig::new(Knobs::default()).await;
    rig.definition = OAuth2::new()
        .base_url(rig.provider.api_url())
        .busy_responses("403 quota exceeded")
        .expired_responses("400 token expired");
    let replica = rig.replica();
    rig.provider.script_api([long_error(403, "Quota exceeded")]);
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(rig.statuses(), [403, 200]);
    rig.provider.script_api([long_error(400, "Token expired")]);
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
}
