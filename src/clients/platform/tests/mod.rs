//! The requests to the platform, and the results of its responses. This file has the platform and the tests of the
//! calls.

mod limits_and_retries;
mod results;

use super::*;
use http_double::{PreparedResponse, RecordedCall, ScriptedDouble};

/// A platform with ids that have to be escaped in paths.
async fn platform() -> (ScriptedDouble, Platform) {
    let server = ScriptedDouble::start().await.unwrap();
    let api = ApiSettings {
        uri: server.url(),
        username: "user".into(),
        key: "top-secret".into(),
        attempts: Some(3),
        retry_delay: Some(Duration::from_millis(1)),
        configuration_limit: 4000,
    };
    let platform = Platform::new(http::client().unwrap(), &api, "flow/1", "step_1", "ws?1");
    (server, platform)
}

fn json_response(body: &Value) -> PreparedResponse {
    PreparedResponse::json(200, body)
}

/// The method and path of all requests, in order.
fn requested(server: &ScriptedDouble) -> Vec<String> {
    let calls = server.calls().all();
    calls.iter().map(RecordedCall::line).collect()
}

#[tokio::test]
async fn a_step_is_read_with_the_steps_credentials() {
    let (server, platform) = platform().await;
    let body = json!({"config": {"a": 1}, "snapshot": {"b": 2}, "is_passthrough": true, "variables": {"c": "3"}});
    server.respond(
        "GET /v1/tasks/flow%2F1/steps/step_1$",
        [json_response(&body)],
    );
    let step = platform.step().await.unwrap();
    assert_eq!(
        (step.config, step.snapshot, step.is_passthrough),
        (json!({"a": 1}), json!({"b": 2}), true)
    );
    assert_eq!(Value::Object(step.variables), json!({"c": "3"}));
    let [call] = &server.calls().all()[..] else {
        panic!("one request")
    };
    assert_eq!(call.credentials().as_deref(), Some("user:top-secret"));
}

#[tokio::test]
async fn missing_members_of_a_step_are_empty() {
    for body in [
        json!({}),
        json!({"config": null, "snapshot": null, "is_passthrough": "true", "variables": null}),
    ] {
        let (server, platform) = platform().await;
        server.respond("", [json_response(&body)]);
        let step = platform.step().await.unwrap();
        assert_eq!(
            (step.config, step.snapshot, step.is_passthrough),
            (json!({}), json!({}), false),
            "{body}"
        );
        assert!(step.variables.is_empty(), "{body}");
    }
}

#[tokio::test]
async fn an_invalid_step_response_says_what_was_read() {
    for body in ["[]", "null", "top-secret"] {
        let (server, platform) = platform().await;
        server.respond("", [PreparedResponse::ok(body)]);
        let error = platform.step().await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "reading step step_1 of flow flow/1 failed: the response is not the expected JSON"
            ),
            "{error}"
        );
        assert!(!error.contains("top-secret"), "{error}");
    }
}

#[tokio::test]
async fn the_keys_of_an_account_are_replaced() {
    let (server, platform) = platform().await;
    let keys = json!({"oauth": {"access_token": "a", "note": "grüße"}});
    server.respond("PUT /v1/accounts/acc%201$", [json_response(&json!({}))]);
    platform.update_account("acc 1", &keys).await.unwrap();
    let call = &server.calls().all()[0];
    assert_eq!(call.json(), Some(json!({ "keys": keys })));
}

#[tokio::test]
async fn rejected_keys_return_the_platforms_message() {
    let (server, platform) = platform().await;
    server.respond(
        "",
        [PreparedResponse::status(400).body(r#"{"error":"failed"}"#)],
    );
    let error = platform
        .update_account("acc1", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        (r#"{"error":"failed"}"#, Some(StatusCode::BAD_REQUEST))
    );
    assert_eq!(requested(&server), ["PUT /v1/accounts/acc1"]);
}

#[tokio::test]
async fn a_secret_may_come_alone_or_in_a_list_of_one() {
    let secret = json!({"id": "s1", "attributes": {"state": "ready"}});
    for data in [secret.clone(), json!([secret])] {
        let (server, platform) = platform().await;
        let document = json_response(&json!({ "data": data }));
        server.respond("GET /v2/workspaces/ws%3F1/secrets/s1$", [document.clone()]);
        server.respond("POST /v2/workspaces/ws%3F1/secrets/s1/refresh$", [document]);
        assert_eq!(platform.secret("s1").await.unwrap(), secret);
        assert_eq!(platform.refresh_secret("s1").await.unwrap(), secret);
    }
}

#[tokio::test]
async fn a_signed_url_is_requested_and_not_printed() {
    let (server, platform) = platform().await;
    let body = json!({"put_url": "http://s/put?top-secret", "get_url": "http://s/get?top-secret", "expires": 7});
    server.respond(
        "POST /v2/resources/storage/signed-url$",
        [json_response(&body)],
    );
    let signed = platform.signed_url().await.unwrap();
    assert_eq!(
        (&*signed.put_url, &*signed.get_url),
        ("http://s/put?top-secret", "http://s/get?top-secret")
    );
    assert!(!format!("{signed:?}").contains("top-secret"));
}

#[tokio::test]
async fn other_endpoints_can_be_requested() {
    let (server, platform) = platform().await;
    server.respond("GET /v2/flows$", [json_response(&json!({"data": []}))]);
    let response = platform
        .request(Method::GET, "/v2/flows")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let [call] = &server.calls().all()[..] else {
        panic!("one request")
    };
    assert_eq!(call.credentials().as_deref(), Some("user:top-secret"));
}

#[tokio::test]
async fn startup_data_of_an_earlier_start_is_replaced() {
    const ROUTE: &str = "/sailor-support/hooks/task/flow%2F1/startup/data";
    let (server, platform) = platform().await;
    let responses = [409, 201].map(PreparedResponse::status);
    server.respond(&format!("POST {ROUTE}$"), responses);
    server.respond(&format!("DELETE {ROUTE}$"), [PreparedResponse::status(204)]);
    platform
        .store_startup_data(&json!({"webhook": 1}))
        .await
        .unwrap();
    assert_eq!(
        requested(&server),
        [
            format!("POST {ROUTE}"),
            format!("DELETE {ROUTE}"),
            format!("POST {ROUTE}")
        ]
    );
    for call in server.calls().matching("^POST") {
        assert_eq!(call.json(), Some(json!({"webhook": 1})));
    }
}

#[tokio::test]
async fn missing_startup_data_is_an_empty_object() {
    for (response, expected) in [
        (json_response(&json!({"webhook": 1})), json!({"webhook": 1})),
        (json_response(&json!({})), json!({})),
        (PreparedResponse::status(204), json!({})),
    ] {
        let (server, platform) = platform().await;
        server.respond("^GET", [response]);
        assert_eq!(platform.startup_data().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn debug_output_has_no_key() {
    let (_server, platform) = platform().await;
    assert!(!format!("{platform:?}").contains("top-secret"));
}

#[tokio::test]
async fn calls_can_run_in_a_spawned_task() {
    let (server, platform) = platform().await;
    server.respond("", [json_response(&json!({}))]);
    tokio::spawn(async move { platform.step().await.map(drop) })
        .await
        .unwrap()
        .unwrap();
}
