//! B. updateKeys and persistence.

use super::rig::{Fault, Rig, text};
use emulator::provider::{Knobs, ProviderEventKind};
use sailor::oauth2::{CredentialStore, Error, Mode, OAuth2, Profile};
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
        let mut answer = std::pin::pin!(replica.get());
        tokio::select! {
            _ = &mut answer => panic!("{mode:?}: the token was used before it was saved"),
            () = rig.account.saving_begun(1) => {}
        }
        let before = rig.statuses();
        tokio::select! {
            _ = &mut answer => panic!("{mode:?}: the token was used before it was saved"),
            () = rig.drive(tokio::time::sleep(Duration::from_secs(1))) => {}
        }
        assert_eq!(rig.statuses(), before, "{mode:?}");
        assert_eq!(rig.account.savings(), 0);
        rig.account.gate.0.add_permits(1);
        answer.await.unwrap();
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
            replica.session.counts().unsaved,
            replica.store.reports.lock().unwrap().len()
        ),
        (0, 0)
    );
}

/// A saving that does not end is one that fails.
/// token-failures: T9.
#[tokio::test]
async fn a_hanging_save_times_out_and_is_retried() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::Hang]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!((rig.account.savings(), rig.provider.refreshes()), (1, 1));
    assert!(replica.store.reports.lock().unwrap().is_empty());
}

/// How the trouble looks as an error event is shown by the process tests.
/// token-failures: T9.
#[tokio::test]
async fn an_unsaved_rotated_token_is_reported_used_and_saved_later() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let old = text(&rig.account.oauth(), "refresh_token");
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    let reports = replica.store.reports.lock().unwrap().clone();
    assert_eq!(
        reports
            .iter()
            .map(|trouble| trouble.name)
            .collect::<Vec<_>>(),
        ["UnsavedCredentials"]
    );
    assert!(replica.session.has_unsaved_rotation());
    assert_eq!(replica.session.counts().unsaved, 1);

    // The next call has the new token, without another refresh, and so has the configuration of the next message.
    replica.get().await.unwrap();
    let config = replica.store.config()["oauth"].clone();
    let token = format!("Bearer {}", text(&config, "access_token"));
    assert_eq!(rig.provider.authorizations(), [token.clone(), token]);

    // The one after its end is had with the new refresh token, although the store still has the old one.
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

/// Nothing is lost where nothing rotates: the refresh token that is stored is still the one that counts.
/// token-failures: T9.
#[tokio::test]
async fn an_unsaved_access_token_is_no_error_event() {
    let rig = Rig::expired(Knobs::default()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    assert!(replica.store.reports.lock().unwrap().is_empty());
    assert!(!replica.session.has_unsaved_rotation());
}

/// The store is the platform's account, which has no files that could be torn. In their stead: one payload is the whole
/// record, with tokens of one and the same answer, so that what a process which dies while it saves leaves behind is the
/// previous record, and a provider with a grace period still takes it.
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

/// The platform has no versions: that the credential is gone shows when it is read and when it is saved, each time for a
/// while.
/// token-failures: T13.
#[tokio::test]
async fn a_credential_deleted_during_a_refresh_stays_deleted() {
    // Seen when it is read before the saving, and not before the saving itself.
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
            let (answer, ()) = tokio::join!(rig.drive(replica.get()), async {
                rig.account.saving_begun(1).await;
                rig.account.delete();
                rig.account.gate.0.add_permits(1);
            });
            answer.unwrap_err()
        } else {
            let held = rig.provider.hold_token_responses();
            let (answer, ()) = tokio::join!(rig.drive(replica.get()), async {
                held.held(1).await;
                rig.account.delete();
                held.release();
            });
            answer.unwrap_err()
        };
        assert!(
            matches!(&error, Error::ReauthRequired(reason) if reason.contains("removed")),
            "{error}"
        );
        assert!(!rig.account.exists());
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
            "the new one, and it alone"
        );
        assert!(rig.provider.api_calls().is_empty());
        // Nobody asks the provider for it again.
        let error = replica.get().await.unwrap_err();
        assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
        assert_eq!(rig.provider.refreshes(), 1);
    }
}

/// A rig whose provider can revoke, and which forgives nothing.
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

/// As from a gateway while the platform's API is started anew.
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

