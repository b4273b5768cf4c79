//! The end of a process while it refreshes a token: it waits until the token is saved.

use super::{
    clock::Clock,
    step::{Engine, Running},
};
use emulator::{EmulatorConfig, EventKind};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Longer than the time that a process gives to work that it abandons.
const LONGER_THAN_ABANDONED: Duration = Duration::from_millis(1500);

/// Moves the clock until `work` is done. The process must not end before that.
async fn while_running(clock: &Clock, running: &mut Running<'_>, work: impl Future<Output = ()>) {
    tokio::select! {
        ended = running => panic!("the process ended with an unsaved token: {ended:?}"),
        () = clock.drive(work) => {}
    }
}

#[tokio::test]
async fn after_a_failed_hook_a_refresh_is_still_saved() {
    let clock = Clock::paused();
    let fail = Arc::new(Notify::new());
    let engine = Engine::new(EmulatorConfig::default(), Some(fail.clone())).await;
    let hold = engine.provider.hold_token_responses();
    let mut running = engine.run();
    while_running(&clock, &mut running, async {
        hold.held(1).await;
        fail.notify_one();
        engine.event(EventKind::Error).await;
        tokio::time::sleep(LONGER_THAN_ABANDONED).await;
    })
    .await;
    hold.release();
    let error = clock.drive(running).await.unwrap_err();
    assert!(error.to_string().contains("cannot start"), "{error}");
    assert!(engine.is_spendable());
}

#[tokio::test]
async fn a_stop_during_start_up_waits_for_the_refresh_to_be_saved() {
    let clock = Clock::paused();
    let fail = Arc::new(Notify::new());
    let engine = Engine::new(EmulatorConfig::default(), Some(fail)).await;
    let hold = engine.provider.hold_token_responses();
    let mut running = engine.run_with(&[("ELASTICIO_SHUTDOWN_TIMEOUT", "1")]);
    while_running(&clock, &mut running, async {
        hold.held(1).await;
        engine.shutdown.graceful.cancel();
        // The hook exceeds its time limit; the refresh has a slightly longer one.
        tokio::time::sleep(Duration::from_millis(1300)).await;
    })
    .await;
    hold.release();
    clock.drive(running).await.unwrap();
    assert!(engine.is_spendable());
}

#[tokio::test]
async fn after_a_permanent_broker_error_a_refresh_is_still_saved() {
    let clock = Clock::paused();
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    let hold = engine.provider.hold_token_responses();
    let mut running = engine.run_with(&[("ELASTICIO_REFUSAL_TIMEOUT", "1")]);
    engine.send(json!(["request"]));
    while_running(&clock, &mut running, async {
        hold.held(1).await;
        let uri = engine.emulator.broker().uri();
        let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let input = engine.emulator.topology().input.as_str();
        channel
            .queue_delete(input.into(), Default::default())
            .await
            .unwrap();
    })
    .await;
    while_running(&clock, &mut running, engine.stopping.notified()).await;
    while_running(&clock, &mut running, async {
        tokio::time::sleep(LONGER_THAN_ABANDONED * 4).await;
    })
    .await;
    hold.release();
    clock.drive(running).await.unwrap_err();
    assert!(engine.is_spendable());
}
