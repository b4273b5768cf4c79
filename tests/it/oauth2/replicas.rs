//! Several replicas with one credential. Their lock is an exclusive queue: it ends with its holder's connection, and a
//! holder that loses the connection knows it.

use super::{
    account::Fault,
    broker::Broker,
    process::Process,
    rig::{Rig, text},
};
use emulator::provider::{Fault as HttpFault, Knobs, Provider, ProviderConfig, ProviderEventKind};
use sailor::oauth2::{Error, OAuth2};
use serde_json::{Value, json};
use std::{fmt::Debug, pin::Pin, time::Duration};

/// Longer than any delay after a failure.
const A_WHILE: Duration = Duration::from_secs(31);
const GRACE: Duration = Duration::from_secs(30);

/// A provider with a grace period, in which a spent refresh token still works.
fn with_grace() -> Knobs {
    Knobs {
        grace: GRACE,
        ..Knobs::rotating()
    }
}

/// Whether a spent refresh token was used after its grace period.
fn was_reused(rig: &Rig) -> bool {
    rig.provider.log().iter().any(|entry| {
        matches!(
            entry.kind,
            ProviderEventKind::Reused { .. } | ProviderEventKind::GrantRevoked { .. }
        )
    })
}

/// Whether the stored refresh token works without a grace period.
fn is_healthy(rig: &Rig) -> bool {
    rig.provider.knobs(|knobs| knobs.grace = Duration::ZERO);
    rig.provider
        .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
}

/// Polls `work`, which must not end before `event`.
async fn meanwhile<F: Future<Output: Debug>>(
    work: &mut Pin<Box<F>>,
    event: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        () = event => {}
        done = work => panic!("ended too early: {done:?}"),
    }
}

/// token-failures: T1.
#[tokio::test]
async fn two_replicas_with_an_expired_token_refresh_once() {
    let broker = Broker::start().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let (one, other) = (broker.replica(&rig), broker.replica(&rig));
    let (ones, others) = tokio::join!(one.get_at_once(10), other.get_at_once(10));
    assert!(
        ones.iter().chain(&others).all(Result::is_ok),
        "{ones:?} {others:?}"
    );
    assert_eq!(
        (rig.provider.token_calls().len(), rig.statuses()),
        (1, vec![200; 20])
    );
    assert!(is_healthy(&rig));
}

/// token-failures: T6.
#[tokio::test]
async fn a_waiting_replica_uses_the_other_ones_token() {
    let broker = Broker::start().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let (one, (other, lock)) = (broker.replica(&rig), broker.watched_replica(&rig));
    let hold = rig.provider.hold_token_responses();
    let mut first = Box::pin(one.get());
    meanwhile(&mut first, hold.held(1)).await;
    let mut second = Box::pin(other.get());
    meanwhile(&mut second, lock.asked(1)).await;
    assert!(!broker.is_free(&rig).await);
    hold.release();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(rig.provider.token_calls().len(), 1);
    let counts = other.session.metrics();
    assert_eq!(
        (counts.refreshes, counts.adopted, counts.failures),
        (0, 1, 0)
    );
}

/// token-failures: T2.
#[tokio::test]
async fn without_the_lock_a_static_refresh_token_is_used() {
    let broker = Broker::start().await;
    let rig = Rig::expired(Knobs::default()).await;
    let (replica, lock) = broker.watched_replica(&rig);
    replica.get().await.unwrap();
    lock.set_down(true);
    rig.provider.expire_access_tokens();
    replica.get().await.unwrap();
    lock.asked(2).await;
    assert_eq!(rig.provider.refreshes(), 2);
}

/// token-failures: T2.
#[tokio::test]
async fn without_the_lock_a_rotating_token_is_not_spent() {
    let broker = Broker::start().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let (replica, lock) = broker.watched_replica(&rig);
    for refreshes in [0, 1] {
        // Whether the token rotates is unknown at first.
        lock.set_down(true);
        rig.provider.expire_access_tokens();
        let error = replica.get().await.unwrap_err();
        assert!(
            error.is_transient() && error.to_string().contains("no connection to the broker"),
            "{error}"
        );
        assert_eq!(rig.provider.refreshes(), refreshes);

        lock.set_down(false);
        rig.clock.advance(A_WHILE).await;
        replica.get().await.unwrap();
        assert_eq!(rig.provider.refreshes(), refreshes + 1);
    }
}

/// token-failures: T4.
#[tokio::test]
async fn a_stalled_replica_without_its_lock_sends_nothing() {
    let broker = Broker::emulated().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let ((one, lock), other) = (broker.watched_replica(&rig), broker.replica(&rig));
    *rig.account.slow_reads.lock().unwrap() = 1;
    let mut stalled = Box::pin(one.get());
    meanwhile(
        &mut stalled,
        rig.account
            .until(|account| *account.stalled.lock().unwrap() == 1),
    )
    .await;
    assert!(lock.is_held());
    broker.cut();
    other.get().await.unwrap();
    while lock.is_held() {
        tokio::task::yield_now().await;
    }
    rig.account.gate.0.add_permits(1);
    let error = stalled.await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("the lock was lost"),
        "{error}"
    );
    assert_eq!(rig.provider.token_calls().len(), 1);

    rig.clock.advance(A_WHILE).await;
    one.get().await.unwrap();
    assert_eq!(
        (rig.provider.token_calls().len(), was_reused(&rig)),
        (1, false)
    );
}

