//! `DEDUPLICATE`: what is dropped, what never is, and the ids of events.

use super::*;
use crate::{
    broker::finished_log::{FinishedLog, LogReader, MessageKey},
    engine::deduplication::Deduplication,
};
use futures_util::future::BoxFuture;
use std::sync::Mutex;

const ON: (&str, &str) = ("DEDUPLICATE", "true");

/// A log that outlives the engines which write to it, as the stream on the broker does.
#[derive(Clone, Default)]
struct SharedLog(Arc<Mutex<(Vec<MessageKey>, Vec<LogReader>)>>);

impl SharedLog {
    fn open(&self, reader: LogReader) -> Arc<dyn FinishedLog> {
        let mut log = self.0.lock().unwrap();
        log.0.iter().for_each(|key| reader(*key));
        log.1.push(reader);
        Arc::new(self.clone())
    }
}

impl FinishedLog for SharedLog {
    fn append(&self, key: MessageKey) -> BoxFuture<'_, ()> {
        let readers = {
            let mut log = self.0.lock().unwrap();
            log.0.push(key);
            log.1.clone()
        };
        readers.iter().for_each(|reader| reader(key));
        Box::pin(async {})
    }

    fn catch_up(&self, _limit: Duration) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

/// Emits the numbers of the message's body, which is a list.
fn emits() -> Component {
    acts(|message, cx| async move {
        for item in message.body.as_array().unwrap() {
            cx.data(item).await?;
        }
        Ok(())
    })
}

/// Emits the body, and fails if it is zero.
fn fails_for_zero() -> Component {
    acts(|message, cx| async move {
        cx.data(&message.body).await?;
        anyhow::ensure!(message.body != json!(0), "zero");
        Ok(())
    })
}

async fn start(component: Component) -> Rig {
    Rig::with(component, &[ON], 5).await
}

/// Starts another process of the step, which shares the log.
async fn start_on(component: Component, log: &SharedLog) -> Rig {
    Rig::changed(component, &[], 5, |engine| {
        let open = |reader| Some(log.open(reader));
        let password = &engine.settings.crypto_password;
        engine.deduplication = Some(Deduplication::new(&engine.identity, password, open));
    })
    .await
}

/// The headers of a message from a step of this runtime.
fn marked(id: &str) -> Headers {
    let mut headers = headers(id);
    headers.insert("deduplicationId".into(), json!(id));
    headers
}

fn with(mut headers: Headers, name: &str, value: Value) -> Headers {
    headers.insert(name.into(), value);
    headers
}

/// What identifies an event: its `messageId` and its `deduplicationId`.
type Ids = (String, Option<String>);

impl Rig {
    /// Confirms the events of the message that runs, until it is settled. Returns their ids, and the verdict.
    async fn finish(&mut self, delivery: u64) -> (Vec<Ids>, Verdict) {
        let mut ids = Vec::new();
        loop {
            match self.broker.next().await.unwrap() {
                memory::Done::Published(published) => {
                    ids.push(ids_of(published.event()));
                    published.confirm();
                }
                memory::Done::Settled(verdict) => {
                    assert!(self.broker.is_idle(), "{delivery} was the only message");
                    return (ids, verdict);
                }
            }
        }
    }

    /// Delivers a message and processes it.
    async fn process(&mut self, headers: Headers, body: Value) -> Vec<Ids> {
        let delivery = self.broker.deliver(headers, self.body(body));
        self.finish(delivery).await.0
    }

    /// Delivers a message as one that the broker has delivered before, and processes it.
    async fn process_again(&mut self, headers: Headers, body: Value) -> Vec<Ids> {
        let delivery = self.broker.redeliver(headers, self.body(body));
        self.finish(delivery).await.0
    }
}

fn ids_of(event: &Publication) -> Ids {
    let text = |name| {
        event
            .headers
            .get(name)
            .map(|id| id.as_str().unwrap().to_owned())
    };
    (text("messageId").unwrap(), text("deduplicationId"))
}

fn is_random(ids: &Ids) -> bool {
    let version = uuid::Uuid::parse_str(&ids.0).unwrap().get_version_num();
    version == 4 && ids.1.is_none()
}

