//! Authentication and limits.

use crate::{
    Rig, on_brokers, start,
    wire::{Hello, Wire},
};
use amq_protocol::{
    frame::AMQPFrame,
    protocol::{AMQPClass, basic, channel},
    types::{AMQPValue, FieldTable},
};
use emulator::broker::{BasicProperties, Broker, BrokerConfig, Event, QueueOptions};
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_invalid_handshake_is_refused_with_the_right_code() {
    let refused = |mechanism: &str| {
        format!("ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}.")
    };
    let plain = |text: &str| Some(text.as_bytes().to_vec());
    on_brokers(async |rig: Rig| {
        let cases: Vec<(&str, Hello<'_>, u16, String)> = vec![
            (
                "password",
                Hello {
                    response: plain("\0guest\0wrong"),
                    ..Hello::default()
                },
                403,
                refused("PLAIN"),
            ),
            (
                "user",
                Hello {
                    response: plain("\0who\0guest"),
                    ..Hello::default()
                },
                403,
                refused("PLAIN"),
            ),
            (
                "the broker sends no close method",
                Hello {
                    response: plain("\0who\0guest"),
                    capabilities: &[],
                    ..Hello::default()
                },
                1,
                "the socket was closed".into(),
            ),
            (
                "vhost",
                Hello {
                    vhost: Some("nowhere"),
                    ..Hello::default()
                },
                530,
                "NOT_ALLOWED - vhost nowhere not found".into(),
            ),
        ];
        for (name, hello, code, start) in cases {
            let (got, text) = Wire::connect(&rig.uri)
                .await
                .hello(&rig.uri, hello)
                .await
                .unwrap_err();
            assert!(
                got == code && text.starts_with(&start),
                "{name}: {got} {text}, expected {code} {start}"
            );
        }
    })
    .await;
}

/// RabbitMQ closes the connection without a reason here; this broker gives one.
#[tokio::test]
async fn an_invalid_frame_max_is_refused_with_the_limit() {
    let broker = start().await;
    for (frame_max, limit) in [
        (4095, "minimum allowed value (4096)"),
        (131_073, "maximum allowed value (131072)"),
    ] {
        let hello = Hello {
            frame_max,
            ..Hello::default()
        };
        let (code, text) = Wire::connect(&broker.uri())
            .await
            .hello(&broker.uri(), hello)
            .await
            .unwrap_err();
        assert!(
            code == 530 && text.contains(limit),
            "{frame_max}: {code} {text}"
        );
    }
}

#[tokio::test]
async fn amqplain_accepts_the_right_password() {
    on_brokers(async |rig: Rig| {
        let mut login = FieldTable::default();
        login.insert("LOGIN".into(), AMQPValue::LongString("guest".into()));
        login.insert("PASSWORD".into(), AMQPValue::LongString("guest".into()));
        let write = amq_protocol::types::generation::gen_field_table(&login);
        let table = write(amq_protocol::frame::WriteContext::from(Vec::new()))
            .unwrap()
            .into_inner()
            .0;
        let hello = Hello {
            mechanism: "AMQPLAIN",
            response: Some(table[4..].to_vec()),
            ..Hello::default()
        };
        assert_eq!(
            Wire::connect(&rig.uri).await.hello(&rig.uri, hello).await,
            Ok(())
        );
    })
    .await;
}

#[tokio::test]
async fn another_protocol_gets_the_protocol_header() {
    on_brokers(async |rig: Rig| {
        let mut wire = Wire::connect(&rig.uri).await;
        wire.raw(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(
            wire.read().await,
            Some(AMQPFrame::ProtocolHeader(_))
        ));
        assert_eq!(wire.read().await, None);
    })
    .await;
}

#[tokio::test]
async fn no_frame_is_larger_than_frame_max() {
    let broker = start().await;
    broker.declare_queue("q", QueueOptions::default());
    broker.publish("", "q", BasicProperties::default(), vec![1; 10_000]);
    let mut wire = Wire::open(&broker.uri()).await;
    let get = basic::Get {
        queue: "q".into(),
        no_ack: true,
    };
    wire.method(1, AMQPClass::Basic(basic::AMQPMethod::Get(get)))
        .await;
    while wire.body_frames.iter().sum::<usize>() < 10_000 {
        wire.read().await.expect("continues");
    }
    assert_eq!(wire.body_frames, [4088, 4088, 1824]);
}

