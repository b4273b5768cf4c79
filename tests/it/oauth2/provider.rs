//! The effects of token endpoint errors on a credential. `src/oauth2/tests` tests how the errors are read.

use super::{
    account::Account,
    capture::Capture,
    rig::{Rig, text},
};
use emulator::provider::{Fault, Knobs};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sailor::oauth2::Error;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Which variant of [`Error`] it is.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Config(_) => "config",
        Error::ReauthRequired(_) => "reauth",
        Error::Unavailable { .. } => "unavailable",
        _ => "other",
    }
}

/// The error of a request whose refresh gets these responses. It must not change what is stored.
async fn refresh_error(rig: &Rig, responses: impl IntoIterator<Item = Fault>) -> Error {
    let stored = rig.account.stored();
    rig.provider.script_token(responses);
    let error = rig
        .drive(rig.replica().get())
        .await
        .expect_err("there is no token");
    assert_eq!((rig.account.stored(), rig.account.savings()), (stored, 0));
    // The token that has expired is sent only if another attempt may help: clocks differ.
    assert_eq!(
        rig.provider.api_calls().is_empty(),
        !error.is_transient(),
        "{error}"
    );
    error
}

/// token-failures: Kinds of refusal.
#[tokio::test]
async fn each_error_class_has_its_own_error_and_attempts() {
    let error = |status, code: &str| Fault::Json(status, json!({ "error": code }));
    let cases = [
        (error(400, "invalid_grant"), "reauth", 1),
        // In both ways to send the client's secret.
        (error(401, "invalid_client"), "config", 2),
        (error(400, "no_such_thing"), "unavailable", 1),
        (error(503, "temporarily_unavailable"), "unavailable", 3),
    ];
    for (response, expected, attempts) in cases {
        let rig = Rig::expired(Knobs::rotating()).await;
        let error = refresh_error(&rig, vec![response.clone(); attempts]).await;
        assert_eq!(
            (kind(&error), error.is_transient()),
            (expected, expected == "unavailable"),
            "{response:?}: {error}"
        );
        assert_eq!(rig.provider.refreshes(), attempts, "{response:?}");
        assert!(
            rig.provider
                .is_spendable(&text(&rig.account.oauth(), "refresh_token")),
            "{response:?}"
        );
    }
}

/// The provider refuses a refresh while another one of the same token runs. The second process can only retry: it cannot
/// see what the first one saves.
/// token-failures: T17.
#[tokio::test]
async fn salesforce_parallel_refresh_errors_are_retried() {
    let knobs = Knobs {
        concurrent_refresh_fails: true,
        omit_refresh_token: true,
        ..Knobs::default()
    };
    let mut rig = Rig::expired(knobs).await;
    rig.definition = rig.definition.clone().profile("salesforce");
    rig.provider
        .knobs(|knobs| knobs.require_param = vec![("format".into(), "json".into())]);
    let (first, second) = (
        rig.replica(),
        rig.replica_with(Account::new(rig.account.stored())),
    );
    let held = rig.provider.hold_token_calls();
    let (one, other, ()) = rig
        .drive(async {
            tokio::join!(Box::pin(first.get()), Box::pin(second.get()), async {
                rig.provider.token_called(2).await;
                held.release();
            })
        })
        .await;
    one.unwrap();
    other.unwrap();
    let statuses = rig
        .provider
        .token_calls()
        .iter()
        .map(|call| call.request.status.unwrap())
        .collect::<Vec<_>>();
    assert!(
        statuses.len() > 2 && statuses.iter().filter(|status| **status == 200).count() == 2,
        "{statuses:?}"
    );
}

/// A provider without a grace period has already spent the old refresh token, so the response must be used.
/// token-failures: T37.
#[tokio::test]
async fn an_unknown_token_type_is_used_with_one_warning() {
    for (token_type, warnings) in [("Bearer", 0), ("mac", 1)] {
        let capture = Capture::begin();
        let knobs = Knobs {
            token_type: Some(token_type.to_owned()),
            kill_family_on_reuse: true,
            ..Knobs::rotating()
        };
        let rig = Rig::expired(knobs).await;
        let replica = rig.replica();
        for refreshes in 1..=3 {
            replica.get().await.unwrap();
            let stored = rig.account.oauth();
            assert!(
                rig.provider.is_spendable(&text(&stored, "refresh_token")),
                "{token_type}"
            );
            let sent = format!("Bearer {}", text(&stored, "access_token"));
            assert_eq!(rig.provider.authorizations().last(), Some(&sent));
            assert_eq!(rig.provider.refreshes(), refreshes, "{token_type}");
            rig.provider.expire_access_tokens();
        }
        assert_eq!(
            capture.text().matches("is not listed in").count(),
            warnings,
            "{token_type}"
        );
    }
}

/// An empty 200 of a gateway, and other responses that are not understood: each causes a delay, and the refresh token
/// is kept.
/// token-failures: T23.
#[tokio::test]
async fn unknown_responses_delay_but_do_not_kill_the_credential() {
    let empty = Fault::Response {
        status: 200,
        headers: vec![],
        body: String::new(),
    };
    for response in [
        empty,
        Fault::oauth_error("no_such_thing"),
        Fault::Json(200, json!({ "ok": true })),
    ] {
        let rig = Rig::expired(Knobs::default()).await;
        rig.provider.script_token(vec![response.clone(); 8]);
        let replica = rig.replica();
        for attempt in 1..=8 {
            for error in rig.drive(replica.get_at_once(5)).await {
                let error = error.unwrap_err();
                assert_eq!(
                    (kind(&error), error.is_transient()),
                    ("unavailable", true),
                    "{attempt}: {error}"
                );
            }
            assert_eq!(
                rig.provider.refreshes(),
                attempt,
                "{response:?}: all share the delay"
            );
            // The delay is over, so the next request refreshes.
            rig.clock.advance(Duration::from_secs(31)).await;
        }
        rig.drive(replica.get()).await.unwrap();
        assert_eq!(rig.provider.refreshes(), 9, "{response:?}");
    }
}

/// Finds no host at first.
struct Resolver {
    to: SocketAddr,
    fails: usize,
    asked: AtomicUsize,
}

/// The resolver in the form that reqwest takes.
struct Shared(Arc<Resolver>);

impl Resolve for Shared {
    fn resolve(&self, _: Name) -> Resolving {
        let found = self.0.asked.fetch_add(1, Ordering::Relaxed) >= self.0.fails;
        let to: Addrs = Box::new([self.0.to].into_iter());
        Box::pin(std::future::ready(if found {
            Ok(to)
        } else {
            Err("no such host".into())
        }))
    }
}

/// token-failures: T25.
#[tokio::test]
async fn a_transient_dns_error_costs_one_refresh() {
    let mut rig = Rig::expired(Knobs::rotating()).await;
    let addr = rig.provider.addr();
    rig.definition = rig
        .definition
        .clone()
        .token_uri(format!("http://localhost:{}/token", addr.port()));
    let resolver = Arc::new(Resolver {
        to: addr,
        fails: 2,
        asked: AtomicUsize::new(0),
    });
    let mut config = rig.config();
    config.http = reqwest::Client::builder()
        .dns_resolver(Shared(resolver.clone()))
        .build()
        .unwrap();
    let replica = rig.replica_using(rig.account.clone(), config);
    let began = Instant::now();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 3);
    assert_eq!(
        (
            rig.provider.refreshes(),
            replica.session.metrics().refreshes,
            rig.account.savings()
        ),
        (1, 1, 1)
    );
    assert_eq!(replica.session.metrics().failures, 0);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}
