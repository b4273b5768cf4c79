//! Events that are published.

use super::*;
use crate::broker::transport::Confirm;

#[tokio::test]
async fn events_have_the_properties_and_types_of_the_contract() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut publication = event("m");
    publication.headers.extend([
        ("start".to_owned(), json!(1_700_000_000_000_i64)),
        ("n".to_owned(), json!(1)),
    ]);
    soon("the confirm", amqp.publish(publication))
        .await
        .unwrap();
    let message = world.take().await;
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("start".into(), AMQPValue::LongLongInt(1_700_000_000_000));
    headers.insert("n".into(), AMQPValue::ShortShortInt(1));
    let expected = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf8".into())
        .with_delivery_mode(1)
        .with_headers(headers);
    assert_eq!(
        (&message.properties, message.data.as_slice()),
        (&expected, b"m".as_slice())
    );
    amqp.close().await;
}

#[tokio::test]
async fn many_events_are_published_in_order() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let confirms: Vec<_> = (0..500)
        .map(|n| amqp.publish(event(&n.to_string())))
        .collect();
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    for n in 0..500 {
        assert_eq!(world.take().await.data, n.to_string().as_bytes());
    }
    amqp.close().await;
}

#[tokio::test]
async fn broken_connections_lose_nothing_and_repeat_only_retries() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut confirms = Vec::new();
    for n in 0..2000 {
        confirms.push(amqp.publish(event(&n.to_string())));
        if n % 400 == 399 {
            world.relay.cut();
            // Usually needs a new connection, so that the next cut breaks one again.
            for confirm in confirms.drain(..) {
                soon("a confirm", confirm).await.unwrap();
            }
        }
    }
    let mut seen = HashSet::new();
    while let Some(message) = world.try_take(&world.out).await {
        let first = seen.insert(message.data.clone());
        assert!(
            first || header(&message, "retry").is_some(),
            "doubled without a retry"
        );
    }
    assert_eq!(seen.len(), 2000);
    assert!(amqp.metrics.reconnects.sum() >= 1);
    amqp.close().await;
}

#[tokio::test]
async fn a_retried_event_arrives_once_the_queue_has_room() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let confirm = amqp.publish(event("2"));
    let start = Instant::now();
    while amqp.metrics.publish_retries.get() < 2 {
        assert!(start.elapsed() < SOON, "no retries");
        sleep(Duration::from_millis(5)).await;
    }
    let out = world.out.as_str().into();
    world
        .channel
        .queue_purge(out, QueuePurgeOptions::default())
        .await
        .unwrap();
    soon("the confirm", confirm).await.unwrap();
    let message = world.take().await;
    assert_eq!(message.data, b"2");
    assert!(
        matches!(
            header(&message, "retry"),
            Some(AMQPValue::ShortShortInt(2..))
        ),
        "{:?}",
        header(&message, "retry")
    );
    amqp.close().await;
}

#[tokio::test]
async fn exhausted_attempts_name_message_and_reason() {
    let mut world = World::with_out_arguments(full_after_one()).await;
    world.settings.publish_attempts = Some(3);
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let error = soon("the error", amqp.publish(event("2")))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("Failed on publishing 2 message to MQ: ") && error.contains("nack"),
        "{error}"
    );
    assert_eq!(amqp.metrics.publish_retries.get(), 2);
    amqp.close().await;
}

#[tokio::test]
async fn only_unroutable_events_fail() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let confirms: Vec<_> = (0..400)
        .map(|n| {
            let route = if n % 7 == 3 {
                Route::Reply("nowhere".into())
            } else {
                Route::Data
            };
            amqp.publish(Publication {
                route,
                ..event(&n.to_string())
            })
        })
        .collect();
    for (n, confirm) in confirms.into_iter().enumerate() {
        match soon("a result", confirm).await {
            Ok(()) => assert_ne!(n % 7, 3, "{n} counted as published"),
            Err(error) => {
                assert_eq!(n % 7, 3, "{error}");
                let expected = format!(
                    "Failed on publishing {n} message to MQ: no queue is bound for routing key \"nowhere\" on exchange \"{}\"",
                    world.settings.exchange
                );
                assert_eq!(error.to_string(), expected);
            }
        }
    }
    assert_eq!(amqp.metrics.unroutable.sum(), 5 * 57);
    amqp.close().await;
}

