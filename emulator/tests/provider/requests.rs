//! The format of token requests and of their responses.

use crate::{ID, SECRET, client, provider, refresh, text, token_call};
use emulator::provider::{
    BodyFormat, ClientAuth, Content, Credentials, ExpiresIn, Knobs, Provider, ProviderConfig,
};
use reqwest::Response;
use serde_json::{Map, Value, json};

async fn outcome(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn an_invalid_request_gets_the_rfc_6749_error() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    let client = [("client_id", ID), ("client_secret", SECRET)];
    let with = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        client
            .iter()
            .chain(more)
            .map(|&(name, value)| (name, value.to_owned()))
            .collect()
    };
    for (form, status, error, description) in [
        (
            with(&[]),
            400,
            "invalid_request",
            "the parameter grant_type is missing",
        ),
        (
            with(&[("grant_type", "password")]),
            400,
            "unsupported_grant_type",
            "there is no grant type \"password\" here",
        ),
        (
            with(&[("grant_type", "refresh_token")]),
            400,
            "invalid_request",
            "the parameter refresh_token is missing",
        ),
        (
            with(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("refresh_token", token),
            ]),
            400,
            "invalid_request",
            "the parameter refresh_token came twice",
        ),
        (
            with(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", "no such"),
            ]),
            400,
            "invalid_grant",
            "this refresh token was never issued here",
        ),
        (
            with(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("scope", "read admin"),
            ]),
            400,
            "invalid_scope",
            "the scope is larger than what was granted",
        ),
        (
            with(&[
                ("grant_type", "authorization_code"),
                ("code", "no such"),
                ("redirect_uri", "http://127.0.0.1/"),
            ]),
            400,
            "invalid_grant",
            "this code was never issued here",
        ),
        (
            vec![
                ("client_id", "other".into()),
                ("client_secret", SECRET.into()),
            ],
            401,
            "invalid_client",
            "this client is unknown",
        ),
        (
            vec![("client_id", ID.into()), ("client_secret", "wrong".into())],
            401,
            "invalid_client",
            "the client's secret is wrong",
        ),
        (
            vec![("client_id", ID.into())],
            401,
            "invalid_client",
            "the client's credentials are missing",
        ),
    ] {
        let form: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let response = token_call(&provider, &form).await;
        assert_eq!(
            response,
            (
                status,
                json!({"error": error, "error_description": description})
            )
        );
    }
    assert_eq!(provider.uses(token), 0, "the token was not used");
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let provider = provider(Knobs::default()).await;
    let url = provider.token_url();
    let form = [("grant_type", "refresh_token")];
    for (request, status, part) in [
        (
            client().get(&url),
            405,
            "the method must be POST, it is GET",
        ),
        (
            client().post(url.clone() + "?a=1").form(&form),
            400,
            "the URL must not have a query",
        ),
        (
            client().post(&url).json(&json!({})),
            400,
            "the content type must be application/x-www-form-urlencoded",
        ),
        (
            client().post(&url).form(&form).body("a=%"),
            400,
            "a % is not followed by two hexadecimal digits",
        ),
    ] {
        let (found, response) = outcome(request.send().await.unwrap()).await;
        assert_eq!(
            (found, &response["error"]),
            (status, &json!("invalid_request"))
        );
        assert!(
            response["error_description"]
                .as_str()
                .unwrap()
                .contains(part),
            "{response}"
        );
    }
}

/// A client whose credentials contain characters that encodings change.
async fn special(client_auth: ClientAuth) -> Provider {
    let knobs = Knobs {
        client_auth,
        ..Knobs::default()
    };
    let config = ProviderConfig {
        client_id: "i d".into(),
        client_secret: "s:e+c%41".into(),
        knobs,
        port: 0,
        ..ProviderConfig::default()
    };
    Provider::start(config).await.unwrap()
}

