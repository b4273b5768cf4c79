//! Deliveries, their settlement, and rebounds.

use super::*;

#[tokio::test]
async fn a_settled_delivery_is_gone_from_the_broker() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("protocolVersion".into(), AMQPValue::LongUInt(2));
    world
        .put(BasicProperties::default().with_headers(headers), b"body")
        .await;
    world.put(BasicProperties::default(), b"").await;
    let (first, second) = (next(&mut deliveries).await, next(&mut deliveries).await);
    assert_eq!(
        serde_json::Value::Object(first.headers.clone()),
        json!({"messageId": "m", "protocolVersion": 2})
    );
    assert_eq!(
        (
            first.body.as_ref(),
            first.redelivered,
            first.generation.number
        ),
        (b"body".as_slice(), false, 1)
    );
    assert_eq!((second.body.len(), second.headers.len()), (0, 0));
    assert_eq!(
        amqp.settle(&first.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    assert_eq!(
        amqp.settle(&second.handle, Verdict::Rejected),
        SettleOutcome::Sent
    );
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn after_a_lost_connection_only_the_new_generation_settles() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    let old = next(&mut deliveries).await;
    world.relay.cut();
    let new = next(&mut deliveries).await;
    assert_eq!(
        (
            old.generation.number,
            new.generation.number,
            new.redelivered
        ),
        (1, 2, true)
    );
    assert_eq!(
        amqp.settle(&old.handle, Verdict::Acknowledged),
        SettleOutcome::NotSent
    );
    assert_eq!(
        amqp.settle(&new.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn a_missing_queue_is_an_error_that_says_what_to_check() {
    let mut world = World::new().await;
    world.settings.queue = "missing".into();
    let amqp = world.connect().await;
    let error = amqp.consume().await.unwrap_err().to_string();
    assert!(
        error.contains("no queue 'missing'") && error.contains("ELASTICIO_LISTEN_MESSAGES_ON"),
        "{error}"
    );
    soon("stopping", amqp.stop_consuming()).await;
    amqp.close().await;
}

#[tokio::test]
async fn a_deleted_queue_ends_the_deliveries_with_the_reason() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let queue = world.settings.queue.as_str().into();
    world
        .channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await
        .unwrap();
    let error = soon("the end", deliveries.recv())
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.contains("no queue"), "{error}");
    assert!(soon("the end", deliveries.recv()).await.is_none());
    amqp.close().await;
}

#[tokio::test]
async fn deliveries_in_flight_can_be_settled_after_stop() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    world.put(BasicProperties::default(), b"2").await;
    let first = next(&mut deliveries).await;
    soon("stopping", amqp.stop_consuming()).await;
    world.put(BasicProperties::default(), b"late").await;
    let mut rest = vec![first];
    while let Some(delivery) = soon("the end", deliveries.recv()).await {
        rest.push(delivery.unwrap());
    }
    for delivery in &rest {
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged),
            SettleOutcome::Sent
        );
    }
    amqp.close().await;
    let left = world.try_take(&world.settings.queue).await.unwrap();
    assert_eq!((rest.len(), left.data.as_slice()), (2, b"late".as_slice()));
}

#[tokio::test]
async fn a_lost_connection_after_stop_does_not_resume_consuming() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    soon("stopping", amqp.stop_consuming()).await;
    world.relay.cut();
    assert!(soon("the end", deliveries.recv()).await.is_none());
    // The publish connection is back, so the consume connection would be, too.
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    world.put(BasicProperties::default(), b"late").await;
    assert!(world.try_take(&world.settings.queue).await.is_some());
    amqp.close().await;
}

fn incoming() -> (BasicProperties, FieldTable) {
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("start".into(), AMQPValue::LongLongInt(5));
    headers.insert("protocolVersion".into(), AMQPValue::LongUInt(2));
    headers.insert("reboundIteration".into(), AMQPValue::LongInt(2));
    headers.insert("when".into(), AMQPValue::Timestamp(7));
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_content_encoding("binary".into())
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_message_id("i".into())
        .with_timestamp(9)
        .with_type("t".into())
        .with_app_id("a".into())
        .with_headers(headers.clone());
    (properties, headers)
}

