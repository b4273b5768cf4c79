//! A. Basics and merging.

use super::rig::{Rig, text};
use emulator::provider::Knobs;
use sailor::oauth2::{CredentialStore, Error, Mode, OAuth2};
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

/// token-failures: T19.
#[tokio::test]
async fn an_omitted_refresh_token_is_kept() {
    for left_out in [None, Some(Value::Null), Some("".into())] {
        let rig = Rig::new(Knobs {
            omit_refresh_token: true,
            ..Knobs::default()
        })
        .await;
        let original = text(&rig.account.oauth(), "refresh_token");
        rig.provider.knobs(|knobs| {
            knobs
                .extra
                .extend(left_out.map(|value| ("refresh_token".to_owned(), value)));
        });
        let replica = rig.replica();
        for _ in 0..2 {
            rig.provider.expire_access_tokens();
            replica.get().await.unwrap();
        }
        assert_eq!(rig.spent(), [original.clone(), original.clone()]);
        assert_eq!(text(&rig.account.oauth(), "refresh_token"), original);
    }
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

/// The store of the cases takes a payload for everything there is, so what is left out of it is gone.
/// token-failures: T12.
#[tokio::test]
async fn other_credential_fields_are_kept() {
    let mut rig = Rig::expired(Knobs::rotating()).await;
    let stored = rig.account.oauth();
    rig.account
        .set(json!({ "_account": "account-1", "oauth": stored, "prodEnv": "login", "retries": "3", "query": "a" }));
    rig.replica().get().await.unwrap();
    let saved = rig.account.stored();
    assert_eq!(
        (&saved["prodEnv"], &saved["retries"]),
        (&json!("login"), &json!("3"))
    );
    assert_eq!(
        saved.get("query"),
        None,
        "the step's own fields are no credentials"
    );

    // Deep in a field of its own, as the platform's generic REST component has it.
    rig.definition = OAuth2::new()
        .base_url(rig.provider.api_url())
        .field("auth.oauth2");
    let auth = json!({ "type": "OAuth2", "oauth2": { "clientId": "id", "keys": rig.provider.issue_expired() } });
    rig.account
        .set(json!({ "auth": auth.clone(), "retries": "3" }));
    rig.replica().get().await.unwrap();
    let mut saved = rig.account.stored();
    assert_ne!(saved["auth"]["oauth2"]["keys"].take(), Value::Null);
    let mut before = json!({ "auth": auth, "retries": "3" });
    before["auth"]["oauth2"]["keys"].take();
    assert_eq!(saved, before);
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
    let (answer, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        rig.account
            .set(json!({ "oauth": stored, "retries": "5", "prodEnv": "test" }));
        held.release();
    });
    answer.unwrap();
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

/// Where an answer brings no instance of its own, the base of the addresses is that of the record before.
/// token-failures: T47.
#[tokio::test]
async fn the_base_url_of_the_record_is_found_in_either_shape() {
    type Place = fn(&mut Value, String);
    let places: [Place; 2] = [
        |record, url| record["instance_url"] = url.into(),
        |record, url| record["undefined_params"] = json!({ "instance_url": url }),
    ];
    for place in places {
        for (is_secret, expired) in [(false, false), (false, true), (true, false)] {
            let mut rig = Rig::new(Knobs::default()).await;
            rig.definition = OAuth2::new().profile("salesforce");
            let record = if expired {
                rig.provider.issue_expired()
            } else {
                rig.provider.issue()
            };
            let mut record = Value::Object(record);
            place(&mut record, rig.provider.api_url());
            if is_secret {
                rig.account.set(json!({ "secretId": "secret-1" }));
                rig.account.set_secrets([record]);
            } else {
                rig.account.set(json!({ "oauth": record }));
            }
            rig.replica().get().await.unwrap();
            assert_eq!(rig.provider.refreshes(), usize::from(expired));
            assert!(
                rig.provider
                    .api_calls()
                    .iter()
                    .all(|call| call.path == "/api/me")
            );
        }
    }
}
