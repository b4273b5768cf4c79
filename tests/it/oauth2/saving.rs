//! Saving refreshed tokens: before they are used, with retries, and never over newer ones.

use super::{
    account::Fault,
    rig::{Rig, text},
};
use emulator::provider::{Knobs, ProviderEventKind};
use sailor::oauth2::{Error, Mode, OAuth2, Profile, internals::CredentialStore};
use serde_json::{Value, json};
use std::time::Duration;

/// token-failures: T9.
#[tokio::test]
async fn the_request_is_resent_after_the_token_is_saved() {
    for mode in [Mode::On401, Mode::Expiry, Mode::EveryAccess] {
        let mut rig = Rig::stale(Knobs::rotating()).await;
        rig.mode = Some(mode);
        rig.account.fail([Fault::Wait]);
        let replica = rig.replica();
        let mut response = std::pin::pin!(replica.get());
        tokio::select! {
            _ = &mut response => panic!("{mode:?}: the token was used before it was saved"),
            () = rig.account.saving_begun(1) => {}
        }
        let before = rig.statuses();
        tokio::select! {
            _ = &mut response => panic!("{mode:?}: the token was used before it was saved"),
            () = rig.drive(tokio::time::sleep(Duration::from_secs(1))) => {}
        }
        assert_eq!(rig.statuses(), before, "{mode:?}");
        assert_eq!(rig.account.savings(), 0);
        rig.account.gate.0.add_permits(1);
        response.await.unwrap();
        assert_eq!((rig.account.savings(), rig.provider.refreshes()), (1, 1));
        let token = format!("Bearer {}", text(&rig.account.oauth(), "access_token"));
        assert_eq!(rig.provider.authorizations().last(), Some(&token));
        assert_eq!(rig.statuses(), [before, vec![200]].concat());
    }
}

/// token-failures: T9.
#[tokio::test]
async fn a_failed_save_is_retried_before_the_request_is_sent() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::Fail, Fault::Fail]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(
        (
            *rig.account.begun.lock().unwrap(),
            rig.account.savings(),
            rig.provider.refreshes()
        ),
        (3, 1, 1)
    );
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
    assert_eq!(
        (
            replica.session.metrics().unsaved,
            replica.store.warnings.lock().unwrap().len()
        ),
        (0, 0)
    );
}

/// A save that never ends counts as failed.
/// token-failures: T9.
#[tokio::test]
async fn a_hanging_save_times_out_and_is_retried() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::Hang]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!((rig.account.savings(), rig.provider.refreshes()), (1, 1));
    assert!(replica.store.warnings.lock().unwrap().is_empty());
}

/// The process tests show the error event of the warning.
/// token-failures: T9.
#[tokio::test]
async fn an_unsaved_rotated_token_is_reported_used_and_saved_later() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let old = text(&rig.account.oauth(), "refresh_token");
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    let reports = replica.store.warnings.lock().unwrap().clone();
    assert_eq!(
        reports
            .iter()
            .map(|warning| warning.name)
            .collect::<Vec<_>>(),
        ["UnsavedCredentials"]
    );
    assert!(replica.session.has_unsaved_rotation());
    assert_eq!(replica.session.metrics().unsaved, 1);

    // The next call has the new token, without another refresh, and so has the configuration of the next message.
    replica.get().await.unwrap();
    let config = replica.store.config()["oauth"].clone();
    let token = format!("Bearer {}", text(&config, "access_token"));
    assert_eq!(rig.provider.authorizations(), [token.clone(), token]);

    // After its expiry the new refresh token is spent, although the store still has the old one.
    rig.provider.expire_access_tokens();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(rig.spent(), [old, text(&config, "refresh_token")]);

    *rig.account.down.lock().unwrap() = false;
    rig.drive(rig.account.until(|account| account.savings() > 0))
        .await;
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
    rig.drive(replica.session.close()).await;
    assert!(!replica.session.has_unsaved_rotation());
    assert_eq!(rig.account.savings(), 1);
}

