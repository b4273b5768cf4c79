//! Credentials, unknown endpoints, and malformed requests.

use crate::{STARTUP, basic, bearer, platform, reason_of};
use reqwest::Method;
use serde_json::json;

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
