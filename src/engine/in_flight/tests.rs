mod counting;

use super::*;
use crate::protocol::Headers;
use bytes::Bytes;
use serde_json::{Value, json};

fn generation(number: u32) -> Arc<Generation> {
    Arc::new(Generation::new(number, 0))
}

fn delivery(
    id: &str,
    body: &'static str,
    generation: &Arc<Generation>,
    redelivered: bool,
) -> Delivery<Arc<()>> {
    let headers = if id.is_empty() {
        Headers::new()
    } else {
        Headers::from_iter([("messageId".to_owned(), json!(id))])
    };
    let (body, generation) = (Bytes::from_static(body.as_bytes()), generation.clone());
    Delivery {
        headers,
        body,
        withheld: None,
        redelivered,
        generation,
        handle: Arc::new(()),
    }
}

fn with(mut delivery: Delivery<Arc<()>>, name: &str, value: Value) -> Delivery<Arc<()>> {
    delivery.headers.insert(name.to_owned(), value);
    delivery
}

fn begin(in_flight: &InFlight<()>, delivery: &Delivery<Arc<()>>) -> u64 {
    match in_flight.arrive(delivery) {
        Arrival::New(number) => number,
        other => panic!("a new message was recognised as another: {other:?}"),
    }
}

fn finish(in_flight: &InFlight<()>, number: u64, verdict: Verdict, settled: SettleOutcome) {
    let settling = in_flight
        .begin_settle(number, verdict)
        .expect("the message is unsettled");
    in_flight.end_settle(settling, settled);
}

/// Processes a message, and settles it on an open channel.
fn process(in_flight: &InFlight<()>, delivery: &Delivery<Arc<()>>) {
    let number = begin(in_flight, delivery);
    finish(
        in_flight,
        number,
        Verdict::Acknowledged,
        SettleOutcome::Sent,
    );
}

fn complete_roundtrip(generation: &Generation) {
    let roundtrip = futures_util::FutureExt::now_or_never(generation.next_roundtrip())
        .expect("a settlement needs proof");
    generation.roundtrip_done(roundtrip);
}

#[test]
fn two_messages_with_one_id_are_both_processed() {
    let in_flight = InFlight::new(Clock::default());
    let one = generation(1);
    let first = begin(&in_flight, &delivery("m", "a", &one, false));
    let second = begin(&in_flight, &delivery("m", "b", &one, false));
    finish(
        &in_flight,
        first,
        Verdict::Acknowledged,
        SettleOutcome::Sent,
    );
    finish(
        &in_flight,
        second,
        Verdict::Acknowledged,
        SettleOutcome::Sent,
    );
}

#[test]
fn a_redelivery_takes_the_place_of_the_lost_delivery() {
    for id in ["m", ""] {
        let in_flight = InFlight::new(Clock::default());
        let number = begin(&in_flight, &delivery(id, "a", &generation(1), false));
        let again = delivery(id, "a", &generation(2), true);
        assert_eq!(in_flight.arrive(&again), Arrival::Adopted);
        let settling = in_flight
            .begin_settle(number, Verdict::Acknowledged)
            .unwrap();
        assert!(
            Arc::ptr_eq(&settling.handle, &again.handle),
            "the lost delivery is settled"
        );
        assert!(in_flight.current(number).is_none());
    }
}

#[test]
fn equal_redeliveries_replace_equal_messages_one_for_one() {
    for id in ["m", ""] {
        let in_flight = InFlight::new(Clock::default());
        let (one, two) = (generation(1), generation(2));
        let numbers = [0; 2].map(|_| begin(&in_flight, &delivery(id, "a", &one, false)));
        for _ in numbers {
            assert_eq!(
                in_flight.arrive(&delivery(id, "a", &two, true)),
                Arrival::Adopted
            );
        }
        // A third message, which another consumer had before.
        begin(&in_flight, &delivery(id, "a", &two, true));
        assert_eq!(
            in_flight.arrive(&delivery(id, "a", &generation(3), true)),
            Arrival::Adopted
        );
    }
}

#[test]
fn a_redelivery_of_a_processed_message_gets_the_same_verdict() {
    for settled in [SettleOutcome::Sent, SettleOutcome::NotSent] {
        let in_flight = InFlight::new(Clock::default());
        let number = begin(&in_flight, &delivery("m", "a", &generation(1), false));
        finish(&in_flight, number, Verdict::Rejected, settled);
        for number in 2..5 {
            let again = in_flight.arrive(&delivery("m", "a", &generation(number), true));
            let Arrival::AlreadySettled(number, Verdict::Rejected) = again else {
                panic!("{settled:?}: {again:?}")
            };
            finish(&in_flight, number, Verdict::Rejected, settled);
        }
    }
}