#[tokio::test]
async fn only_the_configured_client_authentication_is_accepted() {
    use ClientAuth::{Any, Basic, BasicRaw, None, Post};
    for (wanted, good) in [
        (Any, [true, true, false, false, false]),
        (Post, [true, false, false, false, false]),
        (Basic, [false, true, false, false, false]),
        (BasicRaw, [false, false, true, false, false]),
        (None, [false, false, false, true, false]),
    ] {
        let provider = special(wanted).await;
        let token = provider.issue()["refresh_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let refresh = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str()),
        ];
        let form = |more: &[(&'static str, &'static str)]| {
            client()
                .post(provider.token_url())
                .form(&[&refresh, more].concat())
        };
        let parameters = [("client_id", "i d"), ("client_secret", "s:e+c%41")];
        let requests = [
            form(&parameters),
            form(&[]).basic_auth("i+d", Some("s%3Ae%2Bc%2541")),
            form(&[]).basic_auth("i d", Some("s:e+c%41")),
            form(&parameters[..1]),
            form(&parameters).basic_auth("i+d", Some("s%3Ae%2Bc%2541")),
        ];
        for (way, (request, good)) in requests.into_iter().zip(good).enumerate() {
            let response = request.send().await.unwrap();
            assert_eq!(response.status() == 200, good, "{wanted:?} with way {way}");
        }
        let places: Vec<_> = provider
            .token_calls()
            .iter()
            .map(|call| call.credentials)
            .collect();
        let expected = [
            Credentials::Parameters,
            Credentials::Basic,
            Credentials::Basic,
            Credentials::None,
            Credentials::Both,
        ];
        assert_eq!(places, expected);
    }
}

#[tokio::test]
async fn credentials_in_header_and_body_are_an_invalid_request() {
    let provider = provider(Knobs::default()).await;
    let request = client()
        .post(provider.token_url())
        .form(&[("client_id", ID), ("client_secret", SECRET)]);
    let (status, response) =
        outcome(request.basic_auth(ID, Some(SECRET)).send().await.unwrap()).await;
    assert_eq!(
        (status, &response["error"]),
        (400, &json!("invalid_request"))
    );
}

#[tokio::test]
async fn a_wrong_basic_secret_gets_a_basic_challenge() {
    let provider = provider(Knobs::default()).await;
    let request = client()
        .post(provider.token_url())
        .form(&[("grant_type", "refresh_token")]);
    let response = request.basic_auth(ID, Some("wrong")).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn unmet_scope_demands_refuse_the_refresh() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let base = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&record, "refresh_token")),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<_> {
        base.iter().chain(more).copied().collect()
    };

    provider.knobs(|knobs| knobs.require_scope = true);
    assert_eq!(token_call(&provider, &base).await.0, 400);
    assert_eq!(
        token_call(&provider, &with(&[("scope", "read")])).await.0,
        200
    );

    provider.knobs(|knobs| (knobs.require_scope, knobs.forbid_scope) = (false, true));
    assert_eq!(
        token_call(&provider, &with(&[("scope", "read")])).await.1["error"],
        "invalid_scope"
    );
    assert_eq!(token_call(&provider, &base).await.0, 200);

    provider.knobs(|knobs| knobs.require_param = vec![("format".into(), "json".into())]);
    assert_eq!(
        token_call(&provider, &with(&[("format", "xml")])).await.0,
        400
    );
    assert_eq!(
        token_call(&provider, &with(&[("format", "json")])).await.0,
        200
    );
    let last = provider.token_calls().pop().unwrap();
    assert_eq!(
        last.names,
        [
            "grant_type",
            "refresh_token",
            "client_id",
            "client_secret",
            "format"
        ]
    );
    assert_eq!(
        (last.form["format"].as_str(), last.request.status),
        ("json", Some(200))
    );
}