/// token-failures: T5.
#[tokio::test]
async fn releasing_a_lost_lock_does_not_release_another() {
    let broker = Broker::emulated().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let ((one, lock), other) = (broker.watched_replica(&rig), broker.replica(&rig));
    *rig.account.slow_reads.lock().unwrap() = 1;
    let mut stalled = Box::pin(one.get());
    meanwhile(
        &mut stalled,
        rig.account
            .until(|account| *account.stalled.lock().unwrap() == 1),
    )
    .await;
    broker.cut();
    let hold = rig.provider.hold_token_responses();
    let mut refreshing = Box::pin(other.get());
    meanwhile(&mut refreshing, hold.held(1)).await;
    while lock.is_held() {
        tokio::task::yield_now().await;
    }
    rig.account.gate.0.add_permits(1);
    stalled.await.unwrap_err();
    assert!(
        !broker.is_free(&rig).await,
        "the other replica still holds the lock"
    );
    hold.release();
    refreshing.await.unwrap();
    assert!(broker.is_free(&rig).await);
}

/// token-failures: T1.
#[tokio::test]
async fn a_token_spent_elsewhere_is_replaced_by_the_saved_one() {
    // Without a lock, both find the same token before one of them spends it.
    let rig = Rig::expired(Knobs {
        kill_family_on_reuse: false,
        ..Knobs::rotating()
    })
    .await;
    let (one, other) = (rig.replica(), rig.replica());
    rig.account.fail([Fault::Wait]);
    let mut first = Box::pin(one.get());
    meanwhile(&mut first, rig.account.saving_begun(1)).await;
    let mut second = Box::pin(other.get());
    meanwhile(&mut second, rig.provider.token_called(2)).await;
    rig.account.gate.0.add_permits(1);
    first.await.unwrap();
    rig.drive(second).await.unwrap();
    let counts = other.session.metrics();
    assert_eq!(
        (counts.refreshes, counts.adopted, counts.failures),
        (0, 1, 0)
    );
    assert_eq!(
        rig.provider
            .token_calls()
            .iter()
            .map(|call| call.request.status)
            .collect::<Vec<_>>(),
        [Some(200), Some(400)]
    );
    other.get().await.unwrap();
    assert!(is_healthy(&rig));
}

/// token-failures: T1.
#[tokio::test]
async fn a_rejected_token_of_another_replica_is_refreshed() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let (idle, busy) = (rig.replica(), rig.replica());
    busy.get().await.unwrap();
    rig.provider.expire_access_tokens();
    idle.get().await.unwrap();
    assert_eq!(
        rig.statuses()[2..],
        [401, 401, 200],
        "its own token, the one of the other, a new one"
    );
    assert_eq!(rig.provider.refreshes(), 2);

    // There are no further attempts.
    rig.provider
        .script_api(vec![HttpFault::Json(401, json!({})); 5]);
    busy.get().await.unwrap_err();
    assert_eq!((rig.statuses().len(), rig.provider.refreshes()), (8, 3));
}

/// token-failures: T28.
#[tokio::test]
async fn a_dead_refresh_token_is_not_sent_again_while_stored() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.provider.revoke_all();
    let replica = rig.replica();
    for _ in 0..3 {
        let error = rig.drive(replica.get()).await.unwrap_err();
        assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
        assert_eq!(
            (rig.provider.token_calls().len(), rig.account.savings()),
            (1, 0)
        );
        rig.clock.advance(A_WHILE).await;
    }
    // The error belongs to that token only.
    rig.account
        .set(json!({ "oauth": rig.provider.issue_expired() }));
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(rig.provider.token_calls().len(), 2);
}

/// token-failures: T28.
#[tokio::test]
async fn replicas_recover_when_the_user_connects_again() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.provider.revoke_all();
    let replicas = [rig.replica(), rig.replica()];
    for replica in &replicas {
        let error = rig.drive(replica.get()).await.unwrap_err();
        assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
    }
    let calls = rig.provider.token_calls().len();
    rig.account.set(json!({ "oauth": rig.provider.issue() }));
    rig.clock.advance(A_WHILE).await;
    for replica in &replicas {
        rig.drive(replica.get()).await.unwrap();
    }
    assert_eq!(
        rig.provider.token_calls().len(),
        calls,
        "the new token is used without a refresh"
    );
}

/// token-failures: T13.
#[tokio::test]
async fn a_disconnected_credential_is_not_refreshed() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    rig.account.set(json!({ "oauth": null }));
    let error = rig.drive(replica.get()).await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains("were removed")),
        "{error}"
    );
    assert!(rig.provider.token_calls().is_empty());
    assert_eq!(rig.account.stored(), json!({ "oauth": null }));
}