/// Reading it gives 404 as well, for some seconds.
#[tokio::test]
async fn an_account_that_is_not_there_for_seconds_is_not_gone() {
    let rig = revoking().await;
    let replica = rig.replica();
    let before = rig.account.stored();
    let held = rig.provider.hold_token_responses();
    let (answer, ()) = tokio::join!(rig.drive(replica.get()), async {
        held.held(1).await;
        rig.account.delete();
        held.release();
        rig.account.looked_in_vain(4).await;
        rig.account.set(before);
    });
    answer.unwrap();
    assert!(!was_revoked(&rig));
    assert_eq!(
        (rig.account.savings(), replica.session.counts().unsaved),
        (1, 0)
    );
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
}

/// Whoever stops has no time to be sure.
#[tokio::test]
async fn a_stopping_process_revokes_nothing() {
    let rig = revoking().await;
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let (answer, ()) = tokio::join!(rig.drive(replica.get()), async {
        held.held(1).await;
        rig.account.delete();
        held.release();
        rig.account.looked_in_vain(2).await;
        replica.session.close().await;
    });
    answer.unwrap();
    assert!(!was_revoked(&rig) && replica.session.has_unsaved_rotation());
}

#[tokio::test]
async fn a_404_does_not_revoke_keys_that_the_queue_has_taken() {
    let rig = revoking().await;
    rig.account
        .fail([Fault::Queued, Fault::Queued, Fault::Queued, Fault::Queued]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    // Nothing is tried on in the background, and nobody is told of a token that could be lost.
    rig.drive(replica.session.close()).await;
    assert_eq!(
        (
            *rig.account.begun.lock().unwrap(),
            replica.session.counts().unsaved
        ),
        (3, 0)
    );
    assert!(!was_revoked(&rig) && !replica.session.has_unsaved_rotation());
    assert!(replica.store.reports.lock().unwrap().is_empty());
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
}

/// That the queue has taken them is not forgotten when the rest of the saving is given up.
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
            replica.session.counts().unsaved
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
    assert_eq!(replica.store.reports.lock().unwrap().len(), 1);
    let closed = tokio::time::timeout(Duration::from_secs(300), replica.session.close());
    rig.drive(closed)
        .await
        .expect("the stop waits for the report");
    assert!(!replica.session.has_unsaved_rotation());
}

/// The same while it is read before a refresh: one 404, and one answer without credentials.
#[tokio::test]
async fn a_missing_credential_counts_only_when_checks_agree() {
    for (before, reason) in [
        (None, "removed"),
        (Some(json!({})), "taken away"),
        (Some(json!({ "oauth": {} })), "taken away"),
    ] {
        let rig = Rig::expired(Knobs::rotating()).await;
        let stored = rig.account.stored();
        let lose = || match &before {
            Some(config) => rig.account.set(config.clone()),
            None => rig.account.delete(),
        };
        let replica = rig.replica();
        lose();
        let (answer, ()) = tokio::join!(rig.drive(replica.get()), async {
            rig.account.looked_in_vain(2).await;
            rig.account.set(stored.clone());
        });
        answer.unwrap();
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
    let (answer, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        rig.account
            .set(json!({ "_account": "account-1", "oauth": connected.clone() }));
        held.release();
    });
    answer.unwrap();
    assert_eq!(
        (rig.account.oauth(), rig.account.savings()),
        (connected.clone(), 0)
    );
    let token = format!("Bearer {}", text(&connected, "access_token"));
    assert_eq!(rig.provider.authorizations(), [token]);
    // What is refreshed next is the new connection.
    rig.provider.expire_access_tokens();
    replica.get().await.unwrap();
    assert_eq!(rig.spent()[1..], [text(&connected, "refresh_token")]);
}

/// The same where our own tokens wait in memory because they could not be saved.
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

/// However often that happens, the store's token is known to be an old one.
/// token-failures: T9.
#[tokio::test]
async fn unsaved_refreshes_never_spend_a_token_twice() {
    let rig = Rig::new(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await;
    rig.account.fail((0..100).map(|_| Fault::Nowhere));
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
    rig.account.fail([Fault::Nowhere]);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    let reports = replica.store.reports.lock().unwrap().clone();
    assert!(
        matches!(&reports[..], [trouble] if trouble.message.contains("`_account`")),
        "{reports:?}"
    );
    // Waiting mends nothing: it is neither tried again nor waited for.
    assert_eq!(*rig.account.begun.lock().unwrap(), 1);
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
}
