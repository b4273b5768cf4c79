//! Messages that the broker delivers again after a lost connection.

use super::*;
use tokio::sync::mpsc;

#[tokio::test(start_paused = true)]
async fn a_redelivery_of_a_running_message_is_adopted() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let mut rig = Rig::start(acts(move |message, cx| {
        started.send(()).unwrap();
        async move { cx.data(&message.body).await }
    }))
    .await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.broker.lose_connection();
    let redelivery = rig.redeliver("m", json!(1));
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(redelivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
    starts.recv().await.unwrap();
    assert!(starts.recv().await.is_none(), "the module ran twice");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_was_not_sent_settles_the_redelivery() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.broker.lose_connection();
    event.confirm();
    rig.assert_idle().await;
    let redelivery = rig.redeliver("m", json!(1));
    rig.assert_settled(redelivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_adopted_redelivery_can_be_rebounded() {
    let module = acts(|message, cx| async move {
        cx.data(&message.body).await?;
        cx.rebound("later").await
    });
    let mut rig = Rig::with(module, &[], 1).await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.broker.lose_connection();
    let redelivery = rig.redeliver("m", json!(1));
    rig.assert_idle().await;
    event.confirm();
    let rebound = rig.broker.published().await;
    assert!(matches!(rebound.what, What::Rebound(delivery, _) if delivery == redelivery));
    rebound.confirm();
    rig.assert_settled(redelivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}
