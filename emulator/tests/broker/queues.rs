//! Queues: limits, expiry, dead letters, exclusivity.

use crate::*;

/// A queue with a dead-letter queue behind it.
async fn with_dead_letters(
    rig: &Rig,
    channel: &Channel,
    arguments: &[(&str, AMQPValue)],
) -> (String, String) {
    let (q, dead) = (rig.name("q"), rig.name("dead"));
    queue(channel, &dead, &[]).await;
    let mut all = vec![
        ("x-dead-letter-exchange", long("")),
        ("x-dead-letter-routing-key", long(&dead)),
    ];
    all.extend_from_slice(arguments);
    queue(channel, &q, &all).await;
    (q, dead)
}

fn header(message: &Delivery, name: &str) -> Option<AMQPValue> {
    message
        .properties
        .headers()
        .as_ref()?
        .inner()
        .get(name)
        .cloned()
}

/// The entries of `x-death`, without the time.
fn deaths(message: &Delivery) -> Vec<FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = header(message, "x-death") else {
        return Vec::new();
    };
    let deaths = deaths
        .as_slice()
        .iter()
        .filter_map(AMQPValue::as_field_table)
        .map(|death| {
            assert!(matches!(
                death.inner().get("time"),
                Some(AMQPValue::Timestamp(_))
            ));
            let kept = death
                .inner()
                .iter()
                .filter(|(name, _)| name.as_str() != "time");
            FieldTable::from(
                kept.map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<std::collections::BTreeMap<_, _>>(),
            )
        });
    deaths.collect()
}

fn death(reason: &str, queue: &str, count: i64, more: &[(&str, AMQPValue)]) -> FieldTable {
    let keys = AMQPValue::FieldArray(vec![long(queue)].into());
    let mut entries = vec![
        ("count", AMQPValue::LongLongInt(count)),
        ("reason", long(reason)),
        ("queue", long(queue)),
        ("exchange", long("")),
        ("routing-keys", keys),
    ];
    entries.extend_from_slice(more);
    table(&entries)
}

#[tokio::test]
async fn dead_letter_headers_contain_the_reason() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, dead) = with_dead_letters(&rig, &channel, &[]).await;
        fill(&channel, &q, &["bad"]).await;
        let mut consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        next(&mut consumer)
            .await
            .reject(BasicRejectOptions { requeue: false })
            .await
            .unwrap();
        let message = fetch(&channel, &dead).await;
        assert_eq!(
            (text(&message.data).as_str(), message.redelivered),
            ("bad", false)
        );
        assert_eq!(deaths(&message), [death("rejected", &q, 1, &[])]);
        assert_eq!(
            header(&message, "x-first-death-reason"),
            Some(long("rejected"))
        );
        assert_eq!(header(&message, "x-first-death-queue"), Some(long(&q)));
        assert_eq!(header(&message, "x-first-death-exchange"), Some(long("")));
        assert_eq!(message.routing_key.as_str(), dead);
    })
    .await;
}

#[tokio::test]
async fn repeated_deaths_of_a_kind_are_counted() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, dead) = with_dead_letters(&rig, &channel, &[]).await;
        fill(&channel, &q, &["bad"]).await;
        let mut consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        next(&mut consumer)
            .await
            .reject(BasicRejectOptions { requeue: false })
            .await
            .unwrap();
        let first = fetch(&channel, &dead).await;
        publish(&channel, "", &q, first.properties.clone(), &first.data).await;
        next(&mut consumer)
            .await
            .reject(BasicRejectOptions { requeue: false })
            .await
            .unwrap();
        assert_eq!(
            deaths(&fetch(&channel, &dead).await),
            [death("rejected", &q, 2, &[])]
        );
    })
    .await;
}

