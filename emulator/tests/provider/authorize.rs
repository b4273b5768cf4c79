//! The authorization code flow with PKCE, and revocation.

use crate::{
    Clock, ID, SECOND, SECRET, access_token, client, me, provider, refresh, refresh_token, text,
    token_call,
};
use emulator::provider::{Fault, Knobs, Provider};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BACK: &str = "http://127.0.0.1:4711/callback";
/// Verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const REQUEST: [(&str, &str); 6] = [
    ("response_type", "code"),
    ("client_id", ID),
    ("redirect_uri", BACK),
    ("state", "the state"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// The request with some parameters replaced; an empty value removes one.
fn request<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut parameters: BTreeMap<&str, &str> =
        REQUEST.into_iter().chain(changes.iter().copied()).collect();
    parameters.retain(|_, value| !value.is_empty());
    parameters.into_iter().collect()
}

/// Status, and the parameters of the redirect back to the client.
async fn authorize(
    provider: &Provider,
    parameters: &[(&str, &str)],
) -> (u16, BTreeMap<String, String>) {
    let response = client()
        .get(provider.authorize_url())
        .query(parameters)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let back = response
        .headers()
        .get("location")
        .map(|location| location.to_str().unwrap().to_owned());
    let back = back.map(|location| reqwest::Url::parse(&location).unwrap());
    let pairs = back
        .iter()
        .flat_map(|url| url.query_pairs().into_owned())
        .collect();
    assert!(back.is_none_or(|url| url.as_str().starts_with(BACK)));
    (status, pairs)
}

async fn exchange(provider: &Provider, code: &str, changes: &[(&str, &str)]) -> (u16, Value) {
    let mut form: BTreeMap<&str, &str> = BTreeMap::from([
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
        ("client_id", ID),
        ("client_secret", SECRET),
    ]);
    form.extend(changes.iter().copied());
    form.retain(|_, value| !value.is_empty());
    token_call(provider, &form.into_iter().collect::<Vec<_>>()).await
}

#[tokio::test]
async fn a_pkce_code_exchange_creates_a_grant() {
    let provider = provider(Knobs::default()).await;
    let (status, back) = authorize(&provider, &request(&[("scope", "read")])).await;
    assert_eq!(
        (status, back["state"].as_str(), back["iss"].clone()),
        (302, "the state", provider.url())
    );
    let (status, response) = exchange(&provider, &back["code"], &[]).await;
    assert_eq!((status, &response["scope"]), (200, &json!("read")));
    assert_eq!(me(&provider, access_token(&response)).await, 200);
    assert_eq!(refresh(&provider, refresh_token(&response)).await.0, 200);
    for secret in [back["code"].as_str(), VERIFIER] {
        assert!(provider.secrets().iter().any(|known| known == secret));
    }
}

#[tokio::test]
async fn a_reused_code_revokes_its_tokens() {
    let provider = provider(Knobs::default()).await;
    let (_, back) = authorize(&provider, &REQUEST).await;
    let (_, response) = exchange(&provider, &back["code"], &[]).await;
    let (status, refused) = exchange(&provider, &back["code"], &[]).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_grant")));
    assert_eq!(me(&provider, access_token(&response)).await, 401);
}

#[tokio::test]
async fn a_failed_code_exchange_keeps_the_code() {
    let provider = provider(Knobs::default()).await;
    let (_, back) = authorize(&provider, &REQUEST).await;
    for (changes, error) in [
        (("code_verifier", ""), "invalid_request"),
        (("code_verifier", "too short"), "invalid_request"),
        (
            (
                "code_verifier",
                "another-verifier-that-is-as-long-as-it-must-be",
            ),
            "invalid_grant",
        ),
        (
            ("redirect_uri", "http://127.0.0.1:4711/other"),
            "invalid_grant",
        ),
        (("redirect_uri", ""), "invalid_request"),
        (("client_secret", "wrong"), "invalid_client"),
    ] {
        let (_, response) = exchange(&provider, &back["code"], &[changes]).await;
        assert_eq!(response["error"], error, "{changes:?}");
    }
    assert_eq!(exchange(&provider, &back["code"], &[]).await.0, 200);
}

