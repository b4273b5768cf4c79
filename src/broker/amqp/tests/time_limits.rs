//! The time limits of the adapter, on a simulated broker that falls silent, confirms nothing, or refuses. The clock is paused,
//! so each test waits until a limit strikes. docs/time-limits.md names them.

use super::{
    super::{
        client::{self, Connection},
        delivery::{NoRoom, give_back},
        guard::Outbox,
        simulated::{Observed, Sabotage, SimulatedBroker, Simulation},
    },
    *,
};
use crate::{
    captured_log::CapturedLog,
    oauth2::{LockError, RefreshLock},
};
use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use std::future::pending;
use tokio::runtime::Handle;

const URI: &str = "amqp://user@simulated";

/// A simulated broker with a queue to consume and one to publish to, and the settings of an adapter.
struct Simulated {
    broker: SimulatedBroker,
    settings: AmqpSettings,
    /// The bodies that have arrived at the broker.
    arrived: Arc<Mutex<Vec<Bytes>>>,
    log: CapturedLog,
    _simulation: Simulation,
}

impl Simulated {
    fn new() -> Self {
        Self::with(usize::MAX, None)
    }

    /// A broker that rejects larger messages.
    fn with(max_message: usize, sabotage: Option<Sabotage>) -> Self {
        let arrived = Arc::<Mutex<Vec<Bytes>>>::default();
        let observed = arrived.clone();
        let observer = move |event| {
            if let Observed::Published { body, .. } = event {
                observed.lock().unwrap().push(body);
            }
        };
        let broker = SimulatedBroker::new(1, max_message, sabotage, observer);
        broker.declare_queue("queue", None);
        broker.declare_exchange("exchange");
        for (key, queue) in [("data", "out"), ("rebound", "other")] {
            broker.declare_queue(queue, None);
            broker.set_bound("exchange", key, queue, true);
        }
        Self {
            _simulation: Simulation::of(broker.clone()),
            settings: settings(&URI.parse().unwrap(), 1, "queue", "exchange"),
            arrived,
            log: CapturedLog::begin(),
            broker,
        }
    }

    async fn connect(&self) -> Amqp {
        Amqp::connect(&self.settings, Arc::default()).await.unwrap()
    }

    fn silence(&self) {
        self.broker.silence(|_, _| true);
    }

    /// How often a message has arrived.
    fn arrivals(&self, body: &str) -> usize {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().filter(|arrived| *arrived == body).count()
    }

