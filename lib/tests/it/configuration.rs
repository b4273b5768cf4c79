//! One image for any provider: base URL and profile by field or by environment.

use super::{Rig, error_text};
use emulator::provider::{ApiErrorStyle, ClientAuth, Fault, Knobs, Provider};
use sailor::{oauth2::Profile, testing::Emitted};
use serde_json::{Value, json};

impl Rig {
    /// A request with these fields and these variables of the environment.
    async fn deployed(&self, fields: Value, environment: &[(&str, &str)]) -> Emitted {
        let harness = self.harness("makeRequest", fields);
        let harness = environment.iter().fold(harness, |harness, (name, value)| {
            harness.environment(name, value)
        });
        harness.run(json!({ "path": "/me" })).await.unwrap()
    }
}

#[tokio::test]
async fn the_base_url_comes_from_credentials_or_environment() {
    let rig = Rig::new().await;
    let url = rig.provider.api_url();
    let elsewhere = "http://127.0.0.1:1";
    for (field, variable) in [
        (json!(url), elsewhere),
        (json!(""), url.as_str()),
        (Value::Null, url.as_str()),
    ] {
        let emitted = rig
            .deployed(json!({ "baseUrl": field }), &[("API_BASE_URL", variable)])
            .await;
        assert_eq!(
            emitted.data::<Value>()[0]["body"]["id"],
            "user-1",
            "{field} {variable}"
        );
    }
    let none = rig.deployed(json!({ "baseUrl": "" }), &[]).await;
    let remedy =
        "fill in the credential field \"baseUrl\" (or set the environment variable API_BASE_URL)";
    assert!(error_text(&none).contains(remedy), "{none:?}");
}

#[tokio::test]
async fn the_provider_comes_from_credentials_or_environment() {
    let rig = Rig::with(Knobs::preset("zoho").unwrap(), Provider::issue).await;
    for (field, variable) in [("zoho", "microsoft"), ("", "zoho")] {
        let emitted = rig
            .deployed(json!({ "provider": field }), &[("OAUTH_PROFILE", variable)])
            .await;
        assert_eq!(
            emitted.data::<Value>()[0]["status"],
            200,
            "{field} {variable}"
        );
    }
    assert!(
        rig.provider
            .authorizations()
            .iter()
            .all(|header| header.starts_with("Zoho-oauthtoken "))
    );
    let unknown = rig.deployed(json!({ "provider": "acme" }), &[]).await;
    assert!(
        error_text(&unknown).contains("there is no provider profile \"acme\"; there are:"),
        "{unknown:?}"
    );
}

/// The first one is Azure Log Analytics'. token-failures: T43.
#[tokio::test]
async fn a_field_names_further_responses_for_expired_tokens() {
    for (status, body, field, variable) in [
        (
            403,
            json!({ "error": { "code": "TokenExpired" } }),
            "403 tokenexpired",
            "",
        ),
        (419, json!("Page Expired"), "", "403 token; 419"),
        (
            200,
            json!({ "status": "SESSION GONE" }),
            "401;200 session gone",
            "419",
        ),
    ] {
        let knobs = Knobs {
            unauthorized: ApiErrorStyle {
                status,
                challenges: vec![],
                body,
            },
            ..Knobs::rotating()
        };
        let rig = Rig::with(knobs, Provider::issue_expired).await;
        let emitted = rig
            .deployed(
                json!({ "expiredResponses": field }),
                &[("OAUTH_EXPIRED_RESPONSES", variable)],
            )
            .await;
        assert_eq!(
            emitted.data::<Value>()[0]["body"]["id"],
            "user-1",
            "{emitted:?}"
        );
        assert_eq!(rig.statuses(), [status, 200]);
    }
    // Another 403 is a missing right.
    let rig = Rig::new().await;
    rig.provider
        .script_api([Fault::Json(403, json!({ "error": "no right" }))]);
    let fields = json!({ "expiredResponses": "403 token expired" });
    let refused = rig.deployed(fields, &[]).await;
    assert!(error_text(&refused).contains("no right"), "{refused:?}");
    assert_eq!(rig.provider.refreshes(), 0);
}

#[tokio::test]
async fn the_environment_says_how_the_client_authenticates() {
    let knobs = Knobs {
        client_auth: ClientAuth::Basic,
        ..Knobs::rotating()
    };
    let rig = Rig::with(knobs, Provider::issue_expired).await;
    rig.deployed(json!({}), &[("OAUTH_CLIENT_AUTH", "basic")])
        .await;
    assert_eq!(
        (rig.statuses(), rig.provider.refreshes()),
        (vec![401, 200], 1)
    );
    let wrong = rig
        .deployed(json!({}), &[("OAUTH_CLIENT_AUTH", "header")])
        .await;
    assert!(
        error_text(&wrong).contains("post, basic, basic_raw, none"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn wrong_responses_for_expired_tokens_are_an_error() {
    let rig = Rig::new().await;
    for (field, entry) in [
        ("403, 419", 1),
        ("403 expired; 200", 2),
        ("419; secret-1", 2),
    ] {
        let emitted = rig
            .deployed(json!({ "expiredResponses": field }), &[])
            .await;
        let text = error_text(&emitted);
        let place = "expiredResponses|OAUTH_EXPIRED_RESPONSES";
        assert!(
            text.contains(place) && text.contains(&format!("entry {entry}")),
            "{text}"
        );
        assert!(
            text.contains("403 token expired; 419") && !text.contains("secret-1"),
            "{text}"
        );
    }
    assert_eq!(rig.statuses(), [0; 0]);
}

#[tokio::test]
async fn the_base_url_can_come_from_the_token_record() {
    let rig = Rig::with(Knobs::preset("salesforce").unwrap(), |provider| {
        let mut tokens = provider.issue();
        tokens.insert("instance_url".into(), provider.api_url().into());
        tokens
    });
    let emitted = rig
        .await
        .deployed(json!({ "baseUrl": "", "provider": "salesforce" }), &[])
        .await;
    assert_eq!(
        emitted.data::<Value>()[0]["body"]["id"],
        "user-1",
        "{emitted:?}"
    );
}

#[test]
fn the_providers_to_choose_from_are_those_with_a_profile() {
    let descriptor: Value = serde_json::from_str(include_str!("../../../component.json")).unwrap();
    let model = descriptor["credentials"]["fields"]["provider"]["model"]
        .as_object()
        .unwrap();
    let mut names = Profile::built_in_names();
    names.sort_unstable();
    assert_eq!(model.keys().collect::<Vec<_>>(), names);
}
