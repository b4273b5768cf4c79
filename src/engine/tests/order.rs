//! The order in which events are published.

use super::*;

#[tokio::test(start_paused = true)]
async fn events_are_published_in_the_order_of_emission() {
    let mut rig = Rig::start(acts(|_message, cx| async move {
        tokio::try_join!(
            cx.data(&json!(1)),
            cx.snapshot(&json!({ "n": 1 })),
            cx.data(&json!(2)),
        )?;
        cx.update_snapshot(&json!({ "m": 2 })).await?;
        cx.data(&json!(3)).await
    }))
    .await;
    let delivery = rig.deliver("m", json!(null));
    assert_eq!(rig.confirm(Route::Data).await, json!(1));
    assert_eq!(rig.confirm(Route::Snapshot).await, json!({ "n": 1 }));
    assert_eq!(rig.confirm(Route::Data).await, json!(2));
    assert_eq!(rig.confirm(Route::Snapshot).await, json!({ "m": 2 }));
    assert_eq!(rig.confirm(Route::Data).await, json!(3));
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn data_all_publishes_in_order_with_32_unconfirmed() {
    let mut rig = Rig::start(acts(|_message, cx| async move {
        cx.data_all((0..40).map(Value::from)).await
    }))
    .await;
    let delivery = rig.deliver("m", json!(null));
    let mut unconfirmed = std::collections::VecDeque::new();
    for n in 0..32 {
        let event = rig.broker.published().await;
        assert_eq!(rig.read(event.event()), json!(n));
        unconfirmed.push_back(event);
    }
    rig.assert_idle().await;
    for n in 32..40 {
        unconfirmed.pop_front().unwrap().confirm();
        let event = rig.broker.published().await;
        assert_eq!(rig.read(event.event()), json!(n));
        unconfirmed.push_back(event);
    }
    unconfirmed.into_iter().for_each(Published::confirm);
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_later_message_sees_the_snapshot_of_an_earlier_one() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        if let Some(snapshot) = cx.stored_snapshot::<Value>()? {
            return cx.data(&snapshot).await;
        }
        cx.snapshot(&message.body).await
    }))
    .await;
    let first = rig.deliver("m1", json!({ "n": 1 }));
    let snapshot = rig.broker.published().await;
    let second = rig.deliver("m2", json!({ "n": 2 }));
    assert_eq!(rig.confirm(Route::Data).await, json!({ "n": 1 }));
    rig.assert_settled(second, Verdict::Acknowledged).await;
    snapshot.confirm();
    rig.assert_settled(first, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}