#[tokio::test]
async fn a_ttl_dead_letters_without_expiration() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let ttl = ("x-message-ttl", AMQPValue::LongInt(60_000));
        let (q, dead) = with_dead_letters(&rig, &channel, &[ttl]).await;
        // The shorter of the queue's and the message's expiry counts.
        publish(
            &channel,
            "",
            &q,
            BasicProperties::default().with_expiration("30".into()),
            b"late",
        )
        .await;
        let message = fetch(&channel, &dead).await;
        assert_eq!(
            deaths(&message),
            [death(
                "expired",
                &q,
                1,
                &[("original-expiration", long("30"))]
            )]
        );
        assert_eq!(message.properties.expiration(), &None);
    })
    .await;
}

#[tokio::test]
async fn an_expired_message_waits_behind_a_live_one() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, dead) = with_dead_letters(&rig, &channel, &[]).await;
        fill(&channel, &q, &["lives"]).await;
        publish(
            &channel,
            "",
            &q,
            BasicProperties::default().with_expiration("1".into()),
            b"late",
        )
        .await;
        publish(
            &channel,
            "",
            &rig.name("dead"),
            BasicProperties::default().with_expiration("50".into()),
            b"clock",
        )
        .await;
        // The second message is due long before this time.
        while queue(&channel, &dead, &[]).await > 0 {
            tokio::task::yield_now().await;
        }
        let first = channel
            .basic_get(q.as_str().into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (text(&first.data).as_str(), first.message_count),
            ("lives", 0),
            "expired messages are not counted"
        );
        assert_eq!(text(&fetch(&channel, &dead).await.data), "late");
    })
    .await;
}

#[tokio::test]
async fn a_length_limit_dead_letters_the_oldest() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, dead) =
            with_dead_letters(&rig, &channel, &[("x-max-length", AMQPValue::LongInt(2))]).await;
        fill(&channel, &q, &["one", "two", "three"]).await;
        let message = fetch(&channel, &dead).await;
        assert_eq!(text(&message.data), "one");
        assert_eq!(deaths(&message), [death("maxlen", &q, 1, &[])]);
        assert_eq!(
            drain(&channel, &q).await,
            [("two".into(), false), ("three".into(), false)]
        );
    })
    .await;
}

#[tokio::test]
async fn dead_letter_cycles_end() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (a, b) = (rig.name("a"), rig.name("b"));
        for (from, to) in [(&a, &b), (&b, &a)] {
            let key = ("x-dead-letter-routing-key", long(to));
            queue(
                &channel,
                from,
                &[
                    ("x-dead-letter-exchange", long("")),
                    key,
                    ("x-message-ttl", AMQPValue::LongInt(1)),
                ],
            )
            .await;
        }
        fill(&channel, &a, &["round and round"]).await;
        while queue_depth(&channel, &a).await + queue_depth(&channel, &b).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn queue_depth(channel: &Channel, name: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await
        .unwrap()
        .message_count()
}

