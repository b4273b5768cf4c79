//! Many requests at the same time in one process.

use super::{
    account::{Account, Fault as AccountFault},
    rig::{Replica, Rig, text},
};
use emulator::provider::{Fault, Knobs, Provider, ProviderConfig, ProviderEventKind};
use futures_util::{FutureExt, future::join_all};
use sailor::oauth2::{OAuth2, Profile};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// token-failures: T16.
#[tokio::test]
async fn a_hundred_requests_with_an_expired_token_refresh_once() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let results = rig.replica().get_at_once(100).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((rig.provider.refreshes(), rig.account.savings()), (1, 1));
    assert_eq!(rig.statuses(), [200; 100], "the API got no expired token");
}

/// token-failures: T16.
#[tokio::test]
async fn a_hundred_rejected_requests_refresh_once() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let replica = rig.replica();
    let hold = rig.provider.hold_api_responses();
    let (results, ()) = tokio::join!(replica.get_at_once(100), async {
        // All of them are rejected before one of them gets its response.
        hold.held(100).await;
        hold.release();
    });
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(rig.provider.refreshes(), 1);
    let statuses = rig.statuses();
    assert_eq!(
        (&statuses[..100], &statuses[100..]),
        (&[401; 100][..], &[200; 100][..])
    );
}

/// token-failures: T16.
#[tokio::test]
async fn a_late_rejection_costs_no_second_refresh() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let replica = rig.replica();
    rig.provider
        .script_api([Fault::DelayAfter(Duration::from_secs(10))]);
    let mut late = Box::pin(replica.get());
    assert!((&mut late).now_or_never().is_none());
    tokio::select! {
        result = &mut late => panic!("{result:?}"),
        () = rig.provider.api_called(1) => {}
    }
    replica.get().await.unwrap();
    assert_eq!(
        (rig.provider.refreshes(), rig.provider.api_calls().len()),
        (1, 3)
    );

    rig.drive(late).await.unwrap();
    assert_eq!(
        (rig.provider.refreshes(), rig.provider.api_calls().len()),
        (1, 4)
    );
    assert_eq!(rig.statuses(), [401, 401, 200, 200]);
}

/// token-failures: T7.
#[tokio::test]
async fn a_cancelled_waiter_does_not_cancel_the_refresh() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let hold = rig.provider.hold_token_responses();
    let mut first = Box::pin(replica.get());
    tokio::select! {
        result = &mut first => panic!("{result:?}"),
        () = hold.held(1) => {}
    }
    let mut second = Box::pin(replica.get());
    assert!(
        (&mut second).now_or_never().is_none(),
        "it waits for the same exchange"
    );
    drop(first);
    hold.release();
    second.await.unwrap();
    assert_eq!((rig.provider.refreshes(), rig.account.savings()), (1, 1));
    assert!(
        rig.provider
            .is_spendable(rig.account.oauth()["refresh_token"].as_str().unwrap())
    );
}

/// token-failures: T7.
#[tokio::test]
async fn a_refresh_without_waiters_is_saved() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let hold = rig.provider.hold_token_responses();
    tokio::select! {
        result = replica.get() => panic!("{result:?}"),
        () = hold.held(1) => {}
    }
    hold.release();
    rig.account.until(|account| account.savings() == 1).await;
    replica.get().await.unwrap();
    assert_eq!((rig.provider.refreshes(), rig.statuses()), (1, vec![200]));
}

/// token-failures: T7.
#[tokio::test]
async fn closing_waits_for_exchange_and_save() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    rig.account.fail([AccountFault::Wait]);
    let hold = rig.provider.hold_token_responses();
    tokio::select! {
        result = replica.get() => panic!("{result:?}"),
        () = hold.held(1) => {}
    }
    let mut closing = Box::pin(replica.session.close());
    assert!(
        (&mut closing).now_or_never().is_none(),
        "the exchange is running"
    );
    hold.release();
    tokio::select! {
        () = &mut closing => panic!("closed before the save"),
        () = rig.account.saving_begun(1) => {}
    }
    assert!(
        (&mut closing).now_or_never().is_none(),
        "the save is running"
    );
    rig.account.gate.0.add_permits(1);
    closing.await;
    assert_eq!(rig.account.savings(), 1);
    assert!(
        rig.provider
            .is_spendable(rig.account.oauth()["refresh_token"].as_str().unwrap())
    );
}

/// token-failures: T7.
#[tokio::test]
async fn closing_is_bounded() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let hold = rig.provider.hold_token_calls();
    tokio::select! {
        result = replica.get() => panic!("{result:?}"),
        () = hold.held(1) => {}
    }
    let start = tokio::time::Instant::now();
    rig.drive(replica.session.close()).await;
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    let error = replica.get().await.unwrap_err();
    assert!(
        error.is_transient(),
        "{error}: no refresh begins after the stop"
    );
    drop(hold);
}

