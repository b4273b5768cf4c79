//! The time limits of a session and of the end of a step: each test waits until one strikes. docs/time-limits.md names them.

use super::{
    account::Fault,
    capture::Capture,
    clock::Clock,
    rig::Rig,
    step::{Engine, Running},
};
use emulator::{EmulatorConfig, EventKind, provider::Knobs};
use futures_util::future::BoxFuture;
use sailor::oauth2::internals::{LockError, LockGuard, RefreshLock};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The lock of a credential: after the first time, another process holds it.
#[derive(Default)]
struct HeldElsewhere(AtomicBool);

struct Held;

impl RefreshLock for HeldElsewhere {
    fn acquire<'a>(
        &'a self,
        _: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        Box::pin(async move {
            if self.0.swap(true, Relaxed) {
                tokio::time::sleep(wait).await;
                return Err(LockError::TimedOut);
            }
            Ok(Box::new(Held) as Box<dyn LockGuard>)
        })
    }
}

impl LockGuard for Held {
    fn is_held(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_store_that_does_not_respond_is_given_up_in_15_seconds() {
    let rig = Rig::stale(Knobs::rotating()).await;
    *rig.account.slow_reads.lock().unwrap() = usize::MAX;
    let (replica, start) = (rig.replica(), Instant::now());
    let error = rig.drive(replica.get()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let told = "the platform did not respond within 15 s";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(start.elapsed().as_secs(), 15);
    assert_eq!(rig.provider.refreshes(), 0);
}

/// token-failures: T9.
#[tokio::test]
async fn saves_that_hang_are_named_in_the_log() {
    let rig = Rig::expired(Knobs::rotating()).await;
    rig.account.fail([Fault::Hang, Fault::Hang, Fault::Hang]);
    let (replica, log) = (rig.replica(), Capture::begin());
    let start = Instant::now();
    rig.drive(replica.get()).await.unwrap();
    // Three attempts, and the delays between them.
    assert!((60..65).contains(&start.elapsed().as_secs()));
    log.assert_one(&[
        "The new refresh token could not be saved; only this process has it",
        "the platform did not confirm the save within 20 s",
    ]);
    rig.drive(rig.account.until(|account| account.savings() == 1))
        .await;
}

/// token-failures: T13.
#[tokio::test]
async fn a_save_continues_later_if_the_account_seems_to_be_gone() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let stored = rig.account.stored();
    rig.account.fail([Fault::Wait]);
    let (replica, log) = (rig.replica(), Capture::begin());
    let start = Instant::now();
    let account_is_gone = async {
        rig.account.saving_begun(1).await;
        rig.account.delete();
        *rig.account.slow_reads.lock().unwrap() = 1;
        rig.clock.advance(Duration::from_millis(500)).await;
        rig.account.gate.0.add_permits(1);
        rig.drive(
            rig.account
                .until(|account| *account.stalled.lock().unwrap() == 1),
        )
        .await;
        // The checks do not end by themselves.
        rig.drive(tokio::time::sleep(Duration::from_secs(41))).await;
    };
    let (used, ()) = tokio::join!(replica.get(), account_is_gone);
    used.unwrap();
    assert!((40..45).contains(&start.elapsed().as_secs()));
    log.assert_one(&[
        "whether the credential is gone; it counts as present",
        "seconds=40",
    ]);
    log.assert_one(&[
        "The new refresh token could not be saved",
        "the account does not exist, for more than 40 s; it is saved later",
    ]);
    assert_eq!(*rig.account.begun.lock().unwrap(), 1);
    rig.account.set(stored);
    rig.drive(rig.account.until(|account| account.savings() == 1))
        .await;
}

/// token-failures: T1.
#[tokio::test]
async fn a_refresh_waits_345_seconds_for_the_lock() {
    let mut rig = Rig::stale(Knobs::rotating()).await;
    rig.lock = Some(Arc::new(HeldElsewhere(AtomicBool::new(true))));
    let (replica, start) = (rig.replica(), Instant::now());
    let step = Duration::from_secs(1);
    let error = rig.clock.drive_by(step, replica.get()).await.unwrap_err();
    let told = "timed out waiting for the credential's lock, which another process holds (waited for 345 s)";
    assert!(
        error.is_transient() && error.to_string().contains(told),
        "{error}"
    );
    // The clock also moves while the account is read.
    assert!(start.elapsed().as_secs() >= 345);
    assert_eq!(rig.provider.refreshes(), 0);
}

/// token-failures: T9.
#[tokio::test]
async fn a_save_goes_on_without_the_lock_after_5_seconds() {
    let mut rig = Rig::expired(Knobs::default()).await;
    rig.lock = Some(Arc::new(HeldElsewhere::default()));
    *rig.account.down.lock().unwrap() = true;
    let (replica, log) = (rig.replica(), Capture::begin());
    rig.drive(replica.get()).await.unwrap();
    *rig.account.down.lock().unwrap() = false;
    rig.drive(rig.account.until(|account| account.savings() == 1))
        .await;
    log.assert_one(&[
        "The credential's lock is not available, and the work goes on without it",
        "(waited for 5 s)",
    ]);
}

/// Moves the clock until `work` is done, while the step runs.
async fn while_running(clock: &Clock, running: &mut Running<'_>, work: impl Future<Output = ()>) {
    tokio::select! {
        ended = running => panic!("the process ended: {ended:?}"),
        () = clock.drive(work) => {}
    }
}

/// token-failures: T7.
#[tokio::test]
async fn a_stop_leaves_a_refresh_behind_and_says_so() {
    let clock = Clock::paused();
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    let hold = engine.provider.hold_token_responses();
    let log = Capture::begin();
    let mut running = engine.run_with(&[("ELASTICIO_SHUTDOWN_TIMEOUT", "2")]);
    engine.send(json!(["request"]));
    while_running(&clock, &mut running, hold.held(1)).await;
    engine.shutdown.graceful.cancel();
    let start = Instant::now();
    clock.drive(running).await.unwrap();
    // The module, and then the refresh.
    assert!((3..6).contains(&start.elapsed().as_secs()));
    let line = "A token was being refreshed when the time to stop was over; it may be lost";
    log.assert_one(&[line, "seconds=1"]);
    drop(hold);
}

#[tokio::test]
async fn the_report_of_a_failed_start_takes_10_seconds() {
    let clock = Clock::paused();
    let fail = Arc::new(Notify::new());
    let engine = Engine::new(EmulatorConfig::default(), Some(fail.clone())).await;
    let _hold = engine.provider.hold_token_responses();
    let day = Duration::from_secs(24 * 3600);
    engine.emulator.broker().delay_confirms(day);
    let log = Capture::begin();
    let mut running = engine.run_with(&[("ELASTICIO_SHUTDOWN_TIMEOUT", "1")]);
    fail.notify_one();
    while_running(&clock, &mut running, engine.event(EventKind::Error)).await;
    let start = Instant::now();
    let error = clock.drive(running).await.unwrap_err();
    assert!(error.to_string().contains("cannot start"), "{error}");
    assert!((9..15).contains(&start.elapsed().as_secs()));
    let line = "Timed out reporting the start error to the platform";
    log.assert_one(&[line, "seconds=10"]);
}
