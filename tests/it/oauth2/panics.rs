//! A panic in the store, at any point of a refresh: no spent refresh token is sent, and no new one is lost.

use super::{
    account::Fault,
    rig::{Rig, text},
};
use emulator::provider::{Knobs, ProviderEventKind};

/// A provider without a grace period: a spent refresh token revokes everything.
async fn strict() -> Rig {
    Rig::expired(Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    })
    .await
}

fn was_reused(rig: &Rig) -> bool {
    let is_reuse = |kind: &ProviderEventKind| matches!(kind, ProviderEventKind::Reused { .. });
    rig.provider.log().iter().any(|entry| is_reuse(&entry.kind))
}

async fn survives(faults: impl IntoIterator<Item = Fault>) {
    let rig = strict().await;
    rig.account.fail(faults);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    rig.provider.expire_access_tokens();
    rig.drive(replica.get()).await.unwrap();
    rig.drive(replica.session.close()).await;
    assert!(!was_reused(&rig), "a spent refresh token was sent");
    assert_eq!(rig.provider.refreshes(), 2);
    let stored = text(&rig.account.oauth(), "refresh_token");
    assert!(rig.provider.is_spendable(&stored));
}

#[tokio::test]
async fn a_panic_after_a_save_does_not_send_the_old_token_again() {
    survives([Fault::PanicAfter]).await;
}

#[tokio::test]
async fn a_panic_before_a_save_does_not_lose_the_new_token() {
    survives([Fault::Panic]).await;
}

#[tokio::test]
async fn panics_in_all_attempts_of_a_save_do_not_lose_the_new_token() {
    survives([Fault::Panic, Fault::PanicAfter, Fault::Panic, Fault::Panic]).await;
}
