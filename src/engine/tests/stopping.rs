//! What happens to messages and events when the process stops.

use super::*;
use crate::{
    broker::amqp::{
        Amqp,
        simulated::{SimulatedBroker, Simulation},
    },
    captured_log::CapturedLog,
    component::emitter::Emitter,
    engine::start::consume_unless,
    settings::Mode,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn a_running_message_is_finished_before_the_stop() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.shutdown.graceful.cancel();
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_settled_after_the_shutdown_timeout() {
    for is_confirmed in [true, false] {
        let log = CapturedLog::begin();
        let mut rig = Rig::start(acts(
            |message, cx| async move { cx.data(&message.body).await },
        ))
        .await;
        rig.deliver("m", json!(1));
        let event = rig.broker.published().await;
        let start = Instant::now();
        rig.shutdown.graceful.cancel();
        (&mut rig.running).await.unwrap().unwrap();
        assert_eq!(start.elapsed().as_secs(), 25);
        log.assert_one(&["The time to finish running messages is over", "seconds=25"]);
        if is_confirmed {
            event.confirm();
        } else {
            event.fail(PublishErrorKind::Closed);
        }
        rig.assert_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_broker_error_ends_the_run() {
    let mut rig = Rig::start(acts(
        |_message, _cx| async move { std::future::pending().await },
    ))
    .await;
    rig.deliver("m", json!(1));
    rig.assert_idle().await;
    rig.broker.fail("access refused");
    let error = (&mut rig.running).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "access refused");
    rig.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_settles_nothing() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.running.abort();
    assert!((&mut rig.running).await.unwrap_err().is_cancelled());
    event.confirm();
    rig.assert_idle().await;
}

/// The event holds the engine, and nobody confirms it.
#[tokio::test(start_paused = true)]
async fn dropping_the_run_ends_its_connections() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    rig.deliver("m", json!(1));
    let _unconfirmed = rig.broker.published().await;
    assert!(!rig.broker.is_closed());
    rig.running.abort();
    assert!((&mut rig.running).await.unwrap_err().is_cancelled());
    assert!(rig.broker.is_closed());
}

/// As in a streaming trigger: the emitter outlives its message.
#[tokio::test(start_paused = true)]
async fn a_late_event_is_published_and_delays_only_the_stop() {
    let (sender, mut emitters) = mpsc::unbounded_channel::<Emitter>();
    let mut rig = Rig::start(acts(move |_message, cx| {
        sender.send(cx.emitter()).unwrap();
        async { Ok(()) }
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let emitter = emitters.recv().await.unwrap();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    let (emitted, ()) = tokio::join!(emitter.data(&2), async {
        let event = rig.broker.published().await;
        assert_eq!(event.event().headers["threadId"], json!("thread"));
        rig.shutdown.graceful.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!rig.running.is_finished(), "the stop did not wait");
        event.confirm();
    });
    emitted.unwrap();
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_is_named_after_a_second() {
    let component = acts(|_message, _cx| async { Ok(()) });
    let (transport, _broker) = memory::channel(0);
    let (step, http) = (in_memory::empty_step(), http::client_without_redirects());
    let engine = in_memory::engine(&component, settings(&[]), step, transport, http.unwrap());
    let (log, tasks, start) = (CapturedLog::begin(), TaskTracker::new(), Instant::now());
    // Like one whose module computes without awaiting.
    tasks.spawn(std::future::pending::<()>());
    engine.unwrap().abandon(&tasks).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    let line = "A module computes without awaiting; the process ends anyway";
    log.assert_one(&[line, "seconds=1"]);
}

/// The broker falls silent before the step consumes. It would be given ten seconds to respond.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_until_a_silent_broker_lets_the_step_consume() {
    let silent = SimulatedBroker::new(1, usize::MAX, None, |_| {});
    let _simulation = Simulation::of(silent.clone());
    silent.declare_exchange("exchange");
    silent.declare_queue("queue", None);
    let Mode::Run(run) = settings(&[]).mode else {
        panic!("the settings of a step")
    };
    let amqp = Amqp::connect(&run.amqp, Arc::default()).await.unwrap();
    silent.silence(|_, _| true);
    let (stopping, start) = (CancellationToken::new(), Instant::now());
    let (consumed, ()) = tokio::join!(consume_unless(&stopping, &amqp), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stopping.cancel();
    });
    assert!(consumed.unwrap().is_none());
    assert_eq!(start.elapsed().as_secs(), 1);
}
