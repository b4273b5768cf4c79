//! Events with routing keys that no queue is bound to.

use super::*;
use futures_util::FutureExt;

/// An event with a key that the module chose and no queue is bound to.
fn custom(id: &str) -> Publication {
    Publication {
        route: Route::Custom("end".into()),
        ..event(id)
    }
}

fn snapshot(id: &str) -> Publication {
    Publication {
        route: Route::Snapshot,
        ..event(id)
    }
}

fn returns(amqp: &Amqp) -> u64 {
    amqp.metrics.unroutable.sum()
}

/// Waits until the broker has returned this many messages.
async fn returned(amqp: &Amqp, count: u64) {
    let start = Instant::now();
    while returns(amqp) < count {
        assert!(
            start.elapsed() < SOON,
            "only {} of {count} were returned",
            returns(amqp)
        );
        sleep(Duration::from_millis(2)).await;
    }
}

fn is_retry(message: &BasicGetMessage) -> bool {
    header(message, "retry").is_some()
}

#[tokio::test]
async fn data_under_an_unbound_key_ends_the_flow() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let confirms: Vec<_> = (0..50)
        .map(|n| amqp.publish(custom(&n.to_string())))
        .collect();
    for confirm in confirms {
        soon("the end of the flow", confirm).await.unwrap();
    }
    assert!(
        returns(&amqp) <= 50 + 4,
        "one event probes for all, {} were returned",
        returns(&amqp)
    );
    assert!(
        returns(&amqp) >= 50 + 4,
        "each event is published, {} were returned",
        returns(&amqp)
    );
    let before = returns(&amqp);
    soon("the end of the flow", amqp.publish(custom("later")))
        .await
        .unwrap();
    assert_eq!(
        returns(&amqp),
        before + 1,
        "later events are attempted once"
    );
    amqp.close().await;
}

#[tokio::test]
async fn returns_are_attributed_when_one_frame_confirms_many() {
    let world = World::new().await;
    // RabbitMQ groups its confirms by itself.
    if let Some(broker) = &world._broker {
        broker.delay_confirms(Duration::from_millis(2));
    }
    let amqp = world.connect().await;
    let keyed = |key: usize, n: usize| Publication {
        route: Route::Custom(format!("end-{key}")),
        ..event(&n.to_string())
    };
    let confirms: Vec<_> = (0..2000).map(|n| amqp.publish(keyed(n / 100, n))).collect();
    for confirm in confirms {
        soon("the end of the flow", confirm).await.unwrap();
    }
    amqp.close().await;
}

#[tokio::test]
async fn a_nack_counts_as_a_binding() {
    let world = World::with_out_arguments(full_after_one()).await;
    world.bind("full").await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("fills it")))
        .await
        .unwrap();
    let full = || Publication {
        route: Route::Custom("full".into()),
        ..event("waits")
    };
    let mut waiting = amqp.publish(full());
    let start = Instant::now();
    while amqp.metrics.publish_retries.get() < 1 {
        assert!(start.elapsed() < SOON, "no retries");
        sleep(Duration::from_millis(2)).await;
    }
    world.unbind("full").await;
    returned(&amqp, 7).await;
    assert!(
        (&mut waiting).now_or_never().is_none(),
        "a queue was bound, so this is not the end of a flow"
    );
    world.bind("full").await;
    assert_eq!(world.take().await.data, b"fills it");
    soon("the confirm", waiting).await.unwrap();
    amqp.close().await;
}

#[tokio::test]
async fn snapshots_that_nobody_stores_count_as_published() {
    let world = World::new().await;
    let amqp = world.connect().await;
    soon("the end of the flow", amqp.publish(snapshot("1")))
        .await
        .unwrap();
    assert_eq!(returns(&amqp), 5);
    soon("the end of the flow", amqp.publish(snapshot("2")))
        .await
        .unwrap();
    assert_eq!(returns(&amqp), 6);
    amqp.close().await;
}

#[tokio::test]
async fn a_queue_bound_while_probing_gets_every_event_in_order() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut confirms = vec![amqp.publish(custom("0"))];
    // Once it is known that the key needs a probe, the others wait for it.
    returned(&amqp, 1).await;
    confirms.extend((1..20).map(|n| amqp.publish(custom(&n.to_string()))));
    world.bind("end").await;
    for confirm in confirms {
        soon("the confirm", confirm).await.unwrap();
    }
    for n in 0..20 {
        assert_eq!(world.take().await.data, n.to_string().as_bytes());
    }
    amqp.close().await;
}