#[tokio::test]
async fn an_exclusive_queue_is_locked_until_its_owner_leaves() {
    on_brokers(async |rig: Rig| {
        let (owner, channel) = rig.channel().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let (_other, stranger) = rig.channel().await;
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let error = stranger
            .queue_declare(q.as_str().into(), passive, FieldTable::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("RESOURCE_LOCKED"), "{error}");
        owner.close(200, "".into()).await.unwrap();
        let (_third, later) = rig.channel().await;
        let error = later
            .queue_declare(q.as_str().into(), passive, FieldTable::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("NOT_FOUND"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn others_can_only_publish_to_an_exclusive_queue() {
    on_brokers(async |rig: Rig| {
        let (_owner, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let (other, stranger) = rig.publisher().await;
        fill(&stranger, &q, &["x"]).await;
        let name = || q.as_str().into();
        for attempt in [
            "declare",
            "declare shared",
            "delete",
            "purge",
            "consume",
            "get",
            "bind",
        ] {
            let channel = other.create_channel().await.unwrap();
            let exclusive = QueueDeclareOptions {
                exclusive: true,
                auto_delete: true,
                ..Default::default()
            };
            let refused = match attempt {
                "declare" => channel
                    .queue_declare(name(), exclusive, FieldTable::default())
                    .await
                    .map(drop),
                "declare shared" => channel
                    .queue_declare(name(), Default::default(), FieldTable::default())
                    .await
                    .map(drop),
                "delete" => channel
                    .queue_delete(name(), Default::default())
                    .await
                    .map(drop),
                "purge" => channel
                    .queue_purge(name(), Default::default())
                    .await
                    .map(drop),
                "consume" => channel
                    .basic_consume(name(), "".into(), Default::default(), FieldTable::default())
                    .await
                    .map(drop),
                "get" => channel
                    .basic_get(name(), Default::default())
                    .await
                    .map(drop),
                _ => channel
                    .queue_bind(
                        name(),
                        "amq.direct".into(),
                        "".into(),
                        Default::default(),
                        FieldTable::default(),
                    )
                    .await
                    .map(drop),
            };
            let error = refused.unwrap_err().to_string();
            assert!(
                error.contains("RESOURCE_LOCKED - cannot obtain exclusive access"),
                "{attempt}: {error}"
            );
        }
        assert_eq!(
            drain(&channel, &q).await,
            [("x".into(), false)],
            "the owner can still use the queue"
        );
    })
    .await;
}

#[tokio::test]
async fn redeclaring_with_another_exclusivity_is_locked() {
    on_brokers(async |rig: Rig| {
        let (connection, channel) = rig.channel().await;
        let shared = QueueDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..shared
        };
        for (name, first, second) in [("more", shared, exclusive), ("less", exclusive, shared)] {
            let q = rig.name(name);
            channel
                .queue_declare(q.as_str().into(), first, FieldTable::default())
                .await
                .unwrap();
            let again = connection.create_channel().await.unwrap();
            let error = again
                .queue_declare(q.as_str().into(), second, FieldTable::default())
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("RESOURCE_LOCKED"),
                "{name}: {error}"
            );
            channel
                .queue_delete(q.as_str().into(), QueueDeleteOptions::default())
                .await
                .unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn an_auto_delete_queue_goes_with_its_last_consumer() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.channel().await;
        let q = rig.name("q");
        let options = QueueDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        channel
            .queue_declare(q.as_str().into(), options, FieldTable::default())
            .await
            .unwrap();
        let _consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        channel
            .basic_cancel("c".into(), Default::default())
            .await
            .unwrap();
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let error = channel
            .queue_declare(q.as_str().into(), passive, FieldTable::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("NOT_FOUND"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_empty_queue_name_means_the_last_declared() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let options = QueueDeclareOptions {
            exclusive: true,
            ..Default::default()
        };
        let declared = channel
            .queue_declare("".into(), options, FieldTable::default())
            .await
            .unwrap();
        let name = declared.name().to_string();
        assert!(name.starts_with("amq.gen-"), "{name}");
        fill(&channel, &name, &["x", "y"]).await;
        assert_eq!(
            channel
                .queue_purge("".into(), Default::default())
                .await
                .unwrap(),
            2
        );
        fill(&channel, &name, &["z"]).await;
        assert_eq!(
            channel
                .queue_delete("".into(), Default::default())
                .await
                .unwrap(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn conditional_delete_checks_its_conditions() {
    on_brokers(async |rig: Rig| {
        let (connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        fill(&channel, &q, &["x"]).await;
        let if_empty = QueueDeleteOptions {
            if_empty: true,
            ..Default::default()
        };
        let error = channel
            .queue_delete(q.as_str().into(), if_empty)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("PRECONDITION_FAILED"), "{error}");
        let channel = connection.create_channel().await.unwrap();
        let _consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        let if_unused = QueueDeleteOptions {
            if_unused: true,
            ..Default::default()
        };
        let error = channel
            .queue_delete(q.as_str().into(), if_unused)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("PRECONDITION_FAILED"), "{error}");
        let channel = connection.create_channel().await.unwrap();
        assert_eq!(
            channel
                .queue_delete(q.as_str().into(), Default::default())
                .await
                .unwrap(),
            1
        );
    })
    .await;
}
