//! Deliveries: from queue to consumer and back.

use crate::*;

fn prefetch(count: u16, global: bool) -> (u16, BasicQosOptions) {
    (count, BasicQosOptions { global })
}

/// How many messages wait. The broker has carried out all earlier requests before it responds.
async fn passive(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .expect("is there")
        .message_count()
}

#[tokio::test]
async fn prefetch_limits_unsettled_deliveries() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let (count, options) = prefetch(2, false);
        channel.basic_qos(count, options).await.unwrap();
        let mut consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        fill(&channel, &q, &["1", "2", "3", "4"]).await;
        let first = next(&mut consumer).await;
        let second = next(&mut consumer).await;
        assert_eq!(passive(&channel, &q).await, 2);
        first.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(text(&next(&mut consumer).await.data), "3");
        assert_eq!(passive(&channel, &q).await, 1);
        second.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(text(&next(&mut consumer).await.data), "4");
    })
    .await;
}

#[tokio::test]
async fn a_channel_prefetch_is_shared_by_its_consumers() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (a, b) = (rig.name("a"), rig.name("b"));
        queue(&channel, &a, &[]).await;
        queue(&channel, &b, &[]).await;
        let (count, options) = prefetch(1, true);
        channel.basic_qos(count, options).await.unwrap();
        let mut first = consume(&channel, &a, "a", BasicConsumeOptions::default()).await;
        let mut second = consume(&channel, &b, "b", BasicConsumeOptions::default()).await;
        fill(&channel, &a, &["a"]).await;
        let held = next(&mut first).await;
        fill(&channel, &b, &["b"]).await;
        assert_eq!(passive(&channel, &b).await, 1);
        held.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(text(&next(&mut second).await.data), "b");
    })
    .await;
}

#[tokio::test]
async fn consumers_take_turns() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let mut first = consume(&channel, &q, "a", BasicConsumeOptions::default()).await;
        let mut second = consume(&channel, &q, "b", BasicConsumeOptions::default()).await;
        fill(&channel, &q, &["1", "2", "3", "4"]).await;
        for (consumer, expected) in [(&mut first, ["1", "3"]), (&mut second, ["2", "4"])] {
            for expected in expected {
                assert_eq!(text(&next(consumer).await.data), expected);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn requeued_messages_keep_their_order_and_are_redelivered() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        fill(&channel, &q, &["1", "2", "3", "4"]).await;
        let mut got = Vec::new();
        for _ in 0..3 {
            got.push(
                channel
                    .basic_get(q.as_str().into(), BasicGetOptions::default())
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        got[2]
            .reject(BasicRejectOptions { requeue: true })
            .await
            .unwrap();
        got[0]
            .nack(BasicNackOptions {
                requeue: true,
                multiple: false,
            })
            .await
            .unwrap();
        got[1]
            .nack(BasicNackOptions {
                requeue: true,
                multiple: false,
            })
            .await
            .unwrap();
        let expected = [("1", true), ("2", true), ("3", true), ("4", false)];
        assert_eq!(
            drain(&channel, &q).await,
            expected.map(|(body, again)| (body.to_owned(), again))
        );
    })
    .await;
}

#[tokio::test]
async fn multiple_acknowledges_up_to_the_tag() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let mut consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        fill(&channel, &q, &["1", "2", "3", "4", "5"]).await;
        let mut got = Vec::new();
        for _ in 0..5 {
            got.push(next(&mut consumer).await);
        }
        channel
            .basic_cancel("c".into(), Default::default())
            .await
            .unwrap();
        got[1]
            .ack(BasicAckOptions { multiple: true })
            .await
            .unwrap();
        got[3]
            .nack(BasicNackOptions {
                multiple: true,
                requeue: true,
            })
            .await
            .unwrap();
        assert_eq!(
            drain(&channel, &q).await,
            [("3".to_owned(), true), ("4".to_owned(), true)]
        );
        channel
            .basic_recover(BasicRecoverOptions { requeue: true })
            .await
            .unwrap();
        assert_eq!(drain(&channel, &q).await, [("5".to_owned(), true)]);
    })
    .await;
}

#[tokio::test]
async fn closing_a_channel_requeues_unsettled_messages() {
    on_brokers(async |rig: Rig| {
        let (connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let dying = connection.create_channel().await.unwrap();
        let mut first = consume(&dying, &q, "a", BasicConsumeOptions::default()).await;
        fill(&channel, &q, &["1", "2"]).await;
        next(&mut first).await;
        let mut second = consume(&channel, &q, "b", BasicConsumeOptions::default()).await;
        dying.close(200, "".into()).await.unwrap();
        for expected in ["1", "2"] {
            let delivery = next(&mut second).await;
            assert_eq!(
                (text(&delivery.data).as_str(), delivery.redelivered),
                (expected, true)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn no_ack_deliveries_need_no_settlement() {
    on_brokers(async |rig: Rig| {
        let (connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let reader = connection.create_channel().await.unwrap();
        reader
            .basic_qos(1, BasicQosOptions::default())
            .await
            .unwrap();
        let mut consumer = consume(
            &reader,
            &q,
            "c",
            BasicConsumeOptions {
                no_ack: true,
                ..Default::default()
            },
        )
        .await;
        fill(&channel, &q, &["1", "2", "3"]).await;
        for expected in ["1", "2", "3"] {
            assert_eq!(text(&next(&mut consumer).await.data), expected);
        }
        reader.close(200, "".into()).await.unwrap();
        assert_eq!(passive(&channel, &q).await, 0);
    })
    .await;
}

#[tokio::test]
async fn after_cancel_messages_wait_and_old_ones_can_be_settled() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let mut consumer = consume(&channel, &q, "c", BasicConsumeOptions::default()).await;
        fill(&channel, &q, &["1"]).await;
        let held = next(&mut consumer).await;
        channel
            .basic_cancel("c".into(), Default::default())
            .await
            .unwrap();
        fill(&channel, &q, &["2"]).await;
        held.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(drain(&channel, &q).await, [("2".to_owned(), false)]);
    })
    .await;
}