/// AMQP cannot split a header. Clients that ask for small frames accept a larger one: amqplib does.
#[tokio::test]
async fn headers_beyond_frame_max_come_in_one_frame() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        let options = lapin::options::QueueDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        channel
            .queue_declare(q.as_str().into(), options, FieldTable::default())
            .await
            .unwrap();
        let headers = crate::table(&[("h", crate::long(&"x".repeat(5000)))]);
        crate::publish(
            &channel,
            "",
            &q,
            BasicProperties::default().with_headers(headers),
            b"",
        )
        .await;
        let mut wire = Wire::open(&rig.uri).await;
        let get = basic::Get {
            queue: q.as_str().into(),
            no_ack: true,
        };
        wire.method(1, AMQPClass::Basic(basic::AMQPMethod::Get(get)))
            .await;
        wire.read().await.expect("get-ok");
        let Some(AMQPFrame::Header(1, header)) = wire.read().await else {
            panic!("no content header")
        };
        assert!(
            header
                .properties
                .headers()
                .as_ref()
                .unwrap()
                .contains_key("h")
        );
        channel
            .queue_delete(q.as_str().into(), Default::default())
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_silent_client_is_dropped_after_two_heartbeats() {
    let broker = Broker::start(BrokerConfig {
        heartbeat: 1,
        ..BrokerConfig::default()
    })
    .await
    .unwrap();
    let mut wire = Wire::connect(&broker.uri()).await;
    wire.hello(
        &broker.uri(),
        Hello {
            heartbeat: 1,
            ..Hello::default()
        },
    )
    .await
    .unwrap();
    let start = Instant::now();
    let mut heartbeats = 0;
    while let Some(frame) = wire.read().await {
        assert_eq!(frame, AMQPFrame::Heartbeat);
        heartbeats += 1;
    }
    assert!(heartbeats >= 2, "{heartbeats} heartbeats");
    let lived = start.elapsed();
    assert!(
        lived >= Duration::from_millis(1900) && lived < Duration::from_secs(4),
        "dropped after {lived:?}"
    );
}

#[tokio::test]
async fn watchers_see_a_named_client_connect_and_leave() {
    let broker = start().await;
    let mut events = broker.watch();
    let properties = lapin::ConnectionProperties::default().with_connection_name("sailor".into());
    let connection = lapin::Connection::connect(&broker.uri(), properties)
        .await
        .unwrap();
    assert!(
        matches!(events.recv().await.unwrap(), Event::Connected { name, .. } if name == "sailor")
    );
    connection.close(200, "bye".into()).await.unwrap();
    assert!(
        matches!(events.recv().await.unwrap(), Event::Disconnected { name, .. } if name == "sailor")
    );
}

#[tokio::test]
async fn a_deleted_queue_cancels_its_consumer() {
    on_brokers(async |rig: Rig| {
        let (_connection, owner) = rig.channel().await;
        let name = rig.name("q");
        let options = lapin::options::QueueDeclareOptions::default();
        owner
            .queue_declare(name.as_str().into(), options, FieldTable::default())
            .await
            .unwrap();
        let mut wire = Wire::open(&rig.uri).await;
        let consume = basic::Consume {
            queue: name.as_str().into(),
            consumer_tag: "c".into(),
            no_local: false,
            no_ack: false,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        wire.method(1, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))
            .await;
        wire.read().await.expect("consume-ok");
        owner
            .queue_delete(name.as_str().into(), Default::default())
            .await
            .unwrap();
        let cancel = AMQPClass::Basic(basic::AMQPMethod::Cancel(basic::Cancel {
            consumer_tag: "c".into(),
            nowait: true,
        }));
        assert_eq!(wire.read().await, Some(AMQPFrame::Method(1, cancel)));
        // The channel is still open.
        wire.method(
            1,
            AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close::default())),
        )
        .await;
        let close_ok = AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}));
        assert_eq!(wire.read().await, Some(AMQPFrame::Method(1, close_ok)));
    })
    .await;
}
