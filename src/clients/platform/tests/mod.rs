//! The requests to the platform, and the results of its responses. This file has the platform and the tests of the
//! calls.

mod limits_and_retries;
mod results;

use super::*;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, body_json, method, path},
};

/// A platform with ids that have to be escaped in paths.
async fn platform() -> (MockServer, Platform) {
    let server = MockServer::start().await;
    let api = ApiSettings {
        uri: server.uri(),
        username: "user".into(),
        key: "top-secret".into(),
        attempts: Some(3),
        retry_delay: Some(Duration::from_millis(1)),
        configuration_limit: 4000,
    };
    let platform = Platform::new(http::client().unwrap(), &api, "flow/1", "step_1", "ws?1");
    (server, platform)
}

async fn respond(server: &MockServer, verb: &str, route: &str, response: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(route))
        .respond_with(response)
        .mount(server)
        .await;
}

fn json_response(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

/// The method and path of all requests, in order.
async fn requested(server: &MockServer) -> Vec<String> {
    let line = |request: &Request| format!("{} {}", request.method, request.url.path());
    server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

fn authorization(request: &Request) -> Option<String> {
    let header = request.headers.get("authorization")?.to_str().unwrap();
    let bytes = base64_simd::STANDARD
        .decode_to_vec(header.strip_prefix("Basic ").unwrap())
        .unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_step_is_read_with_the_steps_credentials() {
    let (server, platform) = platform().await;
    let body = json!({"config": {"a": 1}, "snapshot": {"b": 2}, "is_passthrough": true, "variables": {"c": "3"}});
    respond(
        &server,
        "GET",
        "/v1/tasks/flow%2F1/steps/step_1",
        json_response(&body),
    )
    .await;
    let step = platform.step().await.unwrap();
    assert_eq!(
        (step.config, step.snapshot, step.is_passthrough),
        (json!({"a": 1}), json!({"b": 2}), true)
    );
    assert_eq!(Value::Object(step.variables), json!({"c": "3"}));
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        authorization(&requests[0]).as_deref(),
        Some("user:top-secret")
    );
}

#[tokio::test]
async fn missing_members_of_a_step_are_empty() {
    for body in [
        json!({}),
        json!({"config": null, "snapshot": null, "is_passthrough": "true", "variables": null}),
    ] {
        let (server, platform) = platform().await;
        Mock::given(any())
            .respond_with(json_response(&body))
            .mount(&server)
            .await;
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
        Mock::given(any())
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
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
    Mock::given(method("PUT"))
        .and(path("/v1/accounts/acc%201"))
        .and(body_json(json!({ "keys": keys })))
        .respond_with(json_response(&json!({})))
        .mount(&server)
        .await;
    platform.update_account("acc 1", &keys).await.unwrap();
}

#[tokio::test]
async fn rejected_keys_return_the_platforms_message() {
    let (server, platform) = platform().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(400).set_body_string(r#"{"error":"failed"}"#))
        .mount(&server)
        .await;
    let error = platform
        .update_account("acc1", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        (r#"{"error":"failed"}"#, Some(StatusCode::BAD_REQUEST))
    );
    assert_eq!(requested(&server).await, ["PUT /v1/accounts/acc1"]);
}

#[tokio::test]
async fn a_secret_may_come_alone_or_in_a_list_of_one() {
    let secret = json!({"id": "s1", "attributes": {"state": "ready"}});
    for data in [secret.clone(), json!([secret])] {
        let (server, platform) = platform().await;
        let document = json_response(&json!({ "data": data }));
        respond(
            &server,
            "GET",
            "/v2/workspaces/ws%3F1/secrets/s1",
            document.clone(),
        )
        .await;
        respond(
            &server,
            "POST",
            "/v2/workspaces/ws%3F1/secrets/s1/refresh",
            document,
        )
        .await;
        assert_eq!(platform.secret("s1").await.unwrap(), secret);
        assert_eq!(platform.refresh_secret("s1").await.unwrap(), secret);
    }
}

#[tokio::test]
async fn a_signed_url_is_requested_and_not_printed() {
    let (server, platform) = platform().await;
    let body = json!({"put_url": "http://s/put?top-secret", "get_url": "http://s/get?top-secret", "expires": 7});
    respond(
        &server,
        "POST",
        "/v2/resources/storage/signed-url",
        json_response(&body),
    )
    .await;
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
    respond(
        &server,
        "GET",
        "/v2/flows",
        json_response(&json!({"data": []})),
    )
    .await;
    let response = platform
        .request(Method::GET, "/v2/flows")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        authorization(&requests[0]).as_deref(),
        Some("user:top-secret")
    );
}

#[tokio::test]
async fn startup_data_of_an_earlier_start_is_replaced() {
    const ROUTE: &str = "/sailor-support/hooks/task/flow%2F1/startup/data";
    let (server, platform) = platform().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(409))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    respond(&server, "POST", ROUTE, ResponseTemplate::new(201)).await;
    respond(&server, "DELETE", ROUTE, ResponseTemplate::new(204)).await;
    platform
        .store_startup_data(&json!({"webhook": 1}))
        .await
        .unwrap();
    assert_eq!(
        requested(&server).await,
        [
            format!("POST {ROUTE}"),
            format!("DELETE {ROUTE}"),
            format!("POST {ROUTE}")
        ]
    );
    for request in server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .filter(|r| r.method == "POST")
    {
        assert_eq!(request.body_json::<Value>().unwrap(), json!({"webhook": 1}));
    }
}

#[tokio::test]
async fn missing_startup_data_is_an_empty_object() {
    for (response, expected) in [
        (json_response(&json!({"webhook": 1})), json!({"webhook": 1})),
        (json_response(&json!({})), json!({})),
        (ResponseTemplate::new(204), json!({})),
    ] {
        let (server, platform) = platform().await;
        Mock::given(method("GET"))
            .respond_with(response)
            .mount(&server)
            .await;
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
    Mock::given(any())
        .respond_with(json_response(&json!({})))
        .mount(&server)
        .await;
    tokio::spawn(async move { platform.step().await.map(drop) })
        .await
        .unwrap()
        .unwrap();
}
