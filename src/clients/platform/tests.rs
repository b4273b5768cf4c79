//! The requests that the platform gets, and what its answers become.

use super::*;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, body_json, method, path},
};

/// A platform whose ids need care in paths.
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

async fn answer(server: &MockServer, verb: &str, route: &str, response: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(route))
        .respond_with(response)
        .mount(server)
        .await;
}

fn json_answer(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

/// `METHOD path` of everything that was asked, in order.
async fn asked(server: &MockServer) -> Vec<String> {
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
    answer(
        &server,
        "GET",
        "/v1/tasks/flow%2F1/steps/step_1",
        json_answer(&body),
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
async fn what_a_step_does_not_say_is_empty() {
    for body in [
        json!({}),
        json!({"config": null, "snapshot": null, "is_passthrough": "true", "variables": null}),
    ] {
        let (server, platform) = platform().await;
        Mock::given(any())
            .respond_with(json_answer(&body))
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
                "reading step step_1 of flow flow/1 failed: the answer is not the JSON"
            ),
            "{error}"
        );
        assert!(!error.contains("top-secret"), "{error}");
    }
}

#[tokio::test]
async fn a_short_outage_is_invisible() {
    let (server, platform) = platform().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(500))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(json_answer(&json!({})))
        .mount(&server)
        .await;
    platform.step().await.unwrap();
    assert_eq!(asked(&server).await.len(), 3);
}

#[tokio::test]
async fn the_keys_of_an_account_are_put_whole() {
    let (server, platform) = platform().await;
    let keys = json!({"oauth": {"access_token": "a", "note": "grüße"}});
    Mock::given(method("PUT"))
        .and(path("/v1/accounts/acc%201"))
        .and(body_json(json!({ "keys": keys })))
        .respond_with(json_answer(&json!({})))
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
    assert_eq!(asked(&server).await, ["PUT /v1/accounts/acc1"]);
}