/// Without rotation nothing is lost: the stored refresh token is still valid.
/// token-failures: T9.
#[tokio::test]
async fn an_unsaved_access_token_causes_no_error_event() {
    let rig = Rig::expired(Knobs::default()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert!(replica.store.warnings.lock().unwrap().is_empty());
    assert!(!replica.session.has_unsaved_rotation());
}

/// One payload holds the whole record. So a process that dies while it saves leaves the previous record, which a provider
/// with a grace period still accepts.
/// token-failures: T10.
#[tokio::test]
async fn a_crash_while_saving_keeps_the_previous_record() {
    let rig = Rig::expired(Knobs {
        grace: Duration::from_secs(30),
        ..Knobs::rotating()
    })
    .await;
    let previous = rig.account.stored();
    rig.account.fail([Fault::Hang]);
    let dying = rig.replica();
    tokio::select! {
        _ = dying.get() => panic!("the token was used before it was saved"),
        () = rig.account.saving_begun(1) => {}
    }
    assert_eq!(rig.account.stored(), previous);

    let restarted = rig.replica();
    restarted.get().await.unwrap();
    assert_eq!(
        rig.spent(),
        vec![text(&previous["oauth"], "refresh_token"); 2]
    );
    let saved = rig.account.oauth();
    let pair = (text(&saved, "access_token"), text(&saved, "refresh_token"));
    let is_pair = |kind: &ProviderEventKind| matches!(kind, ProviderEventKind::Issued { access, refresh: Some(refresh), .. } if (access, refresh) == (&pair.0, &pair.1));
    assert!(rig.provider.log().iter().any(|entry| is_pair(&entry.kind)));
    assert!(rig.provider.is_spendable(&pair.1));
}

/// The platform has no versions. The credential counts as deleted only after several reads or saves have found none.
/// token-failures: T13.
#[tokio::test]
async fn a_credential_deleted_during_a_refresh_stays_deleted() {
    // Seen by the read before the save, or only by the save itself.
    for held_at_saving in [false, true] {
        let mut rig = Rig::expired(Knobs::rotating()).await;
        let profile = json!({ "name": "revoking", "revoke_uri": rig.provider.revoke_url() });
        let profile = Profile::from_json(&profile.to_string()).unwrap();
        rig.definition = OAuth2::new()
            .base_url(rig.provider.api_url())
            .custom_profile(profile);
        let replica = rig.replica();
        let error = if held_at_saving {
            rig.account.fail([Fault::Wait]);
            let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
                rig.account.saving_begun(1).await;
                rig.account.delete();
                rig.account.gate.0.add_permits(1);
            });
            response.unwrap_err()
        } else {
            let held = rig.provider.hold_token_responses();
            let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
                held.held(1).await;
                rig.account.delete();
                held.release();
            });
            response.unwrap_err()
        };
        assert!(
            matches!(&error, Error::ReauthRequired(reason) if reason.contains("removed")),
            "{error}"
        );
        assert!(!rig.account.exists());
        rig.drive(replica.session.close()).await;
        let log = rig.provider.log();
        let issued = log.iter().filter_map(|entry| match &entry.kind {
            ProviderEventKind::Issued { refresh, .. } => refresh.clone(),
            _ => None,
        });
        let revoked = log.iter().filter_map(|entry| match &entry.kind {
            ProviderEventKind::Revoked { token } => Some(token.clone()),
            _ => None,
        });
        assert_eq!(
            revoked.collect::<Vec<_>>(),
            issued.skip(1).collect::<Vec<_>>(),
            "only the new token is revoked"
        );
        assert!(rig.provider.api_calls().is_empty());
        // There is no second token request.
        let error = replica.get().await.unwrap_err();
        assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
        assert_eq!(rig.provider.refreshes(), 1);
    }
}

