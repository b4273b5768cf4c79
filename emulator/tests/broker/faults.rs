//! The broker's own handle: its events, and injected faults.

use crate::*;
use emulator::broker::{DeathReason, Event, ExchangeKind, Overflow, QueueDepth, QueueOptions};
use futures_util::{FutureExt, StreamExt};
use std::{io::ErrorKind, time::Instant};

fn plain(broker: &Broker, queue: &str) {
    broker.declare_queue(queue, QueueOptions::default());
}

async fn client(broker: &Broker) -> (Connection, Channel) {
    Rig::new(broker.uri()).publisher().await
}

#[tokio::test]
async fn a_topology_made_in_process_equals_one_made_by_a_client() {
    let broker = start().await;
    let dead = QueueOptions {
        dead_letter_exchange: Some("graves".into()),
        max_length: Some(1),
        overflow: Overflow::DropHead,
        ..QueueOptions::default()
    };
    broker.declare_exchange("steps", ExchangeKind::Topic);
    broker.declare_exchange("graves", ExchangeKind::Fanout);
    broker.declare_queue("in", dead);
    plain(&broker, "dead");
    broker.bind_queue("in", "steps", "*.message");
    broker.bind_queue("dead", "graves", "");
    assert!(broker.publish(
        "steps",
        "1.message",
        BasicProperties::default(),
        b"one".to_vec()
    ));
    assert!(broker.publish(
        "steps",
        "2.message",
        BasicProperties::default(),
        b"two".to_vec()
    ));
    assert!(!broker.publish("steps", "nobody", BasicProperties::default(), Vec::new()));
    assert!(!broker.publish(
        "missing",
        "1.message",
        BasicProperties::default(),
        Vec::new()
    ));
    assert_eq!(
        broker.depth("in"),
        QueueDepth {
            ready: 1,
            unacked: 0,
            consumers: 0
        }
    );
    let (kept, buried) = (broker.take("in"), broker.take("dead"));
    assert_eq!(
        (&kept[0].body[..], &buried[0].body[..]),
        (&b"two"[..], &b"one"[..])
    );
    assert_eq!(
        (kept[0].exchange.as_str(), kept[0].routing_key.as_str()),
        ("steps", "2.message")
    );
    assert_eq!(broker.depth("in").ready, 0);
}

#[tokio::test]
#[should_panic(expected = "no exchange 'nowhere' in vhost '/'")]
async fn binding_a_missing_exchange_in_process_panics() {
    let broker = start().await;
    plain(&broker, "q");
    broker.bind_queue("q", "nowhere", "k");
}

