//! What happens to messages and events when the process stops.

use super::*;
use crate::component::emitter::Emitter;
use tokio::sync::mpsc;

#[tokio::test(start_paused = true)]
async fn a_running_message_is_finished_before_the_stop() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.shutdown.graceful.cancel();
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_settled_after_the_shutdown_timeout() {
    for confirms in [false, true] {
        let mut rig = Rig::start(acts(|message, cx| async move {
            cx.data(&message.body).await?;
            std::future::pending().await
        }))
        .await;
        rig.deliver("m", json!(1));
        let event = rig.broker.published().await;
        if confirms {
            event.confirm();
            rig.stop().await.unwrap();
        } else {
            rig.stop().await.unwrap();
            event.confirm();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_with_the_stop_does_not_reject() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.shutdown.graceful.cancel();
    tokio::time::sleep(Duration::from_secs(30)).await;
    event.fail(PublishErrorKind::Closed);
    rig.running.await.unwrap().unwrap();
    assert!(rig.broker.is_idle(), "something was published or settled");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_broker_error_ends_the_run() {
    let mut rig = Rig::start(acts(
        |_message, _cx| async move { std::future::pending().await },
    ))
    .await;
    rig.deliver("m", json!(1));
    rig.assert_idle().await;
    rig.broker.fail("access refused");
    let error = timeout(LONG, rig.running).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().to_string(), "access refused");
    assert!(rig.broker.is_idle(), "something was published or settled");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_settles_nothing() {
    let mut rig = Rig::start(acts(
        |message, cx| async move { cx.data(&message.body).await },
    ))
    .await;
    rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    rig.running.abort();
    assert!(rig.running.await.unwrap_err().is_cancelled());
    event.confirm();
    tokio::time::sleep(LONG).await;
    assert!(rig.broker.is_idle(), "something was published or settled");
}

/// As in a streaming trigger: the emitter outlives its message.
#[tokio::test(start_paused = true)]
async fn a_late_event_is_published_and_delays_only_the_stop() {
    let (sender, mut emitters) = mpsc::unbounded_channel::<Emitter>();
    let mut rig = Rig::start(acts(move |_message, cx| {
        sender.send(cx.emitter()).unwrap();
        async { Ok(()) }
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let emitter = emitters.recv().await.unwrap();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    let (emitted, ()) = tokio::join!(emitter.data(&2), async {
        let event = rig.broker.published().await;
        assert_eq!(event.event().headers["threadId"], json!("thread"));
        rig.shutdown.graceful.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!rig.running.is_finished(), "the stop did not wait");
        event.confirm();
    });
    emitted.unwrap();
    rig.stop().await.unwrap();
}
