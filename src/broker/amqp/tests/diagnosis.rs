//! Questions that change nothing: what a queue, an exchange and the user's rights are, and what is in a queue.

use super::{lock_connection::log_in_as, *};

/// What one message of the queue is like, without the flag that a peek sets.
type Seen = (Vec<u8>, BasicProperties, String, String);

impl World {
    async fn diagnosis(&self) -> Diagnosis {
        Diagnosis::connect(&self.settings.uri).await.unwrap()
    }

    /// Puts messages of all sizes into the queue: their bodies are their numbers, and some have a tail of a frame.
    async fn put_many(&self, count: usize) {
        for n in 0..count {
            let mut body = n.to_string().into_bytes();
            body.resize(body.len() + n % 3 * 200_000, b'x');
            let mut headers = FieldTable::default();
            headers.insert(
                "messageId".into(),
                AMQPValue::LongString(n.to_string().into()),
            );
            headers.insert("n".into(), AMQPValue::LongLongInt(1 << 40));
            let properties = BasicProperties::default()
                .with_headers(headers)
                .with_content_type("application/json".into())
                .with_delivery_mode(2);
            self.put(properties, &body).await;
        }
    }

    /// Takes all messages out of the queue: what they are like, and whether the broker had delivered them before.
    async fn drain(&self) -> (Vec<Seen>, Vec<bool>) {
        let (mut seen, mut redelivered) = (vec![], vec![]);
        while let Some(message) = self.try_take(&self.settings.queue).await {
            let delivery = message.delivery;
            redelivered.push(delivery.redelivered);
            let (exchange, key) = (
                delivery.exchange.to_string(),
                delivery.routing_key.to_string(),
            );
            seen.push((delivery.data, delivery.properties, exchange, key));
        }
        (seen, redelivered)
    }
}

#[tokio::test]
async fn a_queue_is_as_before_after_a_peek() {
    let (untouched, world) = (World::new().await, World::new().await);
    for world in [&untouched, &world] {
        world.put_many(7).await;
    }
    let (mut expected, _) = untouched.drain().await;
    for seen in &mut expected {
        seen.3.clone_from(&world.settings.queue);
    }
    let broker = world.diagnosis().await;
    for round in 0..3 {
        let peeked = broker.peek(&world.settings.queue, 4).await.unwrap();
        let bodies: Vec<_> = peeked.iter().map(|message| message.body.to_vec()).collect();
        let of_expected: Vec<_> = expected[..4].iter().map(|seen| seen.0.clone()).collect();
        assert_eq!(bodies, of_expected);
        assert_eq!(peeked[3].headers["messageId"], "3");
        assert!(
            peeked
                .iter()
                .all(|message| message.redelivered == (round > 0))
        );
    }
    // More than there are: all of them, once.
    assert_eq!(
        broker.peek(&world.settings.queue, 100).await.unwrap().len(),
        7
    );
    let state = broker.queue(&world.settings.queue).await.unwrap();
    assert_eq!(
        state,
        QueueState {
            ready: 7,
            consumers: 0
        }
    );
    broker.close().await;
    let (seen, redelivered) = world.drain().await;
    assert_eq!(seen, expected);
    assert_eq!(redelivered, [true; 7]);
}

#[tokio::test]
async fn a_lost_connection_puts_peeked_messages_back() {
    let world = World::new().await;
    world.put_many(2).await;
    let broker = world.diagnosis().await;
    let channel = broker.channel().await;
    let options = BasicGetOptions { no_ack: false };
    let queue = world.settings.queue.as_str();
    channel
        .basic_get(queue.into(), options)
        .await
        .unwrap()
        .unwrap();
    world.relay.cut();
    drop(broker);
    let other = Diagnosis::connect(&world.settings.uri).await.unwrap();
    let back = async {
        while other.queue(queue).await.unwrap().ready < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the message is back", back).await;
    other.close().await;
    assert_eq!(world.drain().await.0.len(), 2);
}

#[tokio::test]
async fn what_is_there_is_found_and_nothing_changes() {
    let world = World::new().await;
    world.put_many(2).await;
    let amqp = world.connect().await;
    let broker = world.diagnosis().await;
    let (queue, exchange) = (&world.settings.queue, &world.settings.exchange);
    for _ in 0..2 {
        let state = broker.queue(queue).await.unwrap();
        assert_eq!(
            state,
            QueueState {
                ready: 2,
                consumers: 0
            }
        );
        broker.exchange(exchange).await.unwrap();
        assert_eq!(
            broker.may_write(exchange).await.unwrap(),
            WriteRight::Granted
        );
    }
    broker.close().await;
    // The binding is still there, and nothing was delivered before.
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    world.take().await;
    amqp.close().await;
    assert_eq!(world.drain().await.1, [false; 2]);
}

#[tokio::test]
async fn what_is_missing_is_told_with_its_remedy() {
    let world = World::new().await;
    let broker = world.diagnosis().await;
    let refused = broker.queue("no-such-queue").await.unwrap_err().to_string();
    assert!(
        refused.contains("NOT_FOUND") && refused.contains("ELASTICIO_LISTEN_MESSAGES_ON"),
        "{refused}"
    );
    let refused = broker
        .exchange("no-such-exchange")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("NOT_FOUND") && refused.contains("ELASTICIO_PUBLISH_MESSAGES_TO"),
        "{refused}"
    );
    assert!(broker.peek("no-such-queue", 1).await.is_err());
    let long = broker
        .queue(&"q".repeat(256))
        .await
        .unwrap_err()
        .to_string();
    assert!(long.contains("256 bytes"), "{long}");
    // The questions that were refused have closed only their own channels.
    broker.exchange(&world.settings.exchange).await.unwrap();
    broker.close().await;
}

#[tokio::test]
async fn a_missing_right_to_write_is_told() {
    let world = World::new().await;
    let (mut uri, broker) = broker().await;
    // Only RabbitMQ has users with few rights.
    if broker.is_some() || !log_in_as("sailor-powerless", &mut uri).await {
        return;
    }
    let broker = Diagnosis::connect(&text_of(&uri).into()).await.unwrap();
    let right = broker.may_write(&world.settings.exchange).await.unwrap();
    // Old versions of RabbitMQ do not say which right is missing.
    assert!(
        matches!(right, WriteRight::Refused(_) | WriteRight::Untold(_)),
        "{right:?}"
    );
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_goes_silent_is_not_waited_for() {
    let world = World::new().await;
    let broker = world.diagnosis().await;
    world.relay.silence();
    tokio::time::pause();
    let error = broker.queue(&world.settings.queue).await.unwrap_err();
    assert!(
        error.to_string().contains("no response from the broker"),
        "{error}"
    );
    let error = broker.peek(&world.settings.queue, 1).await;
    let error = error.err().unwrap().to_string();
    let told = "looking into the queue: no response from the broker within 30 s";
    assert_eq!(error, told);
}
