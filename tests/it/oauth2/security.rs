//! Where a token goes, and where it does not.

use super::rig::Rig;
use emulator::provider::{Knobs, Provider, ProviderConfig, ProviderEventKind};
use sailor::oauth2::Error;
use serde_json::{Value, json};

/// Another host, which must not get a token.
async fn elsewhere() -> Provider {
    Provider::start(ProviderConfig::default()).await.unwrap()
}

/// token-failures: T56.
#[tokio::test]
async fn a_request_to_another_origin_is_not_sent() {
    let elsewhere = elsewhere().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let (own, port) = (rig.provider.addr(), rig.provider.addr().port());
    for address in [
        format!("{}/me", elsewhere.api_url()),
        format!("http://{own}@{}/api/me", elsewhere.addr()),
        format!("http://localhost:{port}/api/me"),
        format!("https://{own}/api/me"),
        "https://api.example.com/me".to_owned(),
        format!("http:\\\\{}\\api\\me", elsewhere.addr()),
        format!("\thttp://{}/api/me", elsewhere.addr()),
        "file:///etc/hostname".to_owned(),
        "data:text/plain,x".to_owned(),
    ] {
        let error = replica.client().get(&address).send().await.unwrap_err();
        assert!(matches!(error, Error::NotSent(_)), "{address}: {error}");
    }
    assert!(
        rig.provider
            .log()
            .iter()
            .all(|entry| matches!(entry.kind, ProviderEventKind::Issued { .. })),
        "{:?}",
        rig.provider.log()
    );
    assert!(elsewhere.log().is_empty());
    let error = replica
        .client()
        .get("people:batch")
        .send()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a slash in front"), "{error}");
    // This looks like another host, but is a path.
    let response: Value = replica
        .client()
        .get(format!("//{}/../echo/x", elsewhere.addr()))
        .send_json()
        .await
        .unwrap();
    assert_eq!(
        (&response["path"], elsewhere.log().len()),
        (&json!("/api/echo/x"), 0)
    );
}

/// token-failures: T56.
#[tokio::test]
async fn an_allowed_origin_gets_the_token() {
    let mut rig = Rig::new(Knobs::default()).await;
    let other = format!("http://localhost:{}", rig.provider.addr().port());
    rig.definition = rig.definition.clone().allow_origin(&other);
    let response: Value = rig
        .replica()
        .client()
        .get(format!("{other}/api/echo"))
        .send_json()
        .await
        .unwrap();
    assert_eq!(
        format!("http://{}", response["host"].as_str().unwrap()),
        other
    );
}

/// The platform's secret is read for its base URL, but its token is not sent.
/// token-failures: T56.
#[tokio::test]
async fn a_platform_secret_is_not_sent_to_another_origin() {
    let (elsewhere, rig) = (elsewhere().await, Rig::new(Knobs::default()).await);
    rig.account
        .set_secrets([Value::Object(rig.provider.issue())]);
    rig.account.set(json!({ "secretId": "secret-1" }));
    let error = rig
        .replica()
        .client()
        .get(format!("{}/me", elsewhere.api_url()))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
    assert!(
        elsewhere.log().is_empty()
            && !rig
                .account
                .secret_calls
                .lock()
                .unwrap()
                .contains(&"refresh")
    );
}
