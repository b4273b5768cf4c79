//! Verifying credentials: its requests and its results.

use super::rig::{Rig, text};
use emulator::provider::{Fault, Knobs, Provider, ProviderConfig};
use sailor::{http, oauth2::OAuth2, prelude::*, testing::Harness};
use serde_json::{Value, json};

/// A component for any API behind OAuth2, whose check is a GET request.
fn component() -> Component {
    Component::new(include_str!("../../../component.json"))
        .unwrap()
        .oauth2(OAuth2::new().base_url("{{baseUrl}}"))
        .verify_credentials(get_me)
        .action("makeRequest", request_me)
}

async fn get_me(cx: ServiceContext) -> anyhow::Result<Verified> {
    Ok(http::verify(cx.oauth().get("/me").send().await)?)
}

async fn request_me(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let me: Value = cx.oauth().get("/me").send_json().await?;
    cx.data(&me).await
}

async fn verify(rig: &Rig, base: &str, token: Value) -> anyhow::Result<Verified> {
    let component = component();
    let harness = Harness::new(&component, "makeRequest")
        .config(json!({ "baseUrl": base, "oauth": token }))
        .environment("OAUTH_CLIENT_ID", rig.provider.client_id())
        .environment("OAUTH_CLIENT_SECRET", rig.provider.client_secret())
        .environment("OAUTH_AUTH_URI", &rig.provider.authorize_url())
        .environment("OAUTH_TOKEN_URI", &rig.provider.token_url());
    rig.drive(harness.verify()).await
}

/// token-failures: T58.
#[tokio::test]
async fn verifying_a_valid_token_costs_no_refresh() {
    let rig = Rig::new(Knobs::rotating()).await;
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert_eq!(
        (verified, rig.statuses(), rig.provider.token_calls().len()),
        (Verified::Yes, vec![200], 0)
    );
}

/// token-failures: T58.
#[tokio::test]
async fn invalid_credentials_are_not_verified_with_the_reason() {
    // An expired token is refreshed.
    let rig = Rig::stale(Knobs::rotating()).await;
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert_eq!((verified, rig.provider.refreshes()), (Verified::Yes, 1));

    let refusal = |status| Fault::Json(status, json!({ "error": "no such user" }));
    for (responses, refreshes, reason) in [
        (vec![refusal(401), refusal(401)], 1, "401 Unauthorized"),
        (vec![refusal(403)], 0, "403 Forbidden"),
    ] {
        let rig = Rig::new(Knobs::rotating()).await;
        rig.provider.script_api(responses);
        let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
            .await
            .unwrap();
        let Verified::No(text) = verified else {
            panic!("{reason} is verified")
        };
        assert!(
            text.contains(reason) && text.contains("no such user"),
            "{text}"
        );
        assert_eq!(rig.provider.refreshes(), refreshes, "{reason}");
    }

    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider.revoke_all();
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert!(
        matches!(&verified, Verified::No(text) if text.contains("connect the account again")),
        "{verified:?}"
    );
}

/// token-failures: T58.
#[tokio::test]
async fn a_network_error_is_no_verification_result() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![Fault::DropBefore; 4]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("failed without a response"),
        "{error}"
    );
    rig.provider
        .script_api(vec![Fault::Json(503, json!({})); 4]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    // The token endpoint is unavailable.
    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider
        .script_token(vec![Fault::Json(503, json!({})); 3]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no access token is available"),
        "{error}"
    );
}

/// With the author's test tool.
#[tokio::test]
async fn keys_saved_by_calls_are_visible_in_tests() {
    let provider = Provider::start(ProviderConfig {
        knobs: Knobs::rotating(),
        ..ProviderConfig::default()
    })
    .await
    .unwrap();
    let component = component();
    let harness = || {
        Harness::new(&component, "makeRequest")
            .config(json!({ "baseUrl": provider.api_url(), "oauth": provider.issue_expired() }))
            .environment("OAUTH_CLIENT_ID", provider.client_id())
            .environment("OAUTH_CLIENT_SECRET", provider.client_secret())
            .environment("OAUTH_AUTH_URI", &provider.authorize_url())
            .environment("OAUTH_TOKEN_URI", &provider.token_url())
    };
    let verify = harness();
    let saved = verify.saved_keys();
    assert!(saved.all().is_empty());
    verify.verify().await.unwrap();
    assert!(provider.is_spendable(&text(&saved.all()[0]["oauth"], "refresh_token")));

    let run = harness();
    let saved = run.saved_keys();
    let emitted = run.run(json!({})).await.unwrap();
    assert_eq!(
        (
            saved.all().len(),
            emitted.data::<Value>().len(),
            provider.refreshes()
        ),
        (1, 1, 2)
    );
}
