//! The platform's REST API as a component meets it.

use emulator::platform::{Fault, Platform, PlatformConfig, Step};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

async fn platform() -> (Platform, Client) {
    let platform = Platform::start(PlatformConfig::default()).await.unwrap();
    let step = Step {
        config: json!({"_account": "acc", "field": 1, "token": "old"}),
        ..Step::default()
    };
    platform.set_step("flow", step);
    (platform, Client::new())
}

fn basic(request: RequestBuilder) -> RequestBuilder {
    request.basic_auth("emulator-user", Some("emulator-key"))
}

fn bearer(request: RequestBuilder) -> RequestBuilder {
    request.bearer_auth("emulator-storage-token")
}

async fn json_of(response: Response) -> Value {
    response.json().await.unwrap()
}

async fn reason_of(response: Response) -> String {
    let body = json_of(response).await;
    assert_eq!(body["error"], body["errors"][0]["detail"]);
    body["error"].as_str().unwrap().to_owned()
}

const STARTUP: &str = "/sailor-support/hooks/task/flow/startup/data";

#[tokio::test]
async fn missing_credentials_are_401_with_a_reason() {
    let (platform, client) = platform().await;
    for (method, path) in [
        (Method::GET, "/v1/tasks/flow/steps/step_1"),
        (Method::GET, "/v1/accounts/acc"),
        (Method::PUT, "/v1/accounts/acc"),
        (Method::GET, STARTUP),
        (Method::GET, "/v2/workspaces/ws/secrets/s"),
        (Method::POST, "/v2/workspaces/ws/secrets/s/refresh"),
        (Method::POST, "/v2/resources/storage/signed-url"),
        (Method::POST, "/result/exec"),
        (Method::POST, "/objects"),
        (Method::GET, "/objects/1"),
    ] {
        let request = || client.request(method.clone(), platform.url() + path);
        for request in [
            request(),
            request().basic_auth("emulator-user", Some("wrong")),
            request().bearer_auth("wrong"),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path}");
            assert!(
                reason_of(response).await.contains("ELASTICIO_"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_endpoint_is_501_by_name() {
    let (platform, client) = platform().await;
    for (method, path) in [
        (Method::GET, "/v1/unheard/of"),
        (Method::PATCH, "/v1/accounts/acc"),
        (Method::GET, "/"),
    ] {
        let response = basic(client.request(method.clone(), platform.url() + path))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 501);
        assert_eq!(
            reason_of(response).await,
            format!("the emulator has no {method} {path}")
        );
    }
}

#[tokio::test]
async fn a_malformed_body_is_400_with_the_reason() {
    let (platform, client) = platform().await;
    for (method, path, body, reason) in [
        (
            Method::PUT,
            "/v1/accounts/acc",
            "{\"keys\": ",
            "the body is not JSON: line 1, column 9",
        ),
        (
            Method::PUT,
            "/v1/accounts/acc",
            "[]",
            "the body must be a JSON object, it is a list",
        ),
        (
            Method::PUT,
            "/v1/accounts/acc",
            "{}",
            "the body has no member \"keys\"",
        ),
        (
            Method::PUT,
            "/v1/accounts/acc",
            "{\"keys\": 1}",
            "\"keys\" must be an object, it is a number",
        ),
        (
            Method::POST,
            STARTUP,
            "",
            "the body is not JSON: line 1, column 0",
        ),
        (
            Method::POST,
            "/result/exec",
            "{\"status\": \"ok\"}",
            "\"status\" must be \"success\" or \"error\"",
        ),
        (
            Method::POST,
            "/sample/items",
            "{\"name\": \"\"}",
            "an item needs a \"name\", a text that is not empty",
        ),
    ] {
        let request = basic(client.request(method, platform.url() + path));
        let response = request
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{path} {body}");
        assert_eq!(reason_of(response).await, reason);
    }
}

#[tokio::test]
async fn a_wrong_content_type_is_400() {
    let (platform, client) = platform().await;
    let response = basic(client.put(platform.url() + "/v1/accounts/acc"))
        .body("{\"keys\":{}}")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    assert!(
        reason_of(response)
            .await
            .starts_with("the content type must be application/json")
    );
}

#[tokio::test]
async fn a_step_has_all_members_that_sailors_need() {
    let (platform, client) = platform().await;
    let step = Step {
        id: "s2".into(),
        comp_id: "comp".into(),
        function: "f".into(),
        config: json!({"a": 1}),
        snapshot: json!({"last": 2}),
        is_passthrough: true,
        variables: json!({"v": 3}),
        ..Step::default()
    };
    platform.set_step("flow", step);
    let response = basic(client.get(platform.url() + "/v1/tasks/flow/steps/s2"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let expected = json!({"id": "s2", "comp_id": "comp", "function": "f", "config": {"a": 1}, "snapshot": {"last": 2},
        "is_passthrough": true, "variables": {"v": 3}});
    assert_eq!(json_of(response).await, expected);
}

#[tokio::test]
async fn missing_things_are_404_by_name() {
    let (platform, client) = platform().await;
    for request in [
        basic(client.get(platform.url() + "/v1/tasks/flow/steps/none")),
        basic(client.get(platform.url() + "/v1/tasks/none/steps/step_1")),
        basic(
            client
                .put(platform.url() + "/v1/accounts/none")
                .json(&json!({"keys": {}})),
        ),
        basic(client.get(platform.url() + "/v2/workspaces/ws/secrets/none")),
        bearer(client.get(platform.url() + "/objects/none")),
        bearer(client.put(platform.url() + "/objects/none")),
        bearer(client.delete(platform.url() + "/objects/none")),
        client.get(platform.url() + "/sample/items/none"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 404, "{}", response.url());
        assert!(reason_of(response).await.contains("none"));
    }
}

#[tokio::test]
async fn updated_keys_are_merged_into_account_and_step() {
    let (platform, client) = platform().await;
    let keys = |keys: Value| {
        basic(client.put(platform.url() + "/v1/accounts/acc"))
            .json(&json!({"keys": keys}))
            .send()
    };
    assert_eq!(
        keys(json!({"token": "new", "refresh": "r1"}))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(keys(json!({"refresh": "r2"})).await.unwrap().status(), 200);

    let account = basic(client.get(platform.url() + "/v1/accounts/acc"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        json_of(account).await["keys"],
        json!({"token": "new", "refresh": "r2"})
    );
    let step = basic(client.get(platform.url() + "/v1/tasks/flow/steps/step_1"))
        .send()
        .await
        .unwrap();
    let config = json!({"_account": "acc", "field": 1, "token": "new", "refresh": "r2"});
    assert_eq!(json_of(step).await["config"], config);
}

#[tokio::test]
async fn a_deleted_account_is_404_and_leaves_the_step() {
    let (platform, client) = platform().await;
    let url = platform.url() + "/v1/accounts/acc";
    let put = || {
        basic(client.put(&url))
            .json(&json!({"keys": {"token": "new"}}))
            .send()
    };
    assert_eq!(put().await.unwrap().status(), 200);
    assert!(platform.delete_account("acc"));
    assert_eq!(put().await.unwrap().status(), 404);
    assert_eq!(basic(client.get(&url)).send().await.unwrap().status(), 404);
    let step = basic(client.get(platform.url() + "/v1/tasks/flow/steps/step_1"))
        .send()
        .await
        .unwrap();
    assert_eq!(json_of(step).await["config"]["token"], "old");
    assert!(!platform.delete_account("acc"));
}

#[tokio::test]
async fn startup_data_cannot_be_posted_twice() {
    let (platform, client) = platform().await;
    let url = platform.url() + STARTUP;
    let post = || {
        basic(client.post(&url))
            .json(&json!({"subscription": 1}))
            .send()
    };
    assert_eq!(
        json_of(basic(client.get(&url)).send().await.unwrap()).await,
        json!({})
    );
    assert_eq!(post().await.unwrap().status(), 201);
    assert_eq!(post().await.unwrap().status(), 409);
    assert_eq!(
        json_of(basic(client.get(&url)).send().await.unwrap()).await,
        json!({"subscription": 1})
    );
    assert_eq!(
        basic(client.delete(&url)).send().await.unwrap().status(),
        204
    );
    assert_eq!(platform.startup_data("flow"), None);
    assert_eq!(post().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_refreshed_secret_merges_its_next_credentials() {
    let (platform, client) = platform().await;
    let credentials = json!({"access_token": "a1", "refresh_token": "r"});
    let refreshed = vec![json!({"access_token": "a2"}), json!({"access_token": "a3"})];
    platform.set_secret("ws", "s", credentials.clone(), refreshed);
    let url = platform.url() + "/v2/workspaces/ws/secrets/s";
    let refresh = || basic(client.post(format!("{url}/refresh"))).send();

    let secret = json_of(basic(client.get(&url)).send().await.unwrap()).await;
    assert_eq!(secret["data"]["type"], "auth-secret");
    assert_eq!(secret["data"]["attributes"]["credentials"], credentials);
    let merged = json!({"access_token": "a2", "refresh_token": "r"});
    assert_eq!(
        json_of(refresh().await.unwrap()).await["data"][0]["attributes"]["credentials"],
        merged
    );
    assert_eq!(platform.secret("ws", "s"), Some(merged));
    platform.return_bare_refreshed_secrets(true);
    let bare = json_of(refresh().await.unwrap()).await;
    assert_eq!(
        bare["data"]["attributes"]["credentials"]["access_token"],
        "a3"
    );
    assert_eq!(refresh().await.unwrap().status(), 422);
}

#[tokio::test]
async fn objects_can_be_replaced_and_deleted() {
    let (platform, client) = platform().await;
    let raw: Vec<u8> = (0..=255).collect();
    let posted = bearer(client.post(platform.url() + "/objects"))
        .body(raw.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 201);
    let id = json_of(posted).await["objectId"]
        .as_str()
        .unwrap()
        .to_owned();
    let url = format!("{}/objects/{id}?storage_type=maester", platform.url());

    assert_eq!(
        bearer(client.get(&url))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        raw
    );
    assert_eq!(
        bearer(client.put(&url))
            .body("new")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(platform.object(&id).unwrap(), "new");
    assert_eq!(
        bearer(client.delete(&url)).send().await.unwrap().status(),
        204
    );
    assert_eq!(bearer(client.get(&url)).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_signed_url_stores_without_credentials() {
    let (platform, client) = platform().await;
    let signed = basic(client.post(platform.url() + "/v2/resources/storage/signed-url"))
        .send()
        .await
        .unwrap();
    let signed = json_of(signed).await;
    let (put_url, get_url) = (
        signed["put_url"].as_str().unwrap(),
        signed["get_url"].as_str().unwrap(),
    );
    assert_eq!(client.get(get_url).send().await.unwrap().status(), 404);
    let put = client
        .put(put_url)
        .header("content-type", "text/csv")
        .body("a,b")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    let got = client.get(get_url).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "text/csv");
    assert_eq!(got.text().await.unwrap(), "a,b");
    assert_eq!(
        client
            .put(platform.url() + "/signed/made-up")
            .body("x")
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn a_posted_result_is_kept() {
    let (platform, client) = platform().await;
    let result = json!({"status": "success", "data": {"verified": true}});
    let response = client
        .post(platform.result_url("exec-1"))
        .json(&result)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let results = platform.results();
    assert_eq!(
        (results[0].exec.as_str(), results[0].success),
        ("exec-1", true)
    );
    assert_eq!(results[0].data, json!({"verified": true}));
}

#[tokio::test]
async fn calls_are_recorded_in_order() {
    let (platform, client) = platform().await;
    basic(client.get(platform.url() + "/v1/accounts/acc?x=1"))
        .send()
        .await
        .unwrap();
    bearer(client.post(platform.url() + "/objects"))
        .json(&json!({"a": 1}))
        .send()
        .await
        .unwrap();
    client
        .get(platform.url() + "/nowhere")
        .send()
        .await
        .unwrap();
    let calls = platform.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|c| {
            (
                c.line(),
                c.credentials().unwrap_or_default(),
                c.json(),
                c.status,
            )
        })
        .collect();
    let expected = [
        (
            "GET /v1/accounts/acc?x=1".into(),
            "emulator-user:emulator-key".into(),
            None,
            Some(200),
        ),
        (
            "POST /objects".into(),
            "Bearer emulator-storage-token".into(),
            Some(json!({"a": 1})),
            Some(201),
        ),
        ("GET /nowhere".into(), String::new(), None, Some(501)),
    ];
    assert_eq!(seen, expected);
    assert!(!format!("{calls:?}").contains("emulator-key"));
}

#[tokio::test]
async fn ordered_faults_are_used_once_each() {
    let (platform, client) = platform().await;
    platform.inject_faults(
        "GET /v1/accounts",
        [Fault::Status(503), Fault::DropBefore, Fault::Status(429)],
    );
    let get = |path: &str| basic(client.get(platform.url() + path)).send();

    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 503);
    assert_eq!(
        get("/v1/tasks/flow/steps/step_1").await.unwrap().status(),
        200
    );
    // A client of its own, on a fresh connection: when a kept one is cut, clients may try again by themselves.
    assert!(
        basic(Client::new().get(platform.url() + "/v1/accounts/acc"))
            .send()
            .await
            .is_err()
    );
    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 429);
    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 200);
    let statuses: Vec<_> = platform
        .called("/v1/accounts", 4)
        .await
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [Some(503), None, Some(429), Some(200)]);
}

#[tokio::test]
async fn a_hanging_call_gets_no_response() {
    let (platform, client) = platform().await;
    platform.inject_faults("GET /v1/accounts", [Fault::Hang]);
    let request =
        basic(client.get(platform.url() + "/v1/accounts/acc")).timeout(Duration::from_secs(30));
    let call = tokio::spawn(request.send());
    assert_eq!(platform.called("GET /v1/accounts", 1).await[0].status, None);
    assert!(!call.is_finished());
    platform.shutdown().await;
    assert!(!call.await.unwrap().unwrap_err().is_timeout());
}

#[tokio::test]
async fn called_waits_for_the_call_and_its_status() {
    let (platform, client) = platform().await;
    let waiting = tokio::spawn({
        let platform = platform.clone();
        async move { platform.called("^PUT /v1/accounts/acc$", 1).await }
    });
    basic(client.put(platform.url() + "/v1/accounts/acc"))
        .json(&json!({"keys": {"k": 1}}))
        .send()
        .await
        .unwrap();
    let calls = waiting.await.unwrap();
    assert_eq!(
        (calls[0].status, calls[0].json()),
        (Some(200), Some(json!({"keys": {"k": 1}})))
    );
}

#[tokio::test]
async fn paging_sample_items_lists_each_change_once() {
    let (platform, client) = platform().await;
    let (mut page, mut ids) = (1, Vec::new());
    loop {
        let url = format!(
            "{}/sample/items?updated_since=2026-01-01T05:00:00Z&limit=8&page={page}",
            platform.url()
        );
        let answer = json_of(client.get(url).send().await.unwrap()).await;
        ids.extend(
            answer["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match answer["next_page"].as_u64() {
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
    let answer = json_of(client.get(since).send().await.unwrap()).await;
    assert_eq!(answer["items"], json!([json_of(created).await]));
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
