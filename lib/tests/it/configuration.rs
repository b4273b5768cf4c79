//! One image for any provider: base URL and profile by field or by environment.

use super::{Rig, error_text};
use emulator::provider::{Knobs, Provider};
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
