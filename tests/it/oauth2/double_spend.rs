//! What could spend a refresh token twice, save an old token over a newer one, or keep replicas from refreshing.

use super::{
    account::Fault,
    broker::Broker,
    rig::{Rig, text},
};
use emulator::provider::{Fault as HttpFault, Knobs, ProviderEventKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any delay after a failure.
const A_WHILE: Duration = Duration::from_secs(31);

/// Whether the stored refresh token works.
fn is_spendable(rig: &Rig) -> bool {
    rig.provider
        .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
}

/// Whether a spent refresh token was used.
fn was_reused(rig: &Rig) -> bool {
    rig.provider.log().iter().any(|entry| {
        matches!(
            entry.kind,
            ProviderEventKind::Reused { .. } | ProviderEventKind::GrantRevoked { .. }
        )
    })
}

#[tokio::test]
async fn a_hanging_background_save_keeps_a_later_token() {
    let rig = Rig::expired(Knobs::rotating()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    *rig.account.down.lock().unwrap() = false;
    let begun = *rig.account.begun.lock().unwrap();
    rig.account.fail([Fault::Wait]);
    rig.drive(rig.account.saving_begun(begun + 1)).await;
    rig.provider.expire_access_tokens();
    let (response, ()) = tokio::join!(replica.get(), async {
        tokio::select! {
            () = rig.account.until(|account| account.savings() > 0) => {}
            () = rig.drive(tokio::time::sleep(Duration::from_secs(2))) => {}
        }
        rig.account.gate.0.add_permits(1);
    });
    response.unwrap();
    rig.drive(replica.session.close()).await;
    assert_eq!(rig.provider.refreshes(), 2);
    assert!(
        is_spendable(&rig),
        "the first token was saved over the second"
    );
}

#[tokio::test]
async fn a_slow_background_check_keeps_a_later_token() {
    let rig = Rig::expired(Knobs::rotating()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    *rig.account.down.lock().unwrap() = false;
    *rig.account.slow_reads.lock().unwrap() = 1;
    rig.drive(
        rig.account
            .until(|account| *account.stalled.lock().unwrap() == 1),
    )
    .await;
    rig.provider.expire_access_tokens();
    let (response, ()) = tokio::join!(replica.get(), async {
        tokio::select! {
            () = rig.account.until(|account| account.savings() > 0) => {}
            () = rig.drive(tokio::time::sleep(Duration::from_secs(2))) => {}
        }
        rig.account.gate.0.add_permits(1);
    });
    response.unwrap();
    rig.drive(replica.session.close()).await;
    assert!(
        is_spendable(&rig),
        "the first token was saved over the second"
    );
}

#[tokio::test]
async fn a_reconnected_account_wins_over_an_unsaved_token() {
    let rig = Rig::expired(Knobs::rotating()).await;
    *rig.account.down.lock().unwrap() = true;
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    *rig.account.down.lock().unwrap() = false;
    // A request finds it before the next attempt of the save in the background.
    rig.provider.expire_access_tokens();
    let connected = Value::Object(rig.provider.issue());
    rig.account.set(json!({ "oauth": connected.clone() }));
    replica.get().await.unwrap();
    rig.drive(replica.session.close()).await;
    assert_eq!(rig.account.oauth(), connected);
    assert!(!replica.session.has_unsaved_rotation());
}

#[tokio::test]
async fn a_reconnected_account_wins_over_a_pending_save() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::Fail]);
    let replica = rig.replica();
    let connected = Value::Object(rig.provider.issue());
    let (response, ()) = tokio::join!(rig.drive(replica.get()), async {
        rig.account.saving_begun(1).await;
        rig.account.set(json!({ "oauth": connected.clone() }));
    });
    response.unwrap();
    assert_eq!(rig.account.oauth(), connected);
    let token = format!("Bearer {}", text(&connected, "access_token"));
    assert_eq!(rig.provider.authorizations(), [token]);
}

#[tokio::test]
async fn a_lost_lock_is_acquired_again_by_the_next_refresh() {
    let broker = Broker::emulated().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let (replica, lock) = broker.watched_replica(&rig);
    *rig.account.down.lock().unwrap() = true;
    rig.drive(replica.get()).await.unwrap();
    assert!(
        lock.is_held(),
        "no other replica may spend the stored token"
    );
    broker.cut();
    while lock.is_held() {
        tokio::task::yield_now().await;
    }
    rig.provider.expire_access_tokens();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(rig.provider.refreshes(), 2);
}

#[tokio::test]
async fn a_token_that_does_not_rotate_releases_the_lock() {
    let broker = Broker::emulated().await;
    let rig = Rig::expired(Knobs::default()).await;
    rig.account.fail([Fault::NoAccount]);
    let replica = broker.replica(&rig);
    rig.drive(replica.get()).await.unwrap();
    for _ in 0..100 {
        if broker.is_free(&rig).await {
            return;
        }
    }
    panic!("the other replicas can never refresh");
}

#[tokio::test]
async fn without_a_lock_a_token_spent_elsewhere_is_not_spent_again() {
    let rig = Rig::expired(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await;
    let (one, other) = (rig.replica(), rig.replica());
    rig.provider
        .script_token([HttpFault::retry_after(503, "3")]);
    let mut first = Box::pin(one.get());
    tokio::select! {
        biased;
        () = rig.provider.token_called(1) => {}
        result = &mut first => panic!("{result:?}"),
    }
    other.get().await.unwrap();
    rig.drive(first).await.unwrap();
    assert!(!was_reused(&rig));
    assert_eq!(one.session.metrics().adopted, 1);
    assert!(is_spendable(&rig));
}

/// The process stalls, and loses its lock without noticing.
#[tokio::test]
async fn a_stalled_process_checks_the_account_again_before_a_refresh() {
    let rig = Rig::expired(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await;
    let (one, other) = (rig.replica(), rig.replica());
    *rig.account.slow_reads.lock().unwrap() = 1;
    let mut stalled = Box::pin(one.get());
    tokio::select! {
        biased;
        () = rig.account.until(|account| *account.stalled.lock().unwrap() == 1) => {}
        result = &mut stalled => panic!("{result:?}"),
    }
    other.get().await.unwrap();
    rig.clock.advance(Duration::from_secs(30)).await;
    rig.account.gate.0.add_permits(1);
    rig.drive(stalled).await.unwrap();
    assert!(!was_reused(&rig));
    assert_eq!(rig.provider.refreshes(), 1);
    rig.clock.advance(A_WHILE).await;
    one.get().await.unwrap();
}