/// A rig with a provider that can revoke, and that has no grace period.
async fn revoking() -> Rig {
    let mut rig = Rig::expired(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await;
    rig.descriptor["credentials"]["oauth2"]["revoke_uri"] = "{{TEST_PROVIDER}}/revoke".into();
    rig
}

fn was_revoked(rig: &Rig) -> bool {
    rig.provider
        .log()
        .iter()
        .any(|entry| matches!(entry.kind, ProviderEventKind::Revoked { .. }))
}

/// A gateway responds 404 while the platform's API restarts.
#[tokio::test]
async fn a_404_for_an_existing_account_revokes_nothing() {
    for missing in [1, 2, 5] {
        let rig = revoking().await;
        rig.account.fail((0..missing).map(|_| Fault::Missing));
        let replica = rig.replica();
        rig.drive(replica.get()).await.unwrap();
        rig.drive(rig.account.until(|account| account.savings() > 0))
            .await;
        rig.drive(replica.session.close()).await;
        assert!(
            !was_revoked(&rig) && !replica.session.has_unsaved_rotation(),
            "{missing}"
        );
        assert!(
            rig.provider
                .is_spendable(&text(&rig.account.oauth(), "refresh_token")),
            "{missing}"
        );
        assert_eq!(rig.statuses(), [200], "{missing}");
        rig.provider.expire_access_tokens();
        rig.replica().get().await.unwrap();
    }
}

/// Reads return 404 as well, for some seconds.
#[tokio::test]
async fn a_404_for_some_seconds_does_not_delete_an_account() {
    let rig = revoking().await;
    let replica = rig.replica();
    let before = rig.account.stored();
    let held = rig.provider.hold_token_responses();
    let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
        held.held(1).await;
        rig.account.delete();
        held.release();
        rig.account.not_found_by(4).await;
        rig.account.set(before);
    });
    response.unwrap();
    assert!(!was_revoked(&rig));
    assert_eq!(
        (rig.account.savings(), replica.session.metrics().unsaved),
        (1, 0)
    );
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
}

/// A process that stops has no time for the checks.
#[tokio::test]
async fn a_stopping_process_revokes_nothing() {
    let rig = revoking().await;
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
        held.held(1).await;
        rig.account.delete();
        held.release();
        rig.account.not_found_by(2).await;
        replica.session.close().await;
    });
    response.unwrap();
    assert!(!was_revoked(&rig) && replica.session.has_unsaved_rotation());
}