#[tokio::test]
async fn a_secret_may_come_alone_or_in_a_list_of_one() {
    let secret = json!({"id": "s1", "attributes": {"state": "ready"}});
    for data in [secret.clone(), json!([secret])] {
        let (server, platform) = platform().await;
        let document = json_answer(&json!({ "data": data }));
        answer(
            &server,
            "GET",
            "/v2/workspaces/ws%3F1/secrets/s1",
            document.clone(),
        )
        .await;
        answer(
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
    answer(
        &server,
        "POST",
        "/v2/resources/storage/signed-url",
        json_answer(&body),
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
async fn any_other_part_of_the_api_can_be_asked() {
    let (server, platform) = platform().await;
    answer(
        &server,
        "GET",
        "/v2/flows",
        json_answer(&json!({"data": []})),
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
    answer(&server, "POST", ROUTE, ResponseTemplate::new(201)).await;
    answer(&server, "DELETE", ROUTE, ResponseTemplate::new(204)).await;
    platform
        .store_startup_data(&json!({"webhook": 1}))
        .await
        .unwrap();
    assert_eq!(
        asked(&server).await,
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
async fn startup_data_that_is_not_there_is_an_empty_object() {
    for (response, expected) in [
        (json_answer(&json!({"webhook": 1})), json!({"webhook": 1})),
        (json_answer(&json!({})), json!({})),
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

/// Posts a result to an address with this user-info; gives what the server got.
async fn post(user_info: &str, responses: &[u16]) -> (Result<(), PlatformError>, Vec<Request>) {
    let server = MockServer::start().await;
    for status in responses {
        Mock::given(any())
            .respond_with(ResponseTemplate::new(*status))
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let url = server
        .uri()
        .replace("http://", &format!("http://{user_info}"))
        + "/result?execution=1";
    let target = ResultTarget {
        url: url.into(),
        attempts: 3,
        retry_delay: Duration::from_millis(1),
    };
    let result = post_result(
        &http::client().unwrap(),
        &target,
        "success",
        &json!({"verified": true}),
    )
    .await;
    (result, server.received_requests().await.unwrap())
}

#[tokio::test]
async fn a_result_is_posted_with_the_addresss_own_credentials() {
    for (user_info, expected) in [
        ("", None),
        ("us%40er:p%3Aw@", Some("us@er:p:w")),
        ("user@", None),
        ("user:@", None),
        (":pw@", None),
    ] {
        let (result, requests) = post(user_info, &[201]).await;
        result.unwrap();
        assert_eq!(
            authorization(&requests[0]).as_deref(),
            expected,
            "{user_info}"
        );
        assert_eq!(
            (requests[0].url.path(), requests[0].url.query()),
            ("/result", Some("execution=1")),
            "{user_info}"
        );
        let body: Value = requests[0].body_json().unwrap();
        assert_eq!(
            body,
            json!({"status": "success", "data": {"verified": true}})
        );
    }
}

#[tokio::test]
async fn a_retried_result_is_identical() {
    let (result, requests) = post("", &[500, 503, 500]).await;
    assert_eq!(
        result.unwrap_err().status(),
        Some(StatusCode::INTERNAL_SERVER_ERROR)
    );
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request.body == requests[0].body)
    );
}

#[tokio::test]
async fn a_rejected_result_shows_no_credentials() {
    let (result, requests) = post("user:top-secret@", &[400]).await;
    assert_eq!(requests.len(), 1);
    assert_eq!(
        result.unwrap_err().to_string(),
        "posting the result failed: 400 Bad Request"
    );
}

#[tokio::test]
async fn nothing_prints_the_key() {
    let (_server, platform) = platform().await;
    assert!(!format!("{platform:?}").contains("top-secret"));
}

#[tokio::test]
async fn calls_can_be_made_from_a_task_of_their_own() {
    let (server, platform) = platform().await;
    Mock::given(any())
        .respond_with(json_answer(&json!({})))
        .mount(&server)
        .await;
    tokio::spawn(async move { platform.step().await.map(drop) })
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_configuration_over_the_limit_names_the_setting() {
    let large = json_answer(
        &json!({ "config": { "a": "x".repeat(4000) }, "data": { "id": "x".repeat(4000) } }),
    );
    let (server, platform) = platform().await;
    Mock::given(any()).respond_with(large).mount(&server).await;
    for error in [
        platform.step().await.map(drop).unwrap_err(),
        platform.account("acc1").await.map(drop).unwrap_err(),
        platform.secret("s1").await.map(drop).unwrap_err(),
        platform.refresh_secret("s1").await.map(drop).unwrap_err(),
        platform.startup_data().await.map(drop).unwrap_err(),
    ] {
        let error = error.to_string();
        let told = "larger than the limit of 4000 bytes (raise ELASTICIO_CONFIGURATION_SIZE_LIMIT";
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(asked(&server).await.len(), 5, "asked again");
    // What only tells a state has a limit of its own; where nothing of it is needed there is none.
    platform.update_account("acc1", &json!({})).await.unwrap();
    platform.store_startup_data(&json!({})).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_tells_a_state_is_read_up_to_1_mib() {
    let (server, platform) = platform().await;
    let answer = |size| {
        ResponseTemplate::new(200)
            .set_body_json(json!({"put_url": "x".repeat(size), "get_url": "g"}))
    };
    Mock::given(any())
        .respond_with(answer(5000))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(answer(1 << 20))
        .mount(&server)
        .await;
    platform.signed_url().await.unwrap();
    let error = platform.signed_url().await.unwrap_err().to_string();
    assert!(
        error.ends_with("larger than the limit of 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn attempts_follow_the_variable_or_last_30_seconds() {
    let ms = Duration::from_millis;
    for (attempts, delay, expected) in [
        (None, None, (None, ms(200), ms(4000))),
        (Some(3), None, (Some(3), ms(300), ms(300))),
        (None, Some(ms(50)), (None, ms(50), ms(50))),
        (Some(7), Some(ms(50)), (Some(7), ms(50), ms(50))),
    ] {
        let policy = policy(attempts, delay, ms(300));
        assert_eq!(
            (
                policy.retry.attempts,
                policy.retry.delay,
                policy.retry.max_delay
            ),
            expected,
            "{attempts:?} {delay:?}"
        );
    }
}

#[test]
fn without_a_delay_variable_attempts_are_a_second_apart() {
    let platform = |attempts, retry_delay| {
        let (uri, username) = ("http://platform".into(), "user".into());
        let api = ApiSettings {
            uri,
            username,
            key: "k".into(),
            attempts,
            retry_delay,
            configuration_limit: 4000,
        };
        Platform::new(http::client().unwrap(), &api, "flow", "step", "ws")
    };
    let ms = Duration::from_millis;
    for (attempts, delay, own, hooks, quick) in [
        (
            Some(4),
            None,
            (Some(4), ms(1000)),
            (Some(4), ms(100)),
            (Some(3), ms(100)),
        ),
        (
            Some(2),
            Some(ms(5)),
            (Some(2), ms(5)),
            (Some(2), ms(5)),
            (Some(2), ms(5)),
        ),
        (
            None,
            Some(ms(700)),
            (None, ms(700)),
            (None, ms(700)),
            (Some(3), ms(100)),
        ),
        (
            None,
            None,
            (None, ms(200)),
            (None, ms(200)),
            (Some(3), ms(100)),
        ),
    ] {
        let platform = platform(attempts, delay);
        let of = |policy: &RequestPolicy| (policy.retry.attempts, policy.retry.delay);
        assert_eq!(
            (of(&platform.policy), of(&platform.hook_policy)),
            (own, hooks),
            "{attempts:?} {delay:?}"
        );
        let policy = platform.quickly().policy;
        assert_eq!(
            (of(&policy), policy.retry.max_delay),
            (quick, quick.1),
            "{attempts:?} {delay:?}"
        );
    }
}

#[tokio::test]
async fn quick_calls_of_a_patient_platform_end_with_the_third_try() {
    let (server, platform) = platform().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(503))
        .mount(&server)
        .await;
    let policy = RequestPolicy::for_outages(TRY_TIMEOUT);
    let quick = Platform { policy, ..platform }.quickly();
    quick.step().await.unwrap_err();
    quick.update_account("acc", &json!({})).await.unwrap_err();
    assert_eq!(asked(&server).await.len(), 6);
}
