//! When a token is refreshed, and what is stored of it.

use super::rig::{Rig, text};
use emulator::provider::Knobs;
use sailor::oauth2::{Error, Mode, OAuth2, internals::CredentialStore};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// token-failures: When a token is refreshed.
#[tokio::test]
async fn a_valid_token_needs_no_token_request() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    for _ in 0..10 {
        replica.get().await.unwrap();
    }
    assert_eq!(
        (
            rig.provider.token_calls().len(),
            rig.provider.api_calls().len()
        ),
        (0, 10)
    );
}

/// token-failures: When a token is refreshed.
#[tokio::test]
async fn every_access_refreshes_with_the_latest_refresh_token() {
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.mode = Some(Mode::EveryAccess);
    let replica = rig.replica();
    for _ in 0..3 {
        replica.get().await.unwrap();
    }
    let spent = rig
        .provider
        .token_calls()
        .iter()
        .map(|call| call.form["refresh_token"].clone())
        .collect::<Vec<_>>();
    let saved = rig
        .account
        .saved
        .lock()
        .unwrap()
        .iter()
        .map(|keys| keys["oauth"].clone())
        .collect::<Vec<_>>();
    assert_eq!(spent.len(), 3);
    assert_eq!(
        (&spent[1], &spent[2]),
        (
            &saved[0]["refresh_token"].as_str().unwrap().to_owned(),
            &saved[1]["refresh_token"].as_str().unwrap().to_owned()
        )
    );
}

/// token-failures: When a token is refreshed.
#[tokio::test]
async fn an_expired_token_is_refreshed_before_the_first_request() {
    let rig = Rig::expired(Knobs::default()).await;
    rig.replica().get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
    let statuses = rig
        .provider
        .api_calls()
        .iter()
        .map(|call| call.status)
        .collect::<Vec<_>>();
    assert_eq!(statuses, [Some(200)]);
}

/// token-failures: T11.
#[tokio::test]
async fn a_replaced_refresh_token_is_neither_stored_nor_in_memory() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let old = text(&rig.account.oauth(), "refresh_token");
    let replica = rig.replica();
    replica.get().await.unwrap();
    let new = text(&rig.account.oauth(), "refresh_token");
    assert!(new != old && rig.provider.is_spendable(&new));
    for place in [rig.account.stored(), (*replica.store.config()).clone()] {
        assert!(!place.to_string().contains(&old));
    }
    let in_memory = replica
        .client()
        .token_member("refresh_token")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(in_memory.expose_secret(), new);
    rig.provider.expire_access_tokens();
    replica.get().await.unwrap();
    assert_eq!(rig.spent(), [old, new]);
}

/// token-failures: Tokens on the platform.
#[tokio::test]
async fn every_member_of_the_token_response_is_stored() {
    let rig = Rig::expired(Knobs::default()).await;
    let more = json!({ "id_token": "e.y.j", "ext_expires_in": 7200, "instance_url": "https://eu1.example.com" });
    rig.provider
        .knobs(|knobs| knobs.extra = more.as_object().unwrap().clone());
    let replica = rig.replica();
    replica.get().await.unwrap();
    for place in [rig.account.stored(), (*replica.store.config()).clone()] {
        for (name, value) in more.as_object().unwrap() {
            assert_eq!(&place["oauth"][name], value, "{name}");
        }
    }
    let id_token = replica
        .client()
        .token_member("id_token")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(id_token.expose_secret(), "e.y.j");
}

/// token-failures: T12.
#[tokio::test]
async fn fields_changed_during_a_refresh_are_kept() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let stored = rig.account.oauth();
    rig.account
        .set(json!({ "oauth": stored.clone(), "retries": "3" }));
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let (response, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        rig.account
            .set(json!({ "oauth": stored, "retries": "5", "prodEnv": "test" }));
        held.release();
    });
    response.unwrap();
    let saved = rig.account.stored();
    assert_eq!(
        (&saved["retries"], &saved["prodEnv"]),
        (&json!("5"), &json!("test"))
    );
    assert!(
        rig.provider
            .is_spendable(&text(&saved["oauth"], "refresh_token"))
    );
}

/// token-failures: When a token is refreshed.
#[tokio::test]
async fn without_a_refresh_token_only_an_expired_token_needs_the_user() {
    let rig = Rig::expired(Knobs {
        issue_refresh_token: false,
        ..Knobs::default()
    })
    .await;
    let error = rig.replica().get().await.unwrap_err();
    assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
    assert!(rig.provider.token_calls().is_empty());

    for expiry in [None, Some("2999-01-01T00:00:00.000Z")] {
        let rig = Rig::new(Knobs {
            issue_refresh_token: false,
            ..Knobs::default()
        })
        .await;
        let mut record = rig.account.oauth();
        if let Some(expiry) = expiry {
            record["tokenExpiryTime"] = expiry.into();
        }
        rig.account.set(json!({ "oauth": record }));
        rig.replica().get().await.unwrap();
        assert!(rig.provider.token_calls().is_empty());
    }
}

/// token-failures: T47.
#[tokio::test]
async fn a_platform_secret_has_its_base_url_in_undefined_params() {
    let mut rig = Rig::new(Knobs::default()).await;
    rig.definition = OAuth2::new().profile("salesforce");
    let mut record = Value::Object(rig.provider.issue());
    record["undefined_params"] = json!({ "instance_url": rig.provider.api_url() });
    rig.account.set(json!({ "secretId": "secret-1" }));
    rig.account.set_secrets([record]);
    rig.replica().get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 0);
    assert_eq!(rig.provider.api_calls()[0].path, "/api/me");
}