#[tokio::test]
async fn a_late_binding_is_used_and_its_loss_is_waited_out() {
    let world = World::new().await;
    let amqp = world.connect().await;
    soon("the end of the flow", amqp.publish(custom("absent")))
        .await
        .unwrap();
    world.bind("end").await;
    soon("the confirm", amqp.publish(custom("bound")))
        .await
        .unwrap();
    let bound = world.take().await;
    assert_eq!(
        (bound.data.as_slice(), is_retry(&bound)),
        (b"bound".as_slice(), false)
    );

    world.unbind("end").await;
    let before = returns(&amqp);
    let mut lost = amqp.publish(custom("lost"));
    // More attempts than those after which an unbound key is the end of a flow.
    returned(&amqp, before + 8).await;
    assert!(
        (&mut lost).now_or_never().is_none(),
        "an event has failed though a queue was bound to its key before"
    );
    world.bind("end").await;
    soon("the confirm", lost).await.unwrap();
    let found = world.take().await;
    assert_eq!(
        (found.data.as_slice(), is_retry(&found)),
        (b"lost".as_slice(), true)
    );
    amqp.close().await;
}

#[tokio::test]
async fn an_unbound_key_can_be_made_an_error() {
    let mut world = World::new().await;
    world.settings.unbound_is_error = true;
    let amqp = world.connect().await;
    for publication in [custom("data"), snapshot("snapshot")] {
        let error = soon("the error", amqp.publish(publication))
            .await
            .unwrap_err();
        assert!(
            error
                .reason
                .starts_with("no queue is bound for routing key")
                && error.kind == PublishErrorKind::Unbound,
            "{error}"
        );
    }
    assert_eq!(returns(&amqp), 10);
    amqp.close().await;
}

#[tokio::test]
async fn only_the_first_error_event_waits_for_a_binding() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let (first, second) = (
        amqp.publish(error_event("1")),
        amqp.publish(error_event("2")),
    );
    for confirm in [first, second] {
        let error = soon("the error", confirm).await.unwrap_err();
        assert_eq!(error.kind, PublishErrorKind::Unbound, "{error}");
    }
    let before = returns(&amqp);
    assert!(before >= 4, "it has waited for only {before} attempts");
    soon("the error", amqp.publish(error_event("3")))
        .await
        .unwrap_err();
    assert_eq!(returns(&amqp), before + 1);
    world.bind("nowhere").await;
    soon("the confirm", amqp.publish(error_event("4")))
        .await
        .unwrap();
    assert_eq!(world.take().await.data, b"4");
    amqp.close().await;
}

#[tokio::test]
async fn an_error_event_is_retried_until_its_lost_binding_is_back() {
    let mut world = World::new().await;
    // Neither the wait for a new binding nor the limit of attempts applies to a lost one.
    world.settings.binding_timeout = Duration::from_millis(1);
    world.settings.publish_attempts = Some(2);
    world.bind("nowhere").await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(error_event("1")))
        .await
        .unwrap();
    world.unbind("nowhere").await;
    let lost = amqp.publish(error_event("2"));
    returned(&amqp, 6).await;
    world.bind("nowhere").await;
    soon("the confirm", lost).await.unwrap();
    for expected in [b"1", b"2"] {
        assert_eq!(world.take().await.data, expected);
    }
    amqp.close().await;
}

#[tokio::test]
async fn every_rebound_waits_for_a_binding_and_then_fails() {
    let mut world = World::new().await;
    world.settings.rebound_key = "later".into();
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    let handle = next(&mut deliveries).await.handle;
    let rebound = || {
        amqp.rebound(&handle, Bytes::from_static(b"1"), "busy")
            .unwrap()
    };
    for _ in 0..2 {
        let before = returns(&amqp);
        let error = soon("the error", rebound()).await.unwrap_err();
        assert_eq!(error.kind, PublishErrorKind::Unbound, "{error}");
        assert!(returns(&amqp) >= before + 4, "it did not wait");
    }
    let waiting = rebound();
    returned(&amqp, returns(&amqp) + 2).await;
    world.bind("later").await;
    soon("the confirm", waiting).await.unwrap();
    assert_eq!(world.take().await.data, b"1");
    amqp.close().await;
}

#[tokio::test]
async fn an_abandoned_probe_passes_probing_to_the_next_event() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let first = amqp.publish(error_event("1"));
    returned(&amqp, 1).await;
    let second = amqp.publish(error_event("2"));
    drop(first);
    world.bind("nowhere").await;
    soon("the confirm", second).await.unwrap();
    amqp.close().await;
}

#[tokio::test]
async fn a_lost_connection_does_not_end_the_wait_for_a_binding() {
    let mut world = World::new().await;
    world.settings.binding_timeout = Duration::from_secs(60);
    let amqp = world.connect().await;
    let confirms: Vec<_> = (0..5)
        .map(|n| amqp.publish(error_event(&n.to_string())))
        .collect();
    returned(&amqp, 3).await;
    world.relay.cut();
    returned(&amqp, returns(&amqp) + 2).await;
    world.bind("nowhere").await;
    for confirm in confirms {
        soon("the confirm", confirm).await.unwrap();
    }
    amqp.close().await;
}
