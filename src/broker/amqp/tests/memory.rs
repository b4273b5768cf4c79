//! Messages that do not fit in memory, and the prefetch that follows their sizes.

use super::*;

const MIB: usize = 1 << 20;

/// A world whose process has this much memory for messages.
async fn world(messages: usize, prefetch: u16) -> World {
    let mut world = World::new().await;
    world.settings.memory.messages = messages;
    world.settings.prefetch = prefetch;
    world
}

/// So many messages of a size; the first byte of each is its number.
async fn put(world: &World, count: u8, size: usize) {
    for number in 0..count {
        let mut body = vec![b'.'; size];
        body[0] = number;
        world.put(BasicProperties::default(), &body).await;
    }
}

fn acknowledge(amqp: &Amqp, delivery: &Delivery<DeliveryHandle>) {
    let sent = amqp.settle(&delivery.handle, Verdict::Acknowledged);
    assert_eq!(sent, SettleOutcome::Sent);
}

#[tokio::test]
async fn only_messages_that_fit_are_delivered_at_once() {
    // Three messages of 1 MiB fit. The small ones before let the prefetch grow.
    let world = world(13 * MIB, 10).await;
    put(&world, 3, 10).await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    for _ in 0..3 {
        let small = next(&mut deliveries).await;
        acknowledge(&amqp, &small);
    }
    put(&world, 8, MIB).await;
    let mut working: Vec<Delivery<DeliveryHandle>> = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 8 {
        if working.len() == 3 {
            assert!(
                deliveries.try_recv().is_err(),
                "a fourth message does not fit"
            );
            // Only as many are asked for as fit beside those that are being processed, so all of them end.
            for settled in working.drain(..) {
                acknowledge(&amqp, &settled);
            }
        }
        let delivery = next(&mut deliveries).await;
        assert_eq!((delivery.body.len(), delivery.withheld), (MIB, None));
        seen.push(delivery.body[0]);
        working.push(delivery);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7], "each of them once");
    for delivery in working {
        acknowledge(&amqp, &delivery);
    }
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

/// Replaces the queue by a quorum queue that drops a message after so many deliveries. Only RabbitMQ has them.
async fn make_quorum(world: &World, delivery_limit: i32) {
    let queue = || world.settings.queue.as_str().into();
    let deleted = world
        .channel
        .queue_delete(queue(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongInt(delivery_limit),
    );
    arguments.insert("x-expires".into(), AMQPValue::LongInt(60_000));
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let declared = world.channel.queue_declare(queue(), options, arguments);
    declared.await.unwrap();
}

/// Small and large messages in turn: the prefetch grows, and then they do not fit. Each message that is given back counts as
/// a delivery.
#[tokio::test]
async fn messages_that_are_given_back_stay_within_a_delivery_limit() {
    const ROUNDS: u8 = 6;
    if env::var_os("SAILOR_TEST_AMQP_URI").is_none() {
        return eprintln!("not run, because SAILOR_TEST_AMQP_URI is not set");
    }
    let world = world(13 * MIB, 10).await;
    make_quorum(&world, 3).await;
    for _ in 0..ROUNDS {
        put(&world, 20, 10).await;
        put(&world, 8, MIB).await;
    }
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let mut working = Vec::new();
    let (mut small, mut large) = (0, 0);
    while small + large < usize::from(ROUNDS) * 28 {
        // With nothing in work, the next one fits.
        let limit = if working.is_empty() {
            SOON
        } else {
            Duration::from_millis(20)
        };
        match timeout(limit, deliveries.recv()).await {
            Ok(delivery) => {
                let delivery = delivery.unwrap().unwrap();
                *(if delivery.body.len() == MIB {
                    &mut large
                } else {
                    &mut small
                }) += 1;
                working.push(delivery);
            }
            // Nothing more fits until one is settled.
            Err(_) => acknowledge(&amqp, &working.remove(0)),
        }
    }
    assert_eq!(
        (small, large),
        (20 * usize::from(ROUNDS), 8 * usize::from(ROUNDS))
    );
    for delivery in working {
        acknowledge(&amqp, &delivery);
    }
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn a_message_that_never_fits_is_delivered_without_its_body() {
    let world = world(8 * MIB, 1).await;
    put(&world, 1, 5 * MIB).await;
    put(&world, 1, 10).await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let large = next(&mut deliveries).await;
    assert_eq!((large.body.len(), large.withheld), (0, Some(5 * MIB)));
    let sent = amqp.settle(&large.handle, Verdict::Rejected);
    assert_eq!(sent, SettleOutcome::Sent);
    let small = next(&mut deliveries).await;
    assert_eq!((small.body.len(), small.withheld), (10, None));
    amqp.close().await;
}

#[tokio::test]
async fn the_prefetch_grows_and_is_never_exceeded() {
    // Messages of 10 MiB would not fit twice, so the first prefetch is 1.
    let world = world(50 * MIB, 12).await;
    put(&world, 40, 1000).await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let mut working: Vec<Delivery<DeliveryHandle>> = Vec::new();
    for count in 1..=12 {
        working.push(next(&mut deliveries).await);
        assert_eq!(working.len(), count);
    }
    // A round trip of the adapter shows that the broker sends no more.
    acknowledge(&amqp, &working.remove(5));
    working.push(next(&mut deliveries).await);
    assert!(deliveries.try_recv().is_err());
    let mut rest = 40 - 13;
    for delivery in working {
        acknowledge(&amqp, &delivery);
        if rest > 0 {
            let delivery = next(&mut deliveries).await;
            acknowledge(&amqp, &delivery);
            rest -= 1;
        }
    }
    amqp.close().await;
}

#[tokio::test]
async fn memory_of_a_lost_connection_comes_back() {
    let world = world(13 * MIB, 3).await;
    put(&world, 3, MIB).await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    for round in 0..5 {
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.withheld, None, "{round}");
        drop(delivery);
        world.relay.cut();
    }
    soon("stopping", amqp.stop_consuming()).await;
    amqp.close().await;
}
