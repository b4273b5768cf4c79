//! Keys that a module emits: they must not replace a newer token.

use super::{
    capture::Capture,
    clock::Clock,
    step::{Engine, PATIENCE},
};
use emulator::{EmulatorConfig, EventKind};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn emitting_the_initial_configuration_keeps_the_new_token() {
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    engine.send(json!(["request", null]));
    engine.work().await;
    assert_eq!(engine.stored()["prodEnv"], "changed");
    assert_eq!(engine.provider.refreshes(), 1);
    assert!(
        engine.is_spendable(),
        "the spent refresh token was saved over its successor"
    );
}

#[tokio::test]
async fn other_emitted_keys_keep_a_token_that_is_being_saved() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let engine = Engine::new(config, None).await;
    engine
        .emulator
        .broker()
        .delay_confirms(Duration::from_millis(500));
    engine.send(json!(["request"]));
    let mut running = engine.run();
    let messages = async {
        // Saved over REST; the confirm of the queue is delayed.
        engine.event(EventKind::UpdateKeys).await;
        engine.send(json!([{ "prodEnv": "changed" }]));
        timeout(PATIENCE, engine.emulator.settled())
            .await
            .expect("settled");
    };
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = messages => {}
    }
    engine.shutdown.graceful.cancel();
    running.await.unwrap();
    assert_eq!(
        (
            engine.stored()["prodEnv"].as_str(),
            engine.provider.refreshes()
        ),
        (Some("changed"), 1)
    );
    assert!(
        engine.is_spendable(),
        "the spent refresh token was saved over its successor"
    );
}

#[tokio::test]
async fn other_emitted_keys_keep_the_token_of_another_replica() {
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    let mut running = engine.run();
    engine.send(json!([]));
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = engine.event(EventKind::Acked) => {}
    }
    let theirs = engine.provider.issue();
    let mut account = engine.stored();
    account.insert("oauth".into(), theirs.clone().into());
    engine.emulator.platform().set_account("acc", account);
    engine.send(json!([{ "prodEnv": "changed" }]));
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = async { timeout(PATIENCE, engine.emulator.settled()).await.expect("settled") } => {}
    }
    engine.shutdown.graceful.cancel();
    running.await.unwrap();
    assert_eq!(engine.stored()["prodEnv"], "changed");
    assert_eq!(
        engine.stored()["oauth"]["refresh_token"],
        theirs["refresh_token"]
    );
}

/// A queue that confirms nothing holds up the module that saves, and nobody else.
#[tokio::test]
async fn a_save_that_hangs_does_not_keep_others_from_refreshing() {
    let (clock, log) = (Clock::paused(), Capture::begin());
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let engine = Engine::new(config, None).await;
    engine
        .emulator
        .broker()
        .delay_confirms(Duration::from_secs(24 * 3600));
    let mut running = engine.run();
    let refreshing = async {
        engine.send(json!([{ "prodEnv": "changed" }]));
        engine.event(EventKind::UpdateKeys).await;
        engine.send(json!(["request"]));
        clock.drive(engine.provider.token_called(1)).await;
    };
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = refreshing => {}
    }
    log.assert_one(&["A module has not saved its keys in time", "seconds=20"]);
}
