//! Which verdict a message gets, and when.

use super::*;
use crate::component::error::Rebound;
use futures_util::FutureExt;

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_after_its_event_is_confirmed() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    assert_eq!(rig.read(event.event()), json!(1));
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_module_does_not_await_counts_too() {
    for (confirms, verdict) in [(true, Verdict::Acknowledged), (false, Verdict::Rejected)] {
        let mut rig = Rig::start(acts(|message, cx| async move {
            assert!(cx.data(&message.body).now_or_never().is_none());
            Ok(())
        }))
        .await;
        let delivery = rig.deliver("m", json!(1));
        let event = rig.broker.published().await;
        rig.assert_idle().await;
        if confirms {
            event.confirm();
        } else {
            event.fail(PublishErrorKind::Other);
            rig.confirm(Route::Error).await;
        }
        rig.assert_settled(delivery, verdict).await;
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_module_rejects_after_its_error_event_is_confirmed() {
    let mut rig = Rig::start(acts(
        |_message, _cx| async move { anyhow::bail!("no such pet") },
    ))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    assert_eq!(rig.read(event.event())["message"], "no such pet");
    assert!(event.event().headers.contains_key("end"));
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panicking_module_rejects() {
    let mut rig = Rig::start(acts(|message, _cx| async move {
        assert!(message.body.is_null(), "not null");
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let report = rig.confirm(Route::Error).await;
    assert_eq!(report["message"], "the module panicked: not null");
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_message_is_rejected() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    let delivery = rig.broker.deliver(headers("m"), "not encrypted".into());
    rig.confirm(Route::Error).await;
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

/// The module returns the error of its event, which is reported already.
#[tokio::test(start_paused = true)]
async fn a_failed_publish_is_reported_once() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    event.fail(PublishErrorKind::Other);
    let report = rig.confirm(Route::Error).await;
    assert_eq!(
        report["message"],
        "Failed on publishing id message to MQ: the test says so"
    );
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_emitted_error_rejects_though_the_module_succeeds() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        cx.error(anyhow::anyhow!("a warning")).await?;
        cx.data(&message.body).await
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    rig.confirm(Route::Error).await;
    rig.confirm(Route::Data).await;
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebound_is_acknowledged_once_it_is_confirmed() {
    let module = acts(|_message, _cx| async move { Err(Rebound::because("busy").into()) });
    let mut rig = Rig::with(module, &[], 1).await;
    let delivery = rig.deliver("m", json!(1));
    let rebound = rig.broker.published().await;
    assert!(matches!(&rebound.what, What::Rebound(1, reason) if reason == "busy"));
    rig.assert_idle().await;
    rebound.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebound_past_the_limit_is_an_error_event_and_acknowledged() {
    let mut rig = Rig::start(acts(|_message, cx| async move { cx.rebound("busy").await })).await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    assert_eq!(rig.read(event.event())["message"], "Rebound limit exceeded");
    assert!(!event.event().headers.contains_key("end"));
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_message_is_settled_exactly_once() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        if message.body == json!(3) {
            anyhow::bail!("three");
        }
        cx.data(&message.body).await
    }))
    .await;
    let deliveries: Vec<u64> = (0..50)
        .map(|n| rig.deliver(&format!("m{n}"), json!(n)))
        .collect();
    for _ in &deliveries {
        rig.broker.published().await.confirm();
    }
    let mut settled = Vec::new();
    for _ in &deliveries {
        settled.push(rig.broker.settled().await);
    }
    rig.assert_idle().await;
    settled.sort_unstable_by_key(|(delivery, _)| *delivery);
    assert_eq!(settled.iter().map(|s| s.0).collect::<Vec<_>>(), deliveries);
    let rejected = settled.iter().filter(|s| s.1 == Verdict::Rejected);
    assert_eq!(rejected.count(), 1);
    rig.stop().await.unwrap();
}