#[tokio::test(start_paused = true)]
async fn a_finished_message_is_acknowledged_without_processing() {
    let mut rig = start(emits()).await;
    assert_eq!(rig.process(marked("m"), json!([1, 2])).await.len(), 2);
    let repeat = rig.broker.deliver(marked("m"), rig.body(json!([1, 2])));
    assert_eq!(rig.finish(repeat).await, (vec![], Verdict::Acknowledged));
    assert_eq!(rig.process(marked("n"), json!([1])).await.len(), 1);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_every_message_is_processed() {
    let mut rig = Rig::start(emits()).await;
    for _ in 0..2 {
        let ids = rig.process(marked("m"), json!([1])).await;
        assert!(is_random(&ids[0]), "{ids:?}");
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_has_finished_is_dropped() {
    let log = SharedLog::default();
    let mut first = start_on(emits(), &log).await;
    first.process(headers("m"), json!([1])).await;
    first.process(marked("n"), json!([1])).await;
    first.stop().await.unwrap();
    let mut second = start_on(emits(), &log).await;
    assert_eq!(second.process_again(headers("m"), json!([1])).await, []);
    assert_eq!(second.process(marked("n"), json!([1])).await, []);
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_finishes_is_dropped() {
    let log = SharedLog::default();
    let (mut one, mut other) = (start_on(emits(), &log).await, start_on(emits(), &log).await);
    one.process(marked("m"), json!([1])).await;
    assert_eq!(other.process(marked("m"), json!([1])).await, []);
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_without_an_id_are_always_processed() {
    let log = SharedLog::default();
    let mut tick = headers("m");
    tick.remove("messageId");
    for _ in 0..2 {
        let mut rig = start_on(emits(), &log).await;
        for ids in [
            rig.process(tick.clone(), json!([1])).await,
            rig.process_again(tick.clone(), json!([1])).await,
        ] {
            assert!(is_random(&ids[0]), "{ids:?}");
        }
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_user_sends_again_is_always_processed() {
    let log = SharedLog::default();
    let again = with(marked("m"), "retry", json!(true));
    let mut rig = start_on(emits(), &log).await;
    rig.process(marked("m"), json!([1])).await;
    for _ in 0..2 {
        let ids = rig.process(again.clone(), json!([1])).await;
        assert!(
            is_random(&ids[0]),
            "the next step must process it too: {ids:?}"
        );
    }
    assert_eq!(rig.process_again(again, json!([1])).await.len(), 1);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebounded_message_is_processed_when_it_returns() {
    let mut rig = start(acts(|_, cx| async move { cx.rebound("later").await })).await;
    for iteration in [None, Some(1), Some(2)] {
        let headers = match iteration {
            Some(n) => with(marked("m"), "reboundIteration", json!(n)),
            None => marked("m"),
        };
        let delivery = rig.broker.deliver(headers, rig.body(json!(1)));
        let rebound = rig.broker.published().await;
        assert!(matches!(rebound.what, What::Rebound(of, _) if of == delivery));
        rebound.confirm();
        rig.assert_settled(delivery, Verdict::Acknowledged).await;
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn different_messages_with_one_id_are_all_processed() {
    let log = SharedLog::default();
    let mut seen = std::collections::HashSet::new();
    let mut rig = start_on(emits(), &log).await;
    for body in [json!([1]), json!([1, 2]), json!([2])] {
        seen.extend(rig.process(headers("m"), body.clone()).await);
    }
    rig.stop().await.unwrap();
    let mut rig = start_on(emits(), &log).await;
    seen.extend(rig.process_again(headers("m"), json!([3])).await);
    assert_eq!(seen.len(), 5, "each event has an id of its own: {seen:?}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_messages_with_one_id_are_all_processed() {
    let log = SharedLog::default();
    let mut rig = start_on(emits(), &log).await;
    let first = rig.process(headers("m"), json!([1])).await;
    assert!(!is_random(&first[0]));
    let second = rig.process(headers("m"), json!([1])).await;
    assert!(
        is_random(&second[0]),
        "the next step must process both: {second:?}"
    );
    rig.stop().await.unwrap();
    let mut rig = start_on(emits(), &log).await;
    let third = rig.process(headers("m"), json!([1])).await;
    assert!(is_random(&third[0]), "{third:?}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_messages_at_the_same_time_are_both_processed() {
    let mut rig = start(emits()).await;
    rig.broker.deliver(headers("m"), rig.body(json!([1])));
    let first = rig.broker.published().await;
    rig.broker.deliver(headers("m"), rig.body(json!([1])));
    let second = rig.broker.published().await;
    assert!(!is_random(&ids_of(first.event())) && is_random(&ids_of(second.event())));
    first.confirm();
    second.confirm();
    for _ in 0..2 {
        assert_eq!(rig.broker.settled().await.1, Verdict::Acknowledged);
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_failed_is_processed_when_it_comes_again() {
    let log = SharedLog::default();
    let mut rig = start_on(fails_for_zero(), &log).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let delivery = rig.broker.deliver(marked("m"), rig.body(json!(0)));
        let (events, verdict) = rig.finish(delivery).await;
        assert_eq!((events.len(), verdict), (2, Verdict::Rejected));
        ids.push(events);
    }
    assert_eq!(
        ids[0], ids[1],
        "its events, the error event included, repeat"
    );
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_repeat_waits_for_the_message_that_runs() {
    let mut rig = start(emits()).await;
    let first = rig.broker.deliver(marked("m"), rig.body(json!([1])));
    let event = rig.broker.published().await;
    let repeat = rig.broker.deliver(marked("m"), rig.body(json!([1])));
    rig.assert_idle().await;
    event.confirm();
    let mut settled = [rig.broker.settled().await, rig.broker.settled().await];
    settled.sort_unstable_by_key(|(delivery, _)| *delivery);
    let acknowledged = |delivery| (delivery, Verdict::Acknowledged);
    assert_eq!(settled, [acknowledged(first), acknowledged(repeat)]);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_a_message_that_fails_is_processed() {
    let mut rig = start(fails_for_zero()).await;
    let first = rig.broker.deliver(marked("m"), rig.body(json!(0)));
    let event = rig.broker.published().await;
    let repeat = rig.broker.deliver(marked("m"), rig.body(json!(0)));
    rig.assert_idle().await;
    event.confirm();
    rig.confirm(Route::Error).await;
    rig.assert_settled(first, Verdict::Rejected).await;
    assert_eq!(rig.finish(repeat).await.0.len(), 2);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_of_a_running_marked_message_is_adopted() {
    let mut rig = start(emits()).await;
    rig.broker.deliver(marked("m"), rig.body(json!([1])));
    let event = rig.broker.published().await;
    rig.broker.lose_connection();
    let redelivery = rig.broker.redeliver(marked("m"), rig.body(json!([1])));
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(redelivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_have_the_same_ids_in_another_process() {
    let orders = [json!([1, 2, 3, 2]), json!([2, 3, 2, 1])];
    let mut runs = Vec::new();
    for order in orders {
        // The order is the module's, not the message's.
        let component = acts(move |_, cx| {
            let order = order.clone();
            async move {
                for item in order.as_array().unwrap() {
                    cx.data(item).await?;
                }
                Ok(())
            }
        });
        let mut rig = start(component).await;
        runs.push(rig.process(headers("m"), json!(null)).await);
        rig.stop().await.unwrap();
    }
    let (one, other) = (&runs[0], &runs[1]);
    assert_eq!(
        [&one[0], &one[1], &one[2], &one[3]],
        [&other[3], &other[0], &other[1], &other[2]]
    );
    assert_ne!(one[1], one[3], "two equal events are two events");
    assert!(
        one.iter()
            .all(|(id, deduplication)| Some(id) == deduplication.as_ref())
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_keeps_its_own_id() {
    let mut rig = start(acts(|_, cx| async move {
        for n in [1, 1, 2] {
            cx.message(Message::new(json!(n)).with_id("own")).await?;
        }
        Ok(())
    }))
    .await;
    let ids = rig.process(headers("m"), json!(null)).await;
    assert!(ids.iter().all(|(id, _)| id == "own"), "{ids:?}");
    let different: std::collections::HashSet<_> = ids.iter().map(|ids| &ids.1).collect();
    assert_eq!(different.len(), 3, "the next step processes all: {ids:?}");
    rig.stop().await.unwrap();
}