#[tokio::test]
async fn only_the_configured_request_format_is_read() {
    let provider = provider(Knobs {
        body: BodyFormat::Json,
        ..Knobs::default()
    })
    .await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    let body = json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": ID, "client_secret": SECRET});
    let request = || client().post(provider.token_url());
    assert_eq!(
        outcome(request().json(&body).send().await.unwrap()).await.0,
        200
    );
    assert_eq!(refresh(&provider, token).await.0, 400);

    provider.knobs(|knobs| knobs.body = BodyFormat::Query);
    let query: Vec<(String, String)> = body
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
        .collect();
    assert_eq!(
        outcome(request().query(&query).send().await.unwrap())
            .await
            .0,
        200
    );
    assert_eq!(
        outcome(
            client()
                .get(provider.token_url())
                .query(&query)
                .send()
                .await
                .unwrap()
        )
        .await
        .0,
        200
    );
    assert_eq!(
        refresh(&provider, token).await.0,
        401,
        "parameters in the body are ignored"
    );
}

#[tokio::test]
async fn expires_in_is_written_in_the_configured_form() {
    let provider = provider(Knobs::default()).await;
    for (expires_in, written) in [
        (ExpiresIn::Number, Some(json!(3600))),
        (ExpiresIn::Text, Some(json!("3600"))),
        (ExpiresIn::Float, Some(json!(3600.5))),
        (ExpiresIn::FloatText, Some(json!("3600.0"))),
        (ExpiresIn::Millis, Some(json!(3_600_000))),
        (ExpiresIn::Missing, None),
        (ExpiresIn::Null, Some(Value::Null)),
        (ExpiresIn::Raw(json!("never")), Some(json!("never"))),
    ] {
        provider.knobs(|knobs| knobs.expires_in = expires_in);
        assert_eq!(provider.issue().get("expires_in").cloned(), written);
    }
}

#[tokio::test]
async fn token_responses_use_the_configured_content_type() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    for (content, content_type, is_json) in [
        (Content::Json, "application/json", true),
        (Content::TextJson, "text/plain", true),
        (Content::Form, "application/x-www-form-urlencoded", false),
        (Content::TextForm, "text/plain", false),
        // The client does not ask for JSON.
        (
            Content::AsAccepted,
            "application/x-www-form-urlencoded",
            false,
        ),
    ] {
        provider.knobs(|knobs| knobs.content = content);
        let response = crate::send_refresh(&provider, token).await.unwrap();
        assert_eq!(response.headers()["content-type"], content_type);
        let body = response.text().await.unwrap();
        let json = serde_json::from_str::<Value>(&body);
        assert_eq!(json.is_ok(), is_json, "{body}");
        assert!(
            is_json || body.contains("expires_in=3600&") && body.contains("%2B%2F%3D"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn errors_can_be_sent_with_status_200() {
    let provider = provider(Knobs::preset("github").unwrap()).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "dead"),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    let request = client()
        .post(provider.token_url())
        .header("accept", "application/json")
        .form(&form);
    let (status, response) = outcome(request.send().await.unwrap()).await;
    assert_eq!(
        (status, &response["error"]),
        (200, &json!("bad_refresh_token"))
    );
}

#[tokio::test]
async fn extra_members_are_added_to_the_response() {
    let provider = provider(Knobs::preset("salesforce").unwrap()).await;
    let record = provider.issue();
    assert_eq!(record["instance_url"], provider.api_url());
    assert_eq!(
        (record.get("expires_in"), &record["issued_at"]),
        (None, &json!("1700000000000"))
    );
}

#[tokio::test]
async fn the_token_type_is_configurable() {
    let provider = provider(Knobs {
        token_type: Some("mac".into()),
        ..Knobs::default()
    })
    .await;
    assert_eq!(provider.issue()["token_type"], "mac");
    provider.knobs(|knobs| knobs.token_type = None);
    assert!(!provider.issue().contains_key("token_type"));
}

#[tokio::test]
async fn the_metadata_names_the_endpoints() {
    let provider = provider(Knobs::default()).await;
    let url = provider.url() + "/.well-known/oauth-authorization-server";
    let metadata: Map<String, Value> = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(metadata["issuer"], provider.url());
    assert_eq!(metadata["token_endpoint"], provider.token_url());
    assert_eq!(metadata["revocation_endpoint"], provider.revoke_url());
}
