//! The API that the tokens are for.

use crate::{client, provider, text};
use emulator::provider::{ApiErrorStyle, Knobs, PreparedResponse};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_call_without_a_valid_token_gets_an_rfc_6750_challenge() {
    let provider = provider(Knobs::default()).await;
    let url = provider.api_url() + "/me";
    let bare = r#"Bearer realm="emulator""#;
    let invalid = r#"error="invalid_token""#;
    for (request, status, challenge, has) in [
        (client().get(&url), 401, bare, true),
        (
            client().get(&url).basic_auth("a", Some("b")),
            401,
            bare,
            true,
        ),
        (client().get(&url), 401, "error=", false),
        (
            client().get(&url).bearer_auth("unknown-token"),
            401,
            invalid,
            true,
        ),
        (
            client().get(url.clone() + "?access_token=x"),
            400,
            r#"error="invalid_request""#,
            true,
        ),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let found = response.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(found.contains(challenge), has, "{found}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_in_the_configured_way() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue_expired();
    for (unauthorized, body) in [
        (
            ApiErrorStyle {
                status: 400,
                challenges: vec![],
                body: "<x>InvalidSessionId</x>".into(),
            },
            "<x>InvalidSessionId</x>",
        ),
        (
            ApiErrorStyle {
                status: 403,
                challenges: vec![],
                body: json!({"code": 602}),
            },
            r#"{"code":602}"#,
        ),
    ] {
        provider.knobs(|knobs| knobs.unauthorized = unauthorized.clone());
        let request = client()
            .get(provider.api_url() + "/me")
            .bearer_auth(text(&record, "access_token"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), unauthorized.status);
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(response.text().await.unwrap(), body);
    }
}

#[tokio::test]
async fn new_tokens_can_be_refused_too() {
    let provider = provider(Knobs {
        refuse_all: true,
        ..Knobs::default()
    })
    .await;
    let record = provider.issue();
    assert_eq!(
        crate::me(&provider, text(&record, "access_token")).await,
        401
    );
    assert!(provider.is_valid(text(&record, "access_token")));
}

#[tokio::test]
async fn only_the_configured_scheme_is_accepted() {
    let provider = provider(Knobs::preset("zoho").unwrap()).await;
    let record = provider.issue();
    let request = || client().get(provider.api_url() + "/me");
    let good = request().header(
        "authorization",
        format!("Zoho-oauthtoken {}", text(&record, "access_token")),
    );
    assert_eq!(good.send().await.unwrap().status(), 200);
    assert_eq!(
        request()
            .bearer_auth(text(&record, "access_token"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test]
async fn echo_returns_the_request_without_the_token() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let request = client()
        .request(Method::PATCH, provider.api_url() + "/echo/a%20b?c=d")
        .bearer_auth(text(&record, "access_token"));
    let echo: Value = request
        .header("x-own", "1")
        .body("text")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(echo["method"], "PATCH");
    assert_eq!(
        (&echo["path"], &echo["query"], &echo["body"]),
        (&json!("/api/echo/a%20b"), &json!("c=d"), &json!("text"))
    );
    assert_eq!(
        (&echo["headers"]["x-own"], &echo["host"]),
        (&json!("1"), &json!(provider.addr().to_string()))
    );
    assert!(!echo.to_string().contains(text(&record, "access_token")));
}

#[tokio::test]
async fn the_log_lists_calls_with_every_authorization() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "access_token");
    let items = provider.api_url() + "/items";
    let created = client()
        .post(&items)
        .bearer_auth(token)
        .json(&json!({"name": "n"}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            created.status().as_u16(),
            created.json::<Value>().await.unwrap()
        ),
        (201, json!({"name": "n", "id": "item-4"}))
    );
    let listed: Value = client()
        .get(&items)
        .bearer_auth("other")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed["error"], "invalid_token");
    let calls = provider.api_calls();
    assert_eq!(
        (
            calls[0].method.as_str(),
            calls[0].path.as_str(),
            calls[0].status
        ),
        ("POST", "/api/items", Some(201))
    );
    assert_eq!(
        (&calls[0].body[..], calls[1].token.as_deref()),
        (&br#"{"name":"n"}"#[..], Some("other"))
    );
    assert_eq!(
        provider.authorizations(),
        [format!("Bearer {token}"), "Bearer other".to_owned()]
    );
}

#[tokio::test]
async fn resources_behave_like_a_rest_api() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    for (method, path, status) in [
        (Method::GET, "/me", 200),
        (Method::GET, "/items", 200),
        (Method::DELETE, "/items/item-1", 204),
        (Method::GET, "/nothing", 404),
    ] {
        let request = client()
            .request(method, provider.api_url() + path)
            .bearer_auth(text(&record, "access_token"));
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            status,
            "{path}"
        );
    }
    let elsewhere = client()
        .get(provider.url() + "/elsewhere")
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 501);
}

#[tokio::test]
async fn own_routes_come_before_the_samples_and_need_a_token() {
    let provider = provider(Knobs::default()).await;
    let own = provider.clone();
    provider.respond(
        "GET /api/items$",
        [
            PreparedResponse::status(503),
            PreparedResponse::json(200, &json!({"items": []})),
        ],
    );
    // A handler sees the call, and may use the provider.
    provider.handle("POST /api/orders$", move |call| {
        own.expire_access_tokens();
        PreparedResponse::json(201, &json!({"order": call.json()}))
    });
    provider.handle_without_token("GET /api/status$", |_| PreparedResponse::ok("up"));
    let token = provider.issue();
    let token = text(&token, "access_token");
    let send = async |method: Method, path: &str, token: Option<&str>| {
        let mut request = client().request(method, provider.api_url() + path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.body(r#"{"n":1}"#).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(send(Method::GET, "/items", None).await.0, 401);
    assert_eq!(send(Method::GET, "/items", Some("other")).await.0, 401);
    assert_eq!(send(Method::GET, "/items", Some(token)).await.0, 503);
    for _ in 0..2 {
        let (status, body) = send(Method::GET, "/items", Some(token)).await;
        assert_eq!((status, &*body), (200, r#"{"items":[]}"#));
    }
    // Other resources stay.
    assert_eq!(send(Method::GET, "/me", Some(token)).await.0, 200);
    let (status, body) = send(Method::POST, "/orders", Some(token)).await;
    assert_eq!((status, &*body), (201, r#"{"order":{"n":1}}"#));
    assert_eq!(send(Method::GET, "/me", Some(token)).await.0, 401);
    let (status, body) = send(Method::GET, "/status", None).await;
    assert_eq!((status, &*body), (200, "up"));
    assert_eq!(provider.api_calls().len(), 9);
}