/// token-failures: T57.
#[tokio::test]
async fn a_hanging_provider_blocks_only_its_own_credential() {
    let mut rig = Rig::expired(Knobs::rotating()).await;
    let slow = rig.replica();
    let hold = rig.provider.hold_token_calls();
    tokio::select! {
        result = slow.get() => panic!("{result:?}"),
        () = hold.held(1) => {}
    }

    let knobs = Knobs::rotating();
    rig.provider = Provider::start(ProviderConfig {
        knobs,
        ..ProviderConfig::default()
    })
    .await
    .unwrap();
    rig.definition = OAuth2::new().base_url(rig.provider.api_url());
    let account =
        Account::new(json!({ "_account": "account-2", "oauth": rig.provider.issue_expired() }));
    let other = rig.replica_with(account.clone());
    other.get().await.unwrap();
    assert_eq!(
        (account.savings(), rig.account.savings()),
        (1, 0),
        "the clock has not moved, so the first one still waits"
    );
    drop(hold);
}

/// A replica with a token that is valid for three more minutes, and a profile that refreshes it five minutes before its
/// expiry.
async fn three_minutes_before_the_end() -> (Rig, Replica) {
    let lifetime = Duration::from_secs(3600);
    let mut rig = Rig::expired(Knobs {
        access_lifetime: lifetime,
        ..Knobs::rotating()
    })
    .await;
    let profile = Profile::from_json(r#"{ "name": "early", "margin": 300 }"#).unwrap();
    rig.definition = rig.definition.clone().custom_profile(profile);
    let replica = rig.replica();
    replica.get().await.unwrap();
    rig.clock.advance(lifetime - Duration::from_secs(180)).await;
    (rig, replica)
}

/// token-failures: T25.
#[tokio::test]
async fn a_valid_token_is_used_while_refreshes_fail() {
    let (rig, replica) = three_minutes_before_the_end().await;
    rig.provider
        .script_token(vec![Fault::Json(503, json!({})); 3]);
    replica.get().await.unwrap();
    rig.drive(rig.provider.token_called(4)).await;
    for _ in 0..10 {
        replica.get().await.unwrap();
    }
    assert_eq!(rig.statuses(), [200; 12]);
    assert_eq!(
        (rig.provider.refreshes(), rig.account.savings()),
        (4, 1),
        "all requests share the delay after a failure"
    );
}

/// token-failures: When a token is refreshed.
#[tokio::test]
async fn a_request_before_the_expiry_does_not_wait() {
    let (rig, replica) = three_minutes_before_the_end().await;
    let hold = rig.provider.hold_token_calls();
    replica.get().await.unwrap();
    hold.held(1).await;
    replica.get().await.unwrap();
    hold.release();
    rig.account.until(|account| account.savings() == 2).await;
    // The refresh ends with its task.
    replica.session.close().await;
    replica.get().await.unwrap();
    let tokens = rig
        .provider
        .api_calls()
        .into_iter()
        .map(|call| call.token.unwrap())
        .collect::<Vec<_>>();
    assert_eq!((&tokens[1], &tokens[2]), (&tokens[0], &tokens[0]));
    assert_ne!(tokens[3], tokens[0], "the next request uses the new token");
    assert_eq!(rig.provider.refreshes(), 2);
}

/// Two accounts with parallel requests, whose tokens expire again and again.
/// token-failures: T57.
#[tokio::test]
async fn two_credentials_in_one_process_are_never_mixed() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let accounts = ["first", "second"].map(|name| {
        let account =
            Account::new(json!({ "_account": name, "oauth": rig.provider.issue_expired() }));
        (name, rig.replica_with(account.clone()), account)
    });
    for round in 0..5 {
        let requests = accounts.iter().flat_map(|(name, replica, _)| {
            (0..10).map(move |n| {
                replica
                    .client()
                    .get(format!("/echo/{name}/{round}/{n}"))
                    .send()
            })
        });
        assert!(join_all(requests).await.iter().all(Result::is_ok));
        rig.provider.expire_access_tokens();
    }
    let mut grant_of = BTreeMap::new();
    for entry in rig.provider.log() {
        if let ProviderEventKind::Issued {
            access,
            refresh,
            grant,
        } = entry.kind
        {
            grant_of.extend(
                [Some(access), refresh]
                    .into_iter()
                    .flatten()
                    .map(|token| (token, grant)),
            );
        }
    }
    for (name, replica, account) in &accounts {
        let own = grant_of[&text(&account.oauth(), "refresh_token")];
        let calls = rig
            .provider
            .api_calls()
            .into_iter()
            .filter(|call| call.path.contains(name));
        let grants = calls
            .map(|call| grant_of[&call.token.unwrap()])
            .collect::<Vec<_>>();
        assert!(
            grants.len() > 50 && grants.iter().all(|grant| *grant == own),
            "{name}: {grants:?}"
        );
        assert_eq!(
            (replica.session.metrics().refreshes, account.savings()),
            (5, 5),
            "{name}"
        );
    }
    assert_eq!(rig.provider.refreshes(), 10);
}