#[test]
fn a_redelivery_during_settling_is_settled_only_with_an_id() {
    for (id, settled) in [
        ("m", SettleOutcome::NotSent),
        ("m", SettleOutcome::Sent),
        ("", SettleOutcome::Sent),
    ] {
        let in_flight = InFlight::new(Clock::default());
        let number = begin(&in_flight, &delivery(id, "a", &generation(1), false));
        let settling = in_flight
            .begin_settle(number, Verdict::Acknowledged)
            .unwrap();
        let again = in_flight.arrive(&delivery(id, "a", &generation(2), true));
        in_flight.end_settle(settling, settled);
        match again {
            Arrival::AlreadySettled(number, _) if id == "m" => {
                finish(
                    &in_flight,
                    number,
                    Verdict::Acknowledged,
                    SettleOutcome::Sent,
                );
            }
            Arrival::New(_) if id.is_empty() => continue,
            other => panic!("{id} {other:?}"),
        }
        // The first settlement, which did not arrive, does not count for another message.
        begin(&in_flight, &delivery(id, "a", &generation(2), true));
    }
}

#[test]
fn the_same_message_sent_again_is_processed_again() {
    let in_flight = InFlight::new(Clock::default());
    let (one, two) = (generation(1), generation(2));
    process(&in_flight, &delivery("m", "a", &one, false));
    begin(&in_flight, &delivery("m", "a", &one, true));
    begin(&in_flight, &delivery("m", "a", &two, false));
    begin(&in_flight, &delivery("other", "a", &two, true));
    begin(&in_flight, &delivery("m", "b", &two, true));
}

#[test]
fn an_equal_message_without_an_id_is_always_processed() {
    let in_flight = InFlight::new(Clock::default());
    let one = generation(1);
    for id in [Value::Null, json!("")] {
        process(
            &in_flight,
            &with(delivery("", "a", &one, false), "messageId", id.clone()),
        );
        let again = with(
            delivery("", "a", &Arc::new(Generation::new(2, 1)), true),
            "messageId",
            id,
        );
        begin(&in_flight, &again);
    }
    process(&in_flight, &delivery("", "a", &one, false));
    begin(&in_flight, &delivery("", "a", &generation(3), true));
}

#[test]
fn a_verdict_without_a_channel_settles_the_redelivery() {
    for id in ["m", ""] {
        let in_flight = InFlight::new(Clock::default());
        let (one, two) = (generation(1), generation(2));
        for _ in 0..2 {
            let number = begin(&in_flight, &delivery(id, "a", &one, false));
            finish(
                &in_flight,
                number,
                Verdict::Rejected,
                SettleOutcome::NotSent,
            );
            assert!(in_flight.current(number).is_none(), "it is processed");
        }
        for _ in 0..2 {
            let again = in_flight.arrive(&delivery(id, "a", &two, true));
            assert!(
                matches!(again, Arrival::AlreadySettled(_, Verdict::Rejected)),
                "{again:?}"
            );
        }
        begin(&in_flight, &delivery(id, "a", &two, true));
    }
}

#[test]
fn an_equal_message_after_a_confirmed_settlement_is_processed() {
    let in_flight = InFlight::new(Clock::default());
    let one = generation(1);
    process(&in_flight, &delivery("m", "a", &one, false));
    complete_roundtrip(&one);
    process(&in_flight, &delivery("later", "a", &one, false));
    let two = generation(2);
    begin(&in_flight, &delivery("m", "a", &two, true));
    let later = in_flight.arrive(&delivery("later", "a", &two, true));
    assert!(
        matches!(later, Arrival::AlreadySettled(..)),
        "no round trip has proved this one"
    );
}

#[test]
fn messages_that_the_broker_forgot_get_the_same_verdict() {
    let in_flight = InFlight::new(Clock::default());
    let one = generation(1);
    for id in ["m", "n"] {
        process(&in_flight, &delivery(id, "a", &one, false));
    }
    complete_roundtrip(&one);
    let again = in_flight.arrive(&delivery("m", "a", &Arc::new(Generation::new(2, 1)), true));
    assert!(matches!(again, Arrival::AlreadySettled(..)), "{again:?}");
    // Another connection is lost before all are redelivered.
    let again = in_flight.arrive(&delivery("n", "a", &Arc::new(Generation::new(3, 1)), true));
    assert!(matches!(again, Arrival::AlreadySettled(..)), "{again:?}");
}

#[test]
fn ambiguous_messages_are_never_settled_from_history() {
    let one = generation(1);
    let message = || delivery("m", "a", &one, false);
    // One after the other, or at the same time.
    let apart = |in_flight: &InFlight<()>| (0..2).for_each(|_| process(in_flight, &message()));
    let at_once = |in_flight: &InFlight<()>| {
        let numbers = [0; 2].map(|_| begin(in_flight, &message()));
        for number in numbers {
            finish(
                in_flight,
                number,
                Verdict::Acknowledged,
                SettleOutcome::Sent,
            );
        }
    };
    for seen in [&apart as &dyn Fn(&InFlight<()>), &at_once] {
        for outages in 0..2 {
            let in_flight = InFlight::new(Clock::default());
            seen(&in_flight);
            begin(
                &in_flight,
                &delivery("m", "a", &Arc::new(Generation::new(2, outages)), true),
            );
        }
    }
}

