//! A broker that refuses for a while: a queue or an exchange that is deleted and made again, rights that are taken away.

use super::*;

impl World {
    async fn delete_queue(&self) {
        let queue = self.settings.queue.as_str().into();
        let deleted = self
            .channel
            .queue_delete(queue, QueueDeleteOptions::default());
        deleted.await.unwrap();
    }

    async fn delete_exchange(&self) {
        let exchange = self.settings.exchange.as_str().into();
        let deleted = self
            .channel
            .exchange_delete(exchange, ExchangeDeleteOptions::default());
        deleted.await.unwrap();
    }
}

/// Waits until the publishing task has lost this many channels.
async fn lost_channels(amqp: &Amqp, count: u64) {
    let losing = async {
        while amqp.metrics.reconnects.sum() < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a refused publish", losing).await;
}

#[tokio::test]
async fn a_queue_that_is_made_again_is_consumed_again() {
    let mut world = World::new().await;
    world.settings.refusal_timeout = SOON;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"old").await;
    let old = next(&mut deliveries).await;
    world.delete_queue().await;
    // Two connections at the start, one that is told 404, and the next attempt.
    world.relay.accepts(4).await;
    // The message that was running is finished: its event is published, although nothing can be settled any more.
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    assert_eq!(
        amqp.settle(&old.handle, Verdict::Acknowledged),
        SettleOutcome::NotSent
    );
    world.declare_all(FieldTable::default()).await;
    for n in 0..500 {
        world
            .put(BasicProperties::default(), n.to_string().as_bytes())
            .await;
    }
    for n in 0..500 {
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.body, n.to_string().as_bytes());
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged),
            SettleOutcome::Sent
        );
    }
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn a_queue_that_is_made_again_at_once_is_consumed_again() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    for _ in 0..3 {
        world.delete_queue().await;
        world.declare_all(FieldTable::default()).await;
        world.put(BasicProperties::default(), b"new").await;
        let delivery = next(&mut deliveries).await;
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged),
            SettleOutcome::Sent
        );
    }
    amqp.close().await;
}

#[tokio::test]
async fn events_wait_for_an_exchange_that_is_made_again() {
    let mut world = World::new().await;
    world.settings.refusal_timeout = SOON;
    // A refusal is no attempt.
    world.settings.publish_attempts = Some(1);
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("first")))
        .await
        .unwrap();
    assert_eq!(world.take().await.data, b"first");
    world.delete_exchange().await;
    let mut confirms: Vec<_> = (0..20)
        .map(|n| amqp.publish(event(&n.to_string())))
        .collect();
    lost_channels(&amqp, 3).await;
    confirms.extend((20..40).map(|n| amqp.publish(event(&n.to_string()))));
    world.declare_all(FieldTable::default()).await;
    world.bind("data").await;
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    let mut seen = HashSet::new();
    while let Some(message) = world.try_take(&world.out).await {
        assert!(seen.insert(message.data.clone()), "published twice");
    }
    assert_eq!(seen.len(), 40);
    amqp.close().await;
}

#[tokio::test]
async fn taken_rights_are_waited_for() {
    let mut world = World::new().await;
    // At RabbitMQ only an administrator can take rights away.
    let Some(broker) = &world._broker else { return };
    world.settings.refusal_timeout = SOON;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    broker.deny_use(true);
    broker.cancel_consumers(&world.settings.queue);
    let confirm = amqp.publish(event("1"));
    // Each of the tasks was refused twice.
    lost_channels(&amqp, 3).await;
    world.relay.accepts(4).await;
    broker.deny_use(false);
    soon("the confirm", confirm).await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(
        amqp.settle(&delivery.handle, Verdict::Acknowledged),
        SettleOutcome::Sent
    );
    amqp.close().await;
}

#[tokio::test]
async fn after_a_deleted_queue_alone_events_are_published() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.delete_queue().await;
    let error = soon("the end", deliveries.recv()).await.unwrap();
    let text = error.unwrap_err().to_string();
    assert!(text.contains("ELASTICIO_REFUSAL_TIMEOUT"), "{text}");
    assert!(amqp.can_publish());
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    amqp.close().await;
}

#[tokio::test]
async fn after_a_deleted_exchange_nothing_can_be_published() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.delete_exchange().await;
    let confirm = amqp.publish(event("1"));
    soon("the end", deliveries.recv())
        .await
        .unwrap()
        .unwrap_err();
    assert!(!amqp.can_publish());
    amqp.close().await;
    soon("the error", confirm).await.unwrap_err();
}
