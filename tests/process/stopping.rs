//! Signals: nothing is lost or processed twice, and every wait ends.

use super::*;
use emulator::platform::Fault;

/// The seconds of the lines with this text.
fn said(log: &[Value], text: &str) -> Vec<u64> {
    let lines = log
        .iter()
        .filter(|line| line["msg"].as_str().is_some_and(|msg| msg.contains(text)));
    lines
        .map(|line| line["seconds"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn sigterm_finishes_running_messages() {
    let rig = scripted(5).await;
    let component = rig.start();
    for n in 0..5 {
        rig.send(json!([["sleep", 300], ["data", { "body": { "n": n } }]]));
    }
    rig.events(EventKind::Delivered, 5).await;
    let (status, _) = component.stop().await;
    assert_eq!(status, 0);
    let data = rig.so_far(EventKind::Data);
    let mut numbers: Vec<_> = bodies(&data)
        .iter()
        .map(|body| body["n"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(
        (rig.so_far(EventKind::Acked).len(), rig.left_in_queue()),
        (5, 0)
    );
}

#[tokio::test]
async fn sigint_leaves_undelivered_messages_in_the_queue() {
    let rig = scripted(2).await;
    for _ in 0..6 {
        rig.send(json!([["sleep", 300], ["data", { "body": {} }]]));
    }
    let component = rig.start();
    rig.events(EventKind::Delivered, 2).await;
    component.signal("INT");
    let (status, _) = component.end().await;
    let acknowledged = rig.so_far(EventKind::Acked).len();
    assert_eq!(status, 0);
    assert_eq!(rig.so_far(EventKind::Data).len(), acknowledged);
    assert_eq!(rig.left_in_queue(), 6 - acknowledged);
}

#[tokio::test]
async fn a_message_past_the_shutdown_timeout_returns_to_the_queue() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1");
    let component = rig.start();
    rig.send(json!([["sleep", 3_600_000], ["data", { "body": {} }]]));
    rig.events(EventKind::Delivered, 1).await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    let over = "The time to finish running messages is over (ELASTICIO_SHUTDOWN_TIMEOUT)";
    assert_eq!(said(&log, over), [1], "{log:?}");
    rig.events(EventKind::Requeued, 1).await;
    assert_eq!(
        (rig.so_far(EventKind::Data).len(), rig.left_in_queue()),
        (0, 1)
    );
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    rig.send(json!([["sleep", 3_600_000]]));
    rig.events(EventKind::Delivered, 1).await;
    component.signal("TERM");
    component.says("Stopping").await;
    component.signal("TERM");
    let (status, _) = component.end().await;
    assert_eq!(status, 0);
    rig.events(EventKind::Requeued, 1).await;
}

#[tokio::test]
async fn an_unpublished_event_returns_its_message_to_the_queue() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1");
    rig.emulator.broker().nack_publishes(usize::MAX);
    let component = rig.start();
    rig.send(json!([["data", { "body": {} }]]));
    rig.events(EventKind::Refused, 2).await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    rig.events(EventKind::Requeued, 1).await;
    assert_eq!(
        (rig.so_far(EventKind::Rejected).len(), rig.left_in_queue()),
        (0, 1)
    );
    assert!(
        log.iter().all(|line| line["level"] != 60),
        "nothing is lost: {log:?}"
    );
}

#[tokio::test]
async fn sigterm_ends_the_process_without_a_broker() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().refuse_connections(true);
    rig.emulator.broker().drop_connections();
    let (status, _) = component.stop().await;
    assert_eq!(status, 0);
}

#[tokio::test]
async fn blocking_modules_do_not_prevent_the_exit() {
    let rig = scripted(1).await;
    let rig = rig
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1")
        .variable("TOKIO_WORKER_THREADS", "1");
    let component = rig.start();
    rig.send(json!([["data", { "body": {} }], ["block", 3_600_000]]));
    rig.events(EventKind::Data, 1).await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    // The only thread is blocked, and with it the clock of the engine.
    let end = "The process has not ended in time by itself";
    assert_eq!(said(&log, end), [5], "{log:?}");
    rig.events(EventKind::Requeued, 1).await;
}

#[tokio::test]
async fn a_module_that_computes_lets_the_connections_close() {
    let rig = scripted(1).await;
    let rig = rig
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1")
        .variable("TOKIO_WORKER_THREADS", "2");
    let component = rig.start();
    rig.send(json!([["data", { "body": {} }], ["block", 3_600_000]]));
    rig.events(EventKind::Data, 1).await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    let computes = "A module computes without awaiting; the process ends anyway";
    assert_eq!(said(&log, computes), [1], "{log:?}");
    let closed = "What the connections to the broker went through";
    assert!(log.iter().any(|line| line["msg"] == closed), "{log:?}");
    let late = "The process has not ended in time by itself";
    assert_eq!(said(&log, late), [0; 0], "{log:?}");
    rig.events(EventKind::Requeued, 1).await;
}

#[tokio::test]
async fn sigterm_during_start_ends_the_process() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1");
    rig.emulator
        .platform()
        .inject_faults("GET .*/steps/", [const { Fault::Hang }; 3]);
    let component = rig.start();
    let asked = rig.emulator.platform().called("GET .*/steps/", 1);
    soon("the request for the step", asked).await;
    let (status, _) = component.stop().await;
    assert_eq!(status, 0);
}

#[tokio::test]
async fn signals_do_not_interrupt_the_shutdown_hook() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_HOOK_SHUTDOWN", "true");
    let rig = rig.variable("ELASTICIO_API_REQUEST_RETRY_ATTEMPTS", "3");
    rig.emulator
        .platform()
        .inject_faults("GET .*startup/data", [Fault::Hang, Fault::Status(400)]);
    let component = rig.start();
    let asked = rig.emulator.platform().called("GET .*startup/data", 1);
    soon("the request for the startup data", asked).await;
    component.signal("TERM");
    component.signal("INT");
    rig.emulator.platform().shutdown().await;
    let (status, log) = component.end().await;
    assert_eq!(status, 1, "{log:?} {:?}", rig.emulator.platform().calls());
}