#[test]
fn a_message_that_differs_in_anything_is_another() {
    let sent = || {
        with(
            delivery("m", "abcabcabc", &generation(1), false),
            "threadId",
            json!("t"),
        )
    };
    let death = |count: u32| json!([{ "queue": "q", "reason": "rejected", "count": count }]);
    let others: [fn(&mut Delivery<Arc<()>>); 6] = [
        |d| d.body = Bytes::from_static(b"abcXbcabc"),
        |d| d.body = Bytes::from_static(b"abcabcab"),
        |d| drop(d.headers.insert("threadId".into(), json!("u"))),
        |d| drop(d.headers.insert("retry".into(), json!(1))),
        |d| drop(d.headers.insert("reboundIteration".into(), json!(1))),
        |d| drop(d.headers.remove("threadId")),
    ];
    for change in others {
        let in_flight = InFlight::new(Clock::default());
        process(&in_flight, &sent());
        let mut other = sent();
        (other.generation, other.redelivered) = (generation(2), true);
        change(&mut other);
        begin(&in_flight, &other);
    }
    let in_flight = InFlight::new(Clock::default());
    process(&in_flight, &with(sent(), "x-death", death(1)));
    let mut other = with(sent(), "x-death", death(2));
    (other.generation, other.redelivered) = (generation(2), true);
    begin(&in_flight, &other);
}

#[test]
fn a_delivery_counter_does_not_make_another_message() {
    let in_flight = InFlight::new(Clock::default());
    process(&in_flight, &delivery("m", "a", &generation(1), false));
    let again = with(
        delivery("m", "a", &generation(2), true),
        "x-delivery-count",
        json!(1),
    );
    assert!(matches!(
        in_flight.arrive(&again),
        Arrival::AlreadySettled(..)
    ));
}

#[test]
fn a_redelivered_rebound_is_processed_again() {
    let in_flight = InFlight::new(Clock::default());
    process(&in_flight, &delivery("m", "a", &generation(1), false));
    begin(
        &in_flight,
        &with(
            delivery("m", "a", &generation(2), true),
            "reboundIteration",
            json!(1),
        ),
    );
}

#[tokio::test(start_paused = true)]
async fn settled_messages_are_forgotten_after_a_while() {
    for settled in [SettleOutcome::Sent, SettleOutcome::NotSent] {
        let in_flight = InFlight::new(Clock::default());
        let number = begin(&in_flight, &delivery("m", "a", &generation(1), false));
        finish(&in_flight, number, Verdict::Acknowledged, settled);
        begin(&in_flight, &delivery("x", "x", &generation(2), false));
        tokio::time::advance(REDELIVERY_WINDOW + Duration::from_secs(1)).await;
        begin(&in_flight, &delivery("m", "a", &generation(3), true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_replay_is_recognised_to_its_end() {
    let in_flight = InFlight::new(Clock::default());
    let one = generation(1);
    for id in ["m1", "m2", "m3"] {
        process(&in_flight, &delivery(id, "a", &one, false));
    }
    complete_roundtrip(&one);
    let two = Arc::new(Generation::new(2, 1));
    for id in ["m1", "m2", "m3"] {
        assert!(
            matches!(
                in_flight.arrive(&delivery(id, "a", &two, true)),
                Arrival::AlreadySettled(..)
            ),
            "{id}"
        );
        tokio::time::advance(REDELIVERY_WINDOW * 3 / 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_message_counts_from_its_first_delivery() {
    let in_flight = InFlight::new(Clock::on());
    assert_eq!(in_flight.unsettled(), (0, Duration::ZERO));
    let second = Duration::from_secs(1);
    let first = begin(&in_flight, &delivery("m", "a", &generation(1), false));
    tokio::time::advance(second).await;
    let later = begin(&in_flight, &delivery("n", "a", &generation(1), false));
    let adopted = in_flight.arrive(&delivery("m", "a", &generation(2), true));
    assert_eq!(adopted, Arrival::Adopted);
    tokio::time::advance(second).await;
    assert_eq!(in_flight.unsettled(), (2, 2 * second));
    finish(
        &in_flight,
        first,
        Verdict::Acknowledged,
        SettleOutcome::Sent,
    );
    assert_eq!(in_flight.unsettled(), (1, second));
    // It waits for a redelivery, and nothing is left to do for it.
    finish(
        &in_flight,
        later,
        Verdict::Acknowledged,
        SettleOutcome::NotSent,
    );
    assert_eq!(in_flight.unsettled(), (0, Duration::ZERO));
}