#[tokio::test]
async fn a_rebound_keeps_properties_types_and_bytes() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let (properties, mut headers) = incoming();
    let user = world.user.clone();
    world
        .put(
            properties.clone().with_user_id(user.as_str().into()),
            b"bytes",
        )
        .await;
    let delivery = next(&mut deliveries).await;
    let reason = "ü".repeat(32 * 1024);
    soon(
        "the confirm",
        amqp.rebound(&delivery.handle, delivery.body.clone(), &reason)
            .unwrap(),
    )
    .await
    .unwrap();
    // The queue that it went to has no dead-lettering: the expiration is one minute away.
    let message = world.take().await;
    let Some(AMQPValue::LongLongInt(end)) = header(&message, "end") else {
        panic!("no end")
    };
    headers.insert("end".into(), AMQPValue::LongLongInt(end));
    headers.insert(
        "reboundReason".into(),
        AMQPValue::LongString("ü".repeat(512).into()),
    );
    headers.insert("reboundIteration".into(), AMQPValue::ShortShortInt(3));
    let expected = properties
        .with_user_id(user.into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_expiration("60000".into());
    assert_eq!(
        (&message.properties, message.data.as_slice()),
        (&expected, b"bytes".as_slice())
    );
    amqp.close().await;
}

#[tokio::test]
async fn a_rebound_past_the_limit_is_reported() {
    let mut world = World::new().await;
    world.settings.rebound_limit = 2;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(incoming().0, b"bytes").await;
    let delivery = next(&mut deliveries).await;
    assert!(
        amqp.rebound(&delivery.handle, delivery.body.clone(), "why")
            .is_err()
    );
    amqp.close().await;
}

#[tokio::test]
async fn a_connection_lost_before_consuming_is_reopened() {
    let world = World::new().await;
    let amqp = world.connect().await;
    world.relay.cut();
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let mut deliveries = soon("consuming", amqp.consume()).await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(
        amqp.settle(&delivery.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    amqp.close().await;
}

/// Waits until the broker is known to have received a settlement.
async fn received(generation: &Generation, sent: u32) {
    let waiting = async {
        while !generation.has_received(sent) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a round trip after the settlement", waiting).await;
}

#[tokio::test]
async fn settlements_are_confirmed_while_deliveries_continue() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    for n in 0..3 {
        // The prefetch is ten. A round trip that changed it would show in what follows.
        for _ in 0..20 {
            world.put(BasicProperties::default(), b"1").await;
        }
        let mut sent = 0;
        let mut held = vec![];
        for _ in 0..20 {
            let delivery = next(&mut deliveries).await;
            assert!(!delivery.redelivered);
            if held.len() < 9 {
                held.push(delivery);
                continue;
            }
            assert_eq!(
                amqp.settle(&delivery.handle, Verdict::Acknowledged),
                SettleOutcome::Sent
            );
            sent = delivery.generation.settlement_sent();
        }
        received(&held[0].generation, sent).await;
        for delivery in &held {
            let verdict = if n == 1 {
                Verdict::Rejected
            } else {
                Verdict::Acknowledged
            };
            assert_eq!(amqp.settle(&delivery.handle, verdict), SettleOutcome::Sent);
        }
        received(&held[0].generation, held[0].generation.settlement_sent()).await;
    }
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn a_silent_broker_confirms_no_settlement() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    world.put(BasicProperties::default(), b"2").await;
    let (known, lost) = (next(&mut deliveries).await, next(&mut deliveries).await);
    assert_eq!(
        amqp.settle(&known.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    let known = known.generation.settlement_sent();
    received(&lost.generation, known).await;
    world.relay.silence();
    assert_eq!(
        amqp.settle(&lost.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    let sent = lost.generation.settlement_sent();
    world.relay.cut();
    let again = next(&mut deliveries).await;
    assert_eq!(
        (
            again.body.as_ref(),
            again.redelivered,
            again.generation.number
        ),
        (b"2".as_slice(), true, 2)
    );
    assert!(lost.generation.has_received(known) && !lost.generation.has_received(sent));
    amqp.close().await;
}

#[tokio::test]
async fn a_refused_reconnect_counts_as_an_outage() {
    let world = World::new().await;
    // RabbitMQ has no way to refuse connections on request.
    let Some(broker) = &world._broker else { return };
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let mut accepted = world.relay.accepted.clone();
    for outages in 1..3 {
        broker.refuse_connections(true);
        accepted.mark_unchanged();
        // Only the consuming task reconnects, so its second attempt says that the first has failed.
        broker.cancel_consumers(&world.settings.queue);
        for _ in 0..2 {
            soon("an attempt", accepted.changed()).await.unwrap();
        }
        broker.refuse_connections(false);
        world.put(BasicProperties::default(), b"1").await;
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.generation.outages, outages);
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged),
            SettleOutcome::Sent
        );
    }
    amqp.close().await;
}