/// The user connects to another organization, with another base URL. Neither gets the tokens of the other.
/// token-failures: T28.
#[tokio::test]
async fn a_reconnected_credential_is_adopted() {
    for expired in [false, true] {
        let mut rig = Rig::new(Knobs::rotating()).await;
        let elsewhere = Provider::start(ProviderConfig::default()).await.unwrap();
        rig.definition = OAuth2::new().base_url("{{prodEnv}}/api");
        rig.descriptor["credentials"]["oauth2"]["token_uri"] = "{{prodEnv}}/token".into();
        let at = |provider: &Provider, tokens| json!({ "oauth": Value::Object(tokens), "prodEnv": provider.url() });
        rig.account.set(at(&rig.provider, rig.provider.issue()));
        let replica = rig.replica();
        replica.get().await.unwrap();
        rig.provider.revoke_all();
        let tokens = if expired {
            elsewhere.issue_expired()
        } else {
            elsewhere.issue()
        };
        rig.account.set(at(&elsewhere, tokens));
        rig.drive(replica.get()).await.unwrap();
        replica.get().await.unwrap();
        assert_eq!(
            (rig.provider.token_calls().len(), elsewhere.refreshes()),
            (0, usize::from(expired))
        );
        assert_eq!(rig.statuses(), [200, 401]);
        let seen = format!("{:?}", rig.provider.api_calls());
        assert!(
            !elsewhere
                .secrets()
                .iter()
                .any(|secret| seen.contains(secret))
        );
        assert_eq!(rig.account.stored()["prodEnv"], elsewhere.url());
    }
}

/// The lock has no time to live. Here an exchange times out and is retried; an assertion in the session's code compares
/// the longest wait with the longest hold.
/// token-failures: T4.
#[tokio::test]
async fn the_lock_is_held_during_a_long_exchange() {
    let broker = Broker::start().await;
    let rig = Rig::expired(with_grace()).await;
    let (one, (other, lock)) = (broker.replica(&rig), broker.watched_replica(&rig));
    let hold = rig.provider.hold_token_responses();
    let mut first = Box::pin(one.get());
    meanwhile(&mut first, hold.held(1)).await;
    let mut second = Box::pin(other.get());
    meanwhile(&mut second, lock.asked(1)).await;
    meanwhile(&mut first, rig.drive(hold.held(2))).await;
    assert!(
        !broker.is_free(&rig).await,
        "the first exchange times out, and the lock is kept"
    );
    hold.release();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(
        (
            one.session.metrics().refreshes,
            other.session.metrics().refreshes
        ),
        (1, 0)
    );
    assert!(is_healthy(&rig));
}

/// token-failures: T1.
#[tokio::test]
async fn two_racing_replicas_stay_connected_within_the_grace_period() {
    let rig = Rig::expired(with_grace()).await;
    let (one, other) = (rig.replica(), rig.replica());
    let hold = rig.provider.hold_token_calls();
    let (first, second, ()) = tokio::join!(one.get(), other.get(), async {
        hold.held(2).await;
        hold.release();
    });
    first.unwrap();
    second.unwrap();
    assert_eq!(rig.spent()[0], rig.spent()[1]);

    rig.clock.advance(GRACE).await;
    for replica in [&one, &other, &other, &one] {
        rig.provider.expire_access_tokens();
        replica.get().await.unwrap();
    }
    assert!(!was_reused(&rig));
    assert!(is_healthy(&rig));
}

/// Kills a replica between the provider's rotation and the save.
async fn killed_before_it_could_save(rig: &Rig) {
    let process = Process::start(rig, &rig.account, rig.config());
    rig.account.fail([Fault::Hang]);
    tokio::select! {
        result = process.get() => panic!("{result:?}"),
        () = rig.account.saving_begun(1) => {}
    }
    process.kill();
    assert_eq!(
        (rig.provider.token_calls().len(), rig.account.savings()),
        (1, 0)
    );
}

/// token-failures: T8.
#[tokio::test]
async fn after_a_crash_the_next_replica_refreshes_in_the_grace_period() {
    let rig = Rig::expired(with_grace()).await;
    killed_before_it_could_save(&rig).await;
    let other = rig.replica();
    other.get().await.unwrap();
    assert_eq!(rig.spent()[0], rig.spent()[1]);
    assert_eq!(rig.account.savings(), 1);
    assert!(is_healthy(&rig));
}

/// token-failures: T8.
#[tokio::test]
async fn after_the_grace_period_the_error_names_the_causes() {
    let rig = Rig::expired(with_grace()).await;
    killed_before_it_could_save(&rig).await;
    rig.clock.advance(GRACE).await;
    let error = rig.drive(rig.replica().get()).await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(text) if text.contains("a process ended before it saved the replacement")),
        "{error}"
    );
}

/// token-failures: T8.
#[tokio::test]
async fn a_replica_that_lost_the_response_reports_outcome_unknown() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.provider.script_token([HttpFault::DropAfter]);
    let error = rig.drive(rig.replica().get()).await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(text) if text.contains("(outcome unknown)")),
        "{error}"
    );
    assert_eq!(
        rig.spent()[0],
        rig.spent()[1],
        "the retry sends the same token"
    );
}