#[tokio::test]
async fn a_missing_exchange_ends_deliveries_and_fails_events_on_close() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let exchange = world.settings.exchange.as_str().into();
    world
        .channel
        .exchange_delete(exchange, ExchangeDeleteOptions::default())
        .await
        .unwrap();
    let first = amqp.publish(event("1"));
    let reason = soon("the end", deliveries.recv())
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(
        reason.contains("no exchange") && reason.contains("ELASTICIO_PUBLISH_MESSAGES_TO"),
        "{reason}"
    );
    assert!(soon("the end", deliveries.recv()).await.is_none());
    let later = amqp.publish(event("2"));
    amqp.close().await;
    soon("the error", first).await.unwrap_err();
    soon("the error", later).await.unwrap_err();
}

#[tokio::test]
async fn headers_beyond_a_frame_fail_only_their_event() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut large = event("1");
    large.headers.insert("x".into(), json!("x".repeat(200_000)));
    let mut long_key = event("2");
    long_key.route = Route::Custom("k".repeat(256));
    let mut no_key = event("3");
    no_key.route = Route::UpdateKeys;
    for (publication, cause) in [
        (large, "headers need"),
        (long_key, "routing key"),
        (no_key, "UPDATE_KEYS"),
    ] {
        let error = soon("the error", amqp.publish(publication))
            .await
            .unwrap_err();
        assert!(error.reason.contains(cause), "{error}");
    }
    soon("the confirm", amqp.publish(event("4"))).await.unwrap();
    assert_eq!(amqp.metrics.reconnects.sum(), 0);
    amqp.close().await;
}

#[tokio::test]
async fn an_invalid_message_does_not_fail_the_others() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let good: Vec<_> = (0..10)
        .map(|n| amqp.publish(event(&n.to_string())))
        .collect();
    let properties = BasicProperties::default().with_expiration("soon".into());
    let properties = properties::of_client(&properties);
    let (sender, invalid) = Confirm::channel();
    amqp.queue(PendingPublish::new(
        EventKind::Data,
        "data".into(),
        properties,
        Bytes::new(),
        sender,
    ));
    let more: Vec<_> = (10..20)
        .map(|n| amqp.publish(event(&n.to_string())))
        .collect();
    let error = soon("the error", invalid).await.unwrap_err();
    assert!(
        error.reason.contains("406") && error.kind == PublishErrorKind::Rejected,
        "{error}"
    );
    for confirm in good.into_iter().chain(more) {
        soon("a confirm", confirm).await.unwrap();
    }
    soon("the confirm", amqp.publish(event("later")))
        .await
        .unwrap();
    assert_eq!(amqp.metrics.reconnects.sum(), 2);
    assert_eq!(
        *world.relay.accepted.borrow(),
        2,
        "only channels are opened again"
    );
    amqp.close().await;
}

/// For example credentials whose save has timed out: newer ones may be published already.
#[tokio::test]
async fn an_abandoned_event_is_not_retried() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let abandoned = amqp.publish(event("2"));
    let start = Instant::now();
    while amqp.metrics.publish_retries.get() < 1 {
        assert!(start.elapsed() < SOON, "no retries");
        sleep(Duration::from_millis(5)).await;
    }
    drop(abandoned);
    let attempts = amqp.metrics.publish_retries.get();
    // No queue is bound for this event, so it is retried for 1.5 s. Both events wait in one queue, ordered by time, and
    // the abandoned one is due within 0.1 s. So its turn has come before the last attempt of this one.
    let last = Publication {
        route: Route::Custom("nowhere".into()),
        ..event("last")
    };
    soon("the end of the flow", amqp.publish(last))
        .await
        .unwrap();
    let retries_of_last = 4;
    let more = amqp.metrics.publish_retries.get() - attempts - retries_of_last;
    // One attempt may have begun just before the event was abandoned.
    assert!(more <= 1, "{more} further attempts");
    assert_eq!(world.take().await.data, b"1");
    soon("the confirm", amqp.publish(event("3"))).await.unwrap();
    assert_eq!(world.take().await.data, b"3");
    amqp.close().await;
}