    /// Waits until a line of the log has these texts.
    async fn logged(&self, texts: &[&str]) {
        let waiting = async {
            while self.log.count(texts) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(Duration::from_secs(60), waiting).await;
        waited.unwrap_or_else(|_| panic!("{texts:?} not in:\n{}", self.log.text()));
    }

    fn put(&self, body: &'static str) {
        self.broker
            .put("queue", &Headers::default(), Bytes::from(body));
    }
}

async fn first(deliveries: &mut Deliveries<DeliveryHandle>) -> Delivery<DeliveryHandle> {
    deliveries.recv().await.unwrap().unwrap()
}

/// How long something takes, in whole seconds of the paused clock.
async fn seconds<T>(work: impl Future<Output = T>) -> (u64, T) {
    let start = Instant::now();
    let done = work.await;
    (start.elapsed().as_secs(), done)
}

fn of_size(id: &str, size: usize) -> Publication {
    Publication {
        body: Bytes::from(vec![b'x'; size]),
        ..event(id)
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_at_the_start_ends_after_20_seconds() {
    let mut world = Simulated::new();
    world.settings.connect_retries = 3;
    world.silence();
    let (took, error) = seconds(Amqp::connect(&world.settings, Arc::default())).await;
    let error = error.unwrap_err().to_string();
    for text in [
        "connecting to the broker at 127.0.0.1:1: no response within 20 s",
        "check that the broker runs and that ELASTICIO_AMQP_URI names it (4 attempts in 80.0 s",
        "raise ELASTICIO_AMQP_RECONNECT_ATTEMPTS and ELASTICIO_AMQP_RECONNECT_TIMEOUT",
    ] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(took, 80);
    for role in ["connection=read", "connection=write"] {
        let line = ["Could not connect; trying again.", "within 20 s", role];
        assert_eq!(world.log.count(&line), 3, "{}", world.log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_process_connects_again_for_hours() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.silence();
    world.broker.cut(|_, _| true, 0);
    sleep(Duration::from_secs(5 * 3600)).await;
    for role in ["connection=read", "connection=write"] {
        let line = ["The broker cannot be reached; trying again.", "20 s", role];
        let attempts = world.log.count(&line);
        assert!((600..720).contains(&attempts), "{role}: {attempts}");
    }
    world.broker.end_silence();
    world.put("1");
    assert_eq!(first(&mut deliveries).await.body.as_ref(), b"1");
    amqp.publish(event("2")).await.unwrap();
    assert_eq!(
        world.log.count(&["The connection to the broker is back."]),
        2
    );
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_away_ends_consuming_in_a_minute() {
    let mut world = Simulated::new();
    world.settings.refusal_timeout = Duration::from_secs(60);
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.broker.delete_queue("queue");
    let (took, end) = seconds(deliveries.recv()).await;
    let error = end.unwrap().unwrap_err().to_string();
    for text in [
        "no queue 'queue'",
        "(tried for 60 s, ELASTICIO_REFUSAL_TIMEOUT)",
    ] {
        assert!(error.contains(text), "{error}");
    }
    assert!((60..62).contains(&took), "{took}");
    // The attempts 1, 2, 4, 8, 16 and 32.
    let line = "The broker refuses; trying again.";
    assert_eq!(world.log.count(&[line]), 6, "{}", world.log.text());
    world
        .log
        .assert_one(&[line, "attempt=1 ", "seconds_left=60"]);
    world.log.assert_one(&[line, "attempt=32 "]);
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn consuming_is_tried_again_after_10_seconds() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    world.silence();
    let (took, deliveries) = seconds(amqp.consume()).await;
    assert_eq!(took, 10);
    world.log.assert_one(&[
        "Could not consume; trying again.",
        "consuming queue",
        "no response from the broker within 10 s",
    ]);
    world.broker.end_silence();
    world.put("1");
    assert_eq!(first(&mut deliveries.unwrap()).await.body.as_ref(), b"1");
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_to_publish_on_is_opened_within_10_seconds() {
    let world = Simulated::new();
    let connecting = client::connect(
        URI.parse().unwrap(),
        "w".into(),
        Handle::current(),
        Default::default(),
    );
    let connection = connecting.await.unwrap();
    world.silence();
    let (took, opened) = seconds(PublishChannel::open(connection, Outbox::new())).await;
    let error = opened.err().unwrap();
    assert_eq!(took, 10);
    assert_eq!(
        error.text(),
        "opening a channel to publish on: no response from the broker within 10 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_verdict_does_not_wait_for_the_connection() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put("1");
    let delivery = first(&mut deliveries).await;
    world.silence();
    assert_eq!(
        amqp.settle(&delivery.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    world.broker.cut(|_, _| true, 0);
    world.broker.end_silence();
    let again = first(&mut deliveries).await;
    assert!(again.redelivered && again.body == "1");
    assert!(!again.generation.has_received(0), "nothing proves it");
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn unproven_settlements_are_told_every_minute() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put("1");
    let delivery = first(&mut deliveries).await;
    world.silence();
    amqp.settle(&delivery.handle, Verdict::Acknowledged);
    let sent = delivery.generation.settlement_sent();
    let line = ["does not respond on the consuming connection"];
    sleep(Duration::from_secs(59)).await;
    assert_eq!(world.log.count(&line), 0);
    sleep(Duration::from_secs(90)).await;
    assert_eq!(world.log.count(&line), 2);
    world.broker.end_silence();
    sleep(Duration::from_secs(90)).await;
    assert!(delivery.generation.has_received(sent));
    assert_eq!(world.log.count(&line), 2);
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn messages_without_room_are_given_back_in_5_seconds() {
    let world = Simulated::new();
    world.put("1");
    let connecting = client::connect(
        URI.parse().unwrap(),
        "r".into(),
        Handle::current(),
        Default::default(),
    );
    let connection: Connection = connecting.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume("queue".into(), "".into(), options, none);
    let delivery = consumer.await.unwrap().next().await.unwrap().unwrap();
    let no_room = NoRoom {
        acker: delivery.acker,
        size: 1,
    };
    world.silence();
    assert_eq!(seconds(give_back(vec![no_room])).await, (5, false));
    world
        .log
        .assert_one(&["did not take messages back", "seconds=5"]);
}

#[tokio::test(start_paused = true)]
async fn a_retried_event_is_in_the_log_once_per_doubling() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    world.broker.set_full("out", true);
    let confirm = amqp.publish(event("1"));
    // The delay is 0.1 s.
    sleep(Duration::from_secs(60)).await;
    for attempts in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
        let attempts = format!("attempts={attempts} ");
        world
            .log
            .assert_one(&["Publishing failed; it is retried.", &attempts]);
    }
    assert_eq!(world.log.count(&["Publishing failed"]), 10);
    world.broker.set_full("out", false);
    confirm.await.unwrap();
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_event_waits_30_seconds_for_its_first_queue() {
    let mut world = Simulated::new();
    world.settings.binding_timeout = Duration::from_secs(30);
    let amqp = world.connect().await;
    let (took, failed) = seconds(amqp.publish(error_event("1"))).await;
    let error = failed.unwrap_err();
    assert_eq!(error.kind, PublishErrorKind::Unbound, "{error}");
    assert!((30..36).contains(&took), "{took}");
    world.log.assert_one(&[
        "Publishing failed; no attempts are left.",
        "no queue is bound for routing key",
    ]);
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_others_wait_5_seconds_for_an_event_sent_alone() {
    let world = Simulated::with(100, None);
    let amqp = world.connect().await;
    world.broker.hold_confirms(true);
    // One of two is rejected, so each is sent alone. The first one is not confirmed.
    let small = amqp.publish(event("small"));
    let large = amqp.publish(of_size("large", 101));
    world.logged(&["The broker rejected a message"]).await;
    let other = amqp.publish(event("other"));
    sleep(Duration::from_millis(4500)).await;
    assert_eq!(world.arrivals("other"), 0);
    sleep(Duration::from_secs(60)).await;
    assert!(world.arrivals("other") > 0);
    // It is among the suspects once more, after the second rejection.
    for seconds in ["seconds=5", "seconds=10"] {
        let line = "not confirmed in time an event that was sent alone";
        world.log.assert_one(&[line, seconds]);
    }
    world.broker.hold_confirms(false);
    small.await.unwrap();
    other.await.unwrap();
    let error = large.await.unwrap_err();
    assert_eq!(error.kind, PublishErrorKind::Rejected, "{error}");
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_confirms_of_others_delay_one_sent_alone_by_5_seconds() {
    let world = Simulated::with(100, None);
    let amqp = world.connect().await;
    world.broker.set_full("out", true);
    // One of two is rejected, so each is sent alone: the other one too, whose queue is full, again and again.
    let large = amqp.publish(of_size("large", 101));
    let waiting = amqp.publish(event("waiting"));
    large.await.unwrap_err();
    world
        .logged(&["messageId=\"waiting\"", "attempts=4 "])
        .await;
    world.broker.hold_confirms(true);
    let unconfirmed = amqp.publish(Publication {
        route: Route::Custom("rebound".into()),
        ..event("unconfirmed")
    });
    world.broker.set_full("out", false);
    let before = world.arrivals("waiting");
    let line = "not confirmed in time what was sent before an event that has to be sent alone";
    let waiting_for_others = async {
        sleep(Duration::from_millis(4500)).await;
        assert_eq!(world.arrivals("waiting"), before);
        world.logged(&[line, "seconds=5"]).await;
    };
    assert_eq!(seconds(waiting_for_others).await.0, 5);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.arrivals("waiting"), before + 1);
    world.broker.hold_confirms(false);
    waiting.await.unwrap();
    unconfirmed.await.unwrap();
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_confirms_of_a_lost_channel_take_2_seconds() {
    let world = Simulated::with(usize::MAX, Some(Sabotage::Forget));
    let amqp = world.connect().await;
    world.broker.hold_confirms(true);
    let confirm = amqp.publish(event("1"));
    while world.arrivals("1") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    world.broker.cut(|_, name| name.ends_with("write"), 0);
    while world.broker.is_connected("write") {
        sleep(Duration::from_millis(1)).await;
    }
    let line = [
        "nothing says in time what became of its last events",
        "seconds=2 events=1",
    ];
    assert_eq!(seconds(world.logged(&line)).await.0, 2);
    world.broker.hold_confirms(false);
    confirm.await.unwrap();
    assert_eq!(world.arrivals("1"), 2);
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_delays_the_end_of_consuming_by_5_seconds() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.silence();
    assert_eq!(seconds(amqp.stop_consuming()).await.0, 5);
    world.log.assert_one(&[
        "The broker did not confirm that the consumer is cancelled.",
        "seconds=5",
    ]);
    assert!(deliveries.recv().await.is_none());
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_10_seconds_to_stop_consuming() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    // The task that would stop it does not run.
    drop(amqp.take_unused());
    assert_eq!(seconds(amqp.stop_consuming()).await.0, 10);
    world
        .log
        .assert_one(&["Consuming did not stop in time", "seconds=10"]);
    amqp.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_delays_the_close_by_2_seconds() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.silence();
    let confirm = amqp.publish(event("1"));
    assert_eq!(seconds(amqp.close()).await.0, 2);
    for role in ["connection=read", "connection=write"] {
        let line = "The broker did not confirm that the connection is closed.";
        world.log.assert_one(&[line, role, "seconds=2"]);
    }
    confirm.await.unwrap_err();
    assert!(deliveries.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn everything_at_the_broker_is_closed_within_5_seconds() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    amqp.tasks.spawn(pending::<()>());
    assert_eq!(seconds(amqp.close()).await.0, 5);
    let line = "The connections to the broker did not close in time and are dropped.";
    world.log.assert_one(&[line, "seconds=5"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_a_silent_broker_is_given_up_in_half_a_minute() {
    let world = Simulated::new();
    let amqp = world.connect().await;
    world.silence();
    let locks = amqp.locks();
    // The response has a second, even if the caller's time is over.
    for (wait, least, reason) in [
        (0, 1, "no connection to the broker within 1.0 s (tried for"),
        (
            345,
            30,
            "no connection to the broker within 10.0 s (tried for 3",
        ),
    ] {
        let wait = Duration::from_secs(wait);
        let (took, error) = seconds(locks.acquire("account", wait)).await;
        let Some(LockError::Unavailable(text)) = error.err() else {
            panic!("another result")
        };
        assert!(text.contains(reason), "{text}");
        assert!((least..least + 12).contains(&took), "{took}: {text}");
    }
    amqp.close().await;
}