#[tokio::test]
async fn watchers_see_every_settlement() {
    let broker = start().await;
    plain(&broker, "q");
    let (_connection, channel) = client(&broker).await;
    let mut consumer = consume(&channel, "q", "c", BasicConsumeOptions::default()).await;
    let mut events = broker.watch();
    broker.publish("", "q", BasicProperties::default(), b"1".to_vec());
    let settled = broker.settled("q");
    tokio::pin!(settled);
    assert!(
        settled.as_mut().now_or_never().is_none(),
        "settled while a message is on its way"
    );
    let delivery = next(&mut consumer).await;
    assert_eq!(
        broker.depth("q"),
        QueueDepth {
            ready: 0,
            unacked: 1,
            consumers: 1
        }
    );
    delivery
        .reject(BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    next(&mut consumer)
        .await
        .ack(BasicAckOptions::default())
        .await
        .unwrap();
    settled.await;
    assert!(
        matches!(events.recv().await.unwrap(), Event::Published { queues, .. } if queues == ["q"])
    );
    assert!(
        matches!(events.recv().await.unwrap(), Event::Delivered { message, .. } if !message.redelivered)
    );
    assert!(matches!(
        events.recv().await.unwrap(),
        Event::Rejected { requeue: true, .. }
    ));
    assert!(
        matches!(events.recv().await.unwrap(), Event::Delivered { message, .. } if message.redelivered)
    );
    assert!(
        matches!(events.recv().await.unwrap(), Event::Acked { queue, message } if queue == "q" && message.body == "1")
    );
}

#[tokio::test]
async fn watchers_see_a_rejected_message_dropped() {
    let broker = start().await;
    plain(&broker, "q");
    let (_connection, channel) = client(&broker).await;
    let mut consumer = consume(&channel, "q", "c", BasicConsumeOptions::default()).await;
    broker.publish("", "q", BasicProperties::default(), Vec::new());
    let delivery = next(&mut consumer).await;
    let mut events = broker.watch();
    delivery
        .reject(BasicRejectOptions::default())
        .await
        .unwrap();
    assert!(matches!(
        events.recv().await.unwrap(),
        Event::Rejected { requeue: false, .. }
    ));
    assert!(matches!(
        events.recv().await.unwrap(),
        Event::Dropped {
            reason: DeathReason::Rejected,
            ..
        }
    ));
}

#[tokio::test]
async fn dropped_connections_requeue_unsettled_messages() {
    let broker = start().await;
    plain(&broker, "q");
    let (connection, channel) = client(&broker).await;
    let mut consumer = consume(&channel, "q", "c", BasicConsumeOptions::default()).await;
    broker.publish("", "q", BasicProperties::default(), Vec::new());
    next(&mut consumer).await;
    assert_eq!(broker.drop_connections(), 1);
    assert_eq!(
        broker.depth("q"),
        QueueDepth {
            ready: 1,
            unacked: 0,
            consumers: 0
        }
    );
    assert!(broker.take("q")[0].redelivered);
    while let Some(Ok(_)) = consumer.next().await {}
    assert!(!connection.status().connected());
    assert_eq!(broker.drop_connections(), 0);
}

#[tokio::test]
async fn closed_connections_get_the_reason() {
    let broker = start().await;
    let (connection, _channel) = client(&broker).await;
    let mut errors = connection.events_listener().filter_map(|event| {
        std::future::ready(if let lapin::Event::Error(error) = event {
            Some(error)
        } else {
            None
        })
    });
    broker.close_connections();
    let error = errors.next().await.unwrap();
    assert!(error.to_string().contains("CONNECTION_FORCED"), "{error}");
}

#[tokio::test]
async fn refused_connections_are_closed_until_allowed() {
    let broker = start().await;
    let (existing, _channel) = client(&broker).await;
    broker.refuse_connections(true);
    Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .expect_err("is refused");
    assert!(existing.status().connected());
    broker.refuse_connections(false);
    client(&broker).await;
}

#[tokio::test]
async fn delayed_confirms_arrive_after_routing() {
    let broker = start().await;
    plain(&broker, "q");
    let (_connection, channel) = client(&broker).await;
    let delay = Duration::from_millis(100);
    broker.delay_confirms(delay);
    let began = Instant::now();
    let mut events = broker.watch();
    let publishing = publish(&channel, "", "q", BasicProperties::default(), b"");
    let (confirmation, _) = tokio::join!(publishing, async {
        events.recv().await.unwrap();
        assert_eq!(broker.depth("q").ready, 1);
    });
    assert_eq!(confirmation, Confirmation::Ack(None));
    assert!(began.elapsed() >= delay);
}

#[tokio::test]
async fn ordered_nacks_refuse_that_many_messages() {
    let broker = start().await;
    plain(&broker, "q");
    let (_connection, channel) = client(&broker).await;
    broker.nack_publishes(2);
    for expected in [false, false, true] {
        let confirmation = publish(&channel, "", "q", BasicProperties::default(), b"").await;
        assert_eq!(matches!(confirmation, Confirmation::Ack(_)), expected);
    }
    assert_eq!(broker.depth("q").ready, 1);
}

#[tokio::test]
async fn broker_cancel_ends_consumer_streams() {
    let broker = start().await;
    plain(&broker, "q");
    let (_connection, channel) = client(&broker).await;
    let mut consumer = consume(&channel, "q", "c", BasicConsumeOptions::default()).await;
    broker.cancel_consumers("q");
    assert!(consumer.next().await.is_none_or(|item| item.is_err()));
    broker.publish("", "q", BasicProperties::default(), Vec::new());
    assert_eq!(
        broker.depth("q"),
        QueueDepth {
            ready: 1,
            unacked: 0,
            consumers: 0
        }
    );
}

#[tokio::test]
async fn a_blocked_client_waits_until_unblocked() {
    let broker = start().await;
    plain(&broker, "q");
    let (connection, channel) = client(&broker).await;
    let mut events = connection.events_listener();
    broker.block_connections(true);
    let publisher =
        tokio::spawn(
            async move { publish(&channel, "", "q", BasicProperties::default(), b"").await },
        );
    while !matches!(
        events.next().await.unwrap(),
        lapin::Event::ConnectionBlocked(_)
    ) {}
    assert_eq!(broker.depth("q").ready, 0);
    broker.block_connections(false);
    while !matches!(
        events.next().await.unwrap(),
        lapin::Event::ConnectionUnblocked
    ) {}
    assert_eq!(publisher.await.unwrap(), Confirmation::Ack(None));
    assert_eq!(broker.depth("q").ready, 1);
}

#[tokio::test]
async fn shutdown_frees_the_port_and_disconnects_clients() {
    let broker = start().await;
    let (connection, _channel) = client(&broker).await;
    broker.shutdown().await;
    let again = BrokerConfig {
        port: broker.addr().port(),
        ..BrokerConfig::default()
    };
    let second = Broker::start(again.clone())
        .await
        .expect("the port is free");
    let error = Broker::start(again).await.expect_err("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains(&second.addr().to_string()),
        "{error}"
    );
    while connection.status().connected() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_broker() {
    let broker = start().await;
    let uri = broker.uri();
    let (connection, _channel) = client(&broker).await;
    drop(broker);
    while connection.status().connected() {
        tokio::task::yield_now().await;
    }
    while Connection::connect(&uri, ConnectionProperties::default())
        .await
        .is_ok()
    {}
}

#[tokio::test]
async fn special_characters_in_the_uri_are_decoded() {
    let config = BrokerConfig {
        user: "a b".into(),
        password: "p@ss/w:rd".into(),
        vhost: "my host".into(),
        ..BrokerConfig::default()
    };
    assert!(!format!("{config:?}").contains("p@ss"));
    let broker = Broker::start(config).await.unwrap();
    client(&broker).await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_hours_expires_with_the_paused_clock() {
    let broker = start().await;
    let options = QueueOptions {
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("later".into()),
        message_ttl: Some(Duration::from_secs(7200)),
        ..QueueOptions::default()
    };
    broker.declare_queue("waiting", options);
    plain(&broker, "later");
    let mut events = broker.watch();
    let sent = tokio::time::Instant::now();
    broker.publish("", "waiting", BasicProperties::default(), b"x".to_vec());
    broker.publish(
        "",
        "waiting",
        BasicProperties::default().with_expiration("3600000".into()),
        b"y".to_vec(),
    );
    let mut expired = Vec::new();
    while expired.len() < 2 {
        if let Event::Expired { message, .. } = events.recv().await.unwrap() {
            expired.push((text(&message.body), sent.elapsed().as_secs()));
        }
    }
    // The second was due after an hour, but had to wait behind the first.
    assert_eq!(expired, [("x".to_owned(), 7200), ("y".to_owned(), 7200)]);
    assert_eq!(broker.depth("later").ready, 2);
}

#[tokio::test]
async fn repeatedly_cut_clients_acknowledge_each_message_once() {
    const MESSAGES: usize = 500;
    let broker = start().await;
    plain(&broker, "q");
    let mut events = broker.watch();
    for number in 0..MESSAGES {
        broker.publish(
            "",
            "q",
            BasicProperties::default(),
            number.to_string().into_bytes(),
        );
    }
    let consumers = (0..3).map(|_| {
        let uri = broker.uri();
        tokio::spawn(async move {
            loop {
                // The result does not matter: the broker's counts show whether anything was lost.
                let _ = consume_until_cut(&uri).await;
            }
        })
    });
    let consumers: Vec<_> = consumers.collect();
    let mut acked = std::collections::HashMap::<String, usize>::new();
    let count = async {
        while acked.len() < MESSAGES {
            if let Event::Acked { message, .. } = events.recv().await.unwrap() {
                *acked.entry(text(&message.body)).or_default() += 1;
                if acked.len().is_multiple_of(100) {
                    broker.drop_connections();
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, count)
        .await
        .expect("all messages are acknowledged in time");
    broker.settled("q").await;
    consumers.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(
        acked.values().all(|times| *times == 1),
        "some were acknowledged twice"
    );
}

/// Consumes and acknowledges until the connection is gone. An ack may then wait for ever in lapin 4.12,
/// so each has a time limit.
async fn consume_until_cut(uri: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let patience = Duration::from_millis(500);
    let connecting = Connection::connect(uri, ConnectionProperties::default());
    let connection = tokio::time::timeout(patience, connecting).await??;
    let channel = tokio::time::timeout(patience, connection.create_channel()).await??;
    let subscribing = async {
        channel.basic_qos(10, BasicQosOptions::default()).await?;
        channel
            .basic_consume(
                "q".into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
    };
    let mut consumer = tokio::time::timeout(patience, subscribing).await??;
    while let Some(delivery) = tokio::time::timeout(patience, consumer.next()).await? {
        tokio::time::timeout(patience, delivery?.ack(BasicAckOptions::default())).await??;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_without_configure_permission_is_refused() {
    let broker = start().await;
    let rig = Rig::new(broker.uri());
    broker.declare_queue("there", QueueOptions::default());
    broker.deny_configure(true);
    for attempt in [
        "declare a queue",
        "delete a queue",
        "declare an exchange",
        "delete an exchange",
        "look",
    ] {
        let (_connection, channel) = rig.channel().await;
        let none = FieldTable::default();
        let direct = lapin::ExchangeKind::Direct;
        let (outcome, what) = match attempt {
            "declare a queue" => (
                channel
                    .queue_declare("q".into(), Default::default(), none)
                    .await
                    .map(drop),
                "queue 'q'",
            ),
            "delete a queue" => (
                channel
                    .queue_delete("there".into(), Default::default())
                    .await
                    .map(drop),
                "queue 'there'",
            ),
            "declare an exchange" => (
                channel
                    .exchange_declare("x".into(), direct, Default::default(), none)
                    .await,
                "exchange 'x'",
            ),
            "delete an exchange" => (
                channel
                    .exchange_delete("x".into(), Default::default())
                    .await,
                "exchange 'x'",
            ),
            _ => {
                let passive = QueueDeclareOptions {
                    passive: true,
                    ..Default::default()
                };
                channel
                    .queue_declare("there".into(), passive, none)
                    .await
                    .expect("a passive declaration needs no permission");
                continue;
            }
        };
        let error = outcome.unwrap_err().to_string();
        let expected =
            format!("ACCESS_REFUSED - access to {what} in vhost '/' refused for user 'guest'");
        assert!(error.contains(&expected), "{error}");
    }
    broker.deny_configure(false);
    let (_connection, channel) = rig.channel().await;
    queue(&channel, "q", &[]).await;
}