#[tokio::test]
async fn a_404_does_not_revoke_keys_that_the_queue_has_taken() {
    let rig = revoking().await;
    rig.account
        .fail([Fault::Queued, Fault::Queued, Fault::Queued, Fault::Queued]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    // The account has them, so no attempt follows, and no warning.
    rig.drive(replica.session.close()).await;
    assert_eq!(
        (
            *rig.account.begun.lock().unwrap(),
            replica.session.metrics().unsaved
        ),
        (1, 0)
    );
    assert!(!was_revoked(&rig) && !replica.session.has_unsaved_rotation());
    assert!(replica.store.warnings.lock().unwrap().is_empty());
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
}

/// The session remembers that the queue has taken the keys when the save times out.
#[tokio::test]
async fn keys_in_the_queue_are_not_revoked_after_an_aborted_save() {
    let rig = revoking().await;
    rig.account.fail([Fault::QueuedOnly]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    rig.drive(replica.session.close()).await;
    assert!(!was_revoked(&rig) && !replica.session.has_unsaved_rotation());
    assert_eq!(
        (
            *rig.account.begun.lock().unwrap(),
            replica.session.metrics().unsaved
        ),
        (3, 0)
    );
}

#[tokio::test]
async fn an_unpublished_report_does_not_block_a_stop() {
    let rig = Rig::expired(Knobs::rotating()).await;
    *rig.account.nobody_listens.lock().unwrap() = true;
    rig.account.fail([Fault::Fail, Fault::Fail, Fault::Fail]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(replica.store.warnings.lock().unwrap().len(), 1);
    let closed = tokio::time::timeout(Duration::from_secs(300), replica.session.close());
    rig.drive(closed)
        .await
        .expect("the stop waits for the report");
    assert!(!replica.session.has_unsaved_rotation());
}

/// The same for the read before a refresh: one 404, or one response without credentials, is not enough.
#[tokio::test]
async fn a_missing_credential_counts_only_when_checks_agree() {
    for (before, reason) in [
        (None, "removed"),
        (Some(json!({})), "were removed"),
        (Some(json!({ "oauth": {} })), "were removed"),
    ] {
        let rig = Rig::expired(Knobs::rotating()).await;
        let stored = rig.account.stored();
        let lose = || match &before {
            Some(config) => rig.account.set(config.clone()),
            None => rig.account.delete(),
        };
        let replica = rig.replica();
        lose();
        let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
            rig.account.not_found_by(2).await;
            rig.account.set(stored.clone());
        });
        response.unwrap();
        assert_eq!(rig.provider.refreshes(), 1, "{before:?}");

        rig.provider.expire_access_tokens();
        lose();
        let error = rig.drive(replica.get()).await.unwrap_err();
        assert!(
            matches!(&error, Error::ReauthRequired(why) if why.contains(reason)),
            "{before:?}: {error}"
        );
        assert_eq!(rig.provider.refreshes(), 1, "{before:?}");
    }
}

/// token-failures: T12.
#[tokio::test]
async fn a_reconnected_account_is_not_overwritten() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let connected = Value::Object(rig.provider.issue());
    let (response, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        rig.account
            .set(json!({ "_account": "account-1", "oauth": connected.clone() }));
        held.release();
    });
    response.unwrap();
    assert_eq!(
        (rig.account.oauth(), rig.account.savings()),
        (connected.clone(), 0)
    );
    let token = format!("Bearer {}", text(&connected, "access_token"));
    assert_eq!(rig.provider.authorizations(), [token]);
    // The next refresh is that of the new connection.
    rig.provider.expire_access_tokens();
    replica.get().await.unwrap();
    assert_eq!(rig.spent()[1..], [text(&connected, "refresh_token")]);
}

/// The same while this process has tokens that it could not save.
/// token-failures: T12.
#[tokio::test]
async fn a_reconnected_account_replaces_an_unsaved_token() {
    let rig = Rig::expired(Knobs::rotating()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    let connected = Value::Object(rig.provider.issue());
    rig.account
        .set(json!({ "_account": "account-1", "oauth": connected.clone() }));
    *rig.account.down.lock().unwrap() = false;
    rig.drive(
        rig.account
            .until(|_| !replica.session.has_unsaved_rotation()),
    )
    .await;
    replica.get().await.unwrap();
    assert_eq!(
        (rig.account.oauth(), rig.account.savings()),
        (connected.clone(), 0)
    );
    let token = format!("Bearer {}", text(&connected, "access_token"));
    assert_eq!(rig.provider.authorizations().last(), Some(&token));
}

/// However often a save fails, the session knows that the stored token is outdated.
/// token-failures: T9.
#[tokio::test]
async fn unsaved_refreshes_never_spend_a_token_twice() {
    let rig = Rig::new(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await;
    rig.account.fail((0..100).map(|_| Fault::NoAccount));
    let replica = rig.replica();
    for _ in 0..100 {
        rig.provider.expire_access_tokens();
        replica.get().await.unwrap();
    }
    let spent = rig.spent();
    assert_eq!(
        spent
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        spent.len()
    );
    assert_eq!((spent.len(), rig.account.savings()), (100, 0));
}

/// token-failures: T9.
#[tokio::test]
async fn without_an_account_the_error_says_what_is_missing() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::NoAccount]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    let reports = replica.store.warnings.lock().unwrap().clone();
    assert!(
        matches!(&reports[..], [trouble] if trouble.message.contains("`_account`")),
        "{reports:?}"
    );
    // Waiting does not help: there is no retry.
    assert_eq!(*rig.account.begun.lock().unwrap(), 1);
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
}
