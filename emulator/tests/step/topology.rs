//! Exchanges, queues and bindings.

use emulator::{
    Emulator, EmulatorConfig, EventKind,
    broker::{AMQPValue, BasicProperties, FieldTable},
};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn the_queues_are_made_and_bound_as_the_platform_makes_them() {
    let emulator = Emulator::start(EmulatorConfig {
        next_step: true,
        ..EmulatorConfig::default()
    })
    .await
    .unwrap();
    let (broker, names) = (emulator.broker(), emulator.topology());
    let connection = lapin::Connection::connect(&broker.uri(), Default::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let text = |text: &str| AMQPValue::LongString(text.into());
    let dead_letters_to = |key: &str| {
        [
            ("x-dead-letter-exchange", text(&names.exchange)),
            ("x-dead-letter-routing-key", text(key)),
        ]
        .to_vec()
    };
    let ttl = [("x-message-ttl", AMQPValue::LongInt(600_000))].to_vec();
    for (queue, arguments) in [
        (&names.input, dead_letters_to(&names.dead_key)),
        (
            &names.rebounds,
            [dead_letters_to(&names.requeue_key), ttl].concat(),
        ),
    ] {
        let table =
            arguments
                .into_iter()
                .fold(FieldTable::default(), |mut table, (name, value)| {
                    table.insert(name.into(), value);
                    table
                });
        // Declaring it differently would be refused.
        let options = lapin::options::QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(queue.as_str().into(), options, table)
            .await
            .unwrap();
    }
    let snapshot = names.keys.snapshot.replace("step_1", "step_9");
    for (key, queue) in [
        (&names.input_key, Some(&names.input)),
        (&names.own_key, Some(&names.input)),
        (&names.requeue_key, Some(&names.input)),
        (&names.keys.rebound, Some(&names.rebounds)),
        (&names.keys.data, Some(&names.next)),
        (&names.keys.error, Some(&names.errors)),
        (&snapshot, Some(&names.snapshots)),
        (&names.dead_key, None),
        (&names.keys.update_keys, None),
    ] {
        assert_eq!(
            broker.publish(&names.exchange, key, BasicProperties::default(), vec![]),
            queue.is_some(),
            "{key}"
        );
        for other in [
            &names.input,
            &names.rebounds,
            &names.next,
            &names.errors,
            &names.snapshots,
        ] {
            assert_eq!(
                broker.take(other).len(),
                usize::from(queue == Some(other)),
                "{key} and {other}"
            );
        }
    }
}

#[tokio::test]
async fn a_rebound_waits_no_longer_than_the_queue_allows_sped_up() {
    let config = EmulatorConfig {
        rebound_speed_up: 60_000,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let (day, names) = ("86400000", emulator.topology());
    let properties = BasicProperties::default().with_expiration(day.into());
    assert!(
        emulator
            .broker()
            .publish(&names.exchange, &names.keys.rebound, properties, vec![])
    );
    let mut events = emulator.events();
    let back = timeout(
        Duration::from_secs(10),
        events.find(|event| event.kind == EventKind::CameBack),
    )
    .await;
    assert_eq!(
        back.expect("it comes back after ten milliseconds")
            .unwrap()
            .routing_key,
        names.requeue_key
    );
    assert_eq!(emulator.broker().take(&names.input).len(), 1);
}
