//! Replicas of a step with the default settings, so with the lock, at a provider that forgives nothing.

use super::step::{Engine, PATIENCE};
use emulator::{
    EmulatorConfig, EventKind,
    provider::{Knobs, ProviderEventKind},
};
use serde_json::{Value, json};
use tokio::time::timeout;

const ROUNDS: usize = 10;
const MESSAGES: usize = 30;

/// A provider without a grace period, which revokes everything if a refresh token comes twice.
async fn strict() -> Engine {
    let knobs = Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    };
    Engine::with_provider(knobs, EmulatorConfig::default(), None).await
}

/// Three replicas process messages. `between` runs before each round of them.
async fn three_replicas(engine: &Engine, operations: &Value, between: impl Fn()) {
    let running = async {
        let ended = tokio::join!(engine.run(), engine.run(), engine.run());
        ended.0.and(ended.1).and(ended.2).unwrap();
    };
    let rounds = async {
        for _ in 0..ROUNDS {
            between();
            for _ in 0..MESSAGES {
                engine.send(operations.clone());
            }
            timeout(PATIENCE, engine.emulator.settled())
                .await
                .expect("settled");
        }
        engine.shutdown.graceful.cancel();
    };
    tokio::join!(running, rounds);
}

/// Every message succeeded at once, and no refresh token was sent twice.
fn assert_nothing_failed(engine: &Engine) {
    let mut events = engine.emulator.events();
    let (mut acked, mut failed) = (0, Vec::new());
    while let Some(event) = events.try_next() {
        match event.kind {
            EventKind::Acked => acked += 1,
            EventKind::Error | EventKind::Rejected | EventKind::Rebound => failed.push(event),
            _ => {}
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(acked, ROUNDS * MESSAGES);
    let log = engine.provider.log();
    assert!(!log.iter().any(|entry| matches!(
        entry.kind,
        ProviderEventKind::Reused { .. } | ProviderEventKind::GrantRevoked { .. }
    )));
    assert!(engine.is_spendable());
}

/// token-failures: T2.
#[tokio::test]
async fn no_message_of_three_replicas_fails() {
    let engine = strict().await;
    three_replicas(&engine, &json!(["request"]), || {
        engine.provider.expire_access_tokens();
    })
    .await;
    assert_nothing_failed(&engine);
    assert_eq!(engine.provider.refreshes(), ROUNDS);
}

/// Modules save keys of their own at the same time, with the tokens that their message began with.
#[tokio::test]
async fn keys_that_modules_save_do_not_replace_newer_tokens() {
    let engine = strict().await;
    three_replicas(&engine, &json!([null, "request", null]), || {
        engine.provider.expire_access_tokens();
    })
    .await;
    assert_nothing_failed(&engine);
    assert_eq!(engine.stored()["prodEnv"], "changed");
}