#[tokio::test]
async fn an_expired_code_is_refused() {
    let provider = provider(Knobs::default()).await;
    let clock = Clock::pause();
    let (_, back) = authorize(&provider, &REQUEST).await;
    clock.advance(60 * SECOND).await;
    assert_eq!(
        exchange(&provider, &back["code"], &[]).await.1["error_description"],
        "this code is expired"
    );
}

#[tokio::test]
async fn an_invalid_request_of_a_known_client_is_redirected_back() {
    let provider = provider(Knobs::default()).await;
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("state", ""), "invalid_request"),
    ] {
        let (status, back) = authorize(&provider, &request(&[change])).await;
        assert_eq!(
            (status, back["error"].as_str(), back.get("code")),
            (302, error, None),
            "{change:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_redirect_uri_is_refused_in_place() {
    let provider = provider(Knobs::default()).await;
    for change in [
        ("client_id", "other"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://example.com/"),
        ("redirect_uri", "http://localhost:1/"),
        ("redirect_uri", "http://127.0.0.1:1/#fragment"),
    ] {
        let (status, back) = authorize(&provider, &request(&[change])).await;
        assert_eq!((status, back.len()), (400, 0), "{change:?}");
    }
}

#[tokio::test]
async fn the_authorization_knobs_change_the_response() {
    let provider = provider(Knobs {
        deny: Some("access_denied".into()),
        ..Knobs::default()
    })
    .await;
    let (_, back) = authorize(&provider, &REQUEST).await;
    assert_eq!(
        (
            back["error"].as_str(),
            back["state"].as_str(),
            back.get("code")
        ),
        ("access_denied", "the state", None)
    );

    provider.knobs(|knobs| {
        *knobs = Knobs {
            state: Some("other".into()),
            iss: Some("http://127.0.0.1:1".into()),
            ..Knobs::default()
        };
    });
    let (_, back) = authorize(&provider, &REQUEST).await;
    assert_eq!(
        (back["state"].as_str(), back["iss"].as_str()),
        ("other", "http://127.0.0.1:1")
    );

    provider.knobs(|knobs| (knobs.iss, knobs.require_pkce) = (Some(String::new()), false));
    let (_, back) = authorize(
        &provider,
        &request(&[("code_challenge", ""), ("code_challenge_method", "")]),
    )
    .await;
    assert_eq!(back.get("iss"), None);
    assert_eq!(
        exchange(&provider, &back["code"], &[("code_verifier", "")])
            .await
            .0,
        200
    );
}

async fn revoke(provider: &Provider, token: &str, secret: &str) -> u16 {
    let form = [
        ("token", token),
        ("client_id", ID),
        ("client_secret", secret),
    ];
    client()
        .post(provider.revoke_url())
        .form(&form)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn revoking_a_refresh_token_revokes_its_grant() {
    let provider = provider(Knobs::default()).await;
    let (record, other) = (provider.issue(), provider.issue());
    assert_eq!(
        revoke(&provider, text(&other, "access_token"), SECRET).await,
        200
    );
    assert_eq!(me(&provider, text(&other, "access_token")).await, 401);
    assert!(provider.is_spendable(text(&other, "refresh_token")));

    assert_eq!(
        revoke(&provider, text(&record, "refresh_token"), SECRET).await,
        200
    );
    assert!(!provider.is_spendable(text(&record, "refresh_token")));
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
}

#[tokio::test]
async fn revoking_an_unknown_token_succeeds() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    assert_eq!(revoke(&provider, "never issued", SECRET).await, 200);
    assert_eq!(
        revoke(&provider, text(&record, "refresh_token"), "wrong").await,
        401
    );
    assert_eq!(revoke(&provider, "", SECRET).await, 400);
    provider.script_revoke([Fault::retry_after(503, "1")]);
    assert_eq!(
        revoke(&provider, text(&record, "refresh_token"), SECRET).await,
        503
    );
    assert!(provider.is_spendable(text(&record, "refresh_token")));
    assert_eq!(
        revoke(&provider, text(&record, "refresh_token"), SECRET).await,
        200
    );
    assert!(!provider.is_spendable(text(&record, "refresh_token")));
}
