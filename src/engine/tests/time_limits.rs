//! A module that takes long: `PROCESS_TIMEOUT`, and the warnings of what has no limit.

use super::*;
use crate::engine::hooks::warn_while_slow;
use std::{
    io,
    sync::{Mutex, PoisonError},
};
use tokio::sync::mpsc;

const LIMIT: [(&str, &str); 1] = [("PROCESS_TIMEOUT", "500")];

#[tokio::test(start_paused = true)]
async fn a_module_that_takes_too_long_is_stopped() {
    let (sender, mut contexts) = mpsc::unbounded_channel();
    let component = acts(move |message, cx| {
        let sender = sender.clone();
        async move {
            cx.data(&message.body).await?;
            if message.body == json!("slow") {
                sender.send((cx.emitter(), cx.cancelled.clone())).unwrap();
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let mut rig = Rig::with(component, &LIMIT, 0).await;
    let slow = rig.deliver("1", json!("slow"));
    assert_eq!(rig.confirm(Route::Data).await, "slow");
    let (emitter, cancelled) = contexts.recv().await.unwrap();
    let report = rig.confirm(Route::Error).await;
    let text = report["message"].as_str().unwrap();
    assert!(
        text.contains("500 ms") && text.contains("raise the limit"),
        "{text}"
    );
    assert!(cancelled.is_cancelled());
    rig.assert_settled(slow, Verdict::Rejected).await;
    // A task that the module has left behind can do no harm.
    let error = emitter.data(&"late").await.unwrap_err();
    assert!(error.to_string().contains("ELASTICIO_PROCESS_TIMEOUT"));
    let quick = rig.deliver("2", json!("quick"));
    assert_eq!(rig.confirm(Route::Data).await, "quick");
    rig.assert_settled(quick, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_from_before_the_limit_are_waited_for() {
    let component = acts(|message, cx| async move {
        let emitter = cx.emitter();
        tokio::join!(emitter.data(&message.body), std::future::pending::<()>()).0
    });
    let mut rig = Rig::with(component, &LIMIT, 0).await;
    let delivery = rig.deliver("1", json!(1));
    let event = rig.broker.published().await;
    rig.confirm(Route::Error).await;
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_setting_a_module_may_take_hours() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
        cx.data(&message.body).await
    }))
    .await;
    let delivery = rig.deliver("1", json!(1));
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    rig.confirm(Route::Data).await;
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

/// A log that can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Logs what happens on this thread until the guard is dropped.
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(lines)
    }

    fn count(&self, text: &str) -> usize {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).matches(text).count()
    }
}

#[tokio::test(start_paused = true)]
async fn slow_work_is_named_in_the_log_every_five_minutes() {
    let log = Log::default();
    let _capture = log.capture();
    let work = tokio::time::sleep(Duration::from_secs(901));
    warn_while_slow("the hook is slow", work).await;
    assert_eq!(log.count("the hook is slow"), 3);
    warn_while_slow("the other is not", async {}).await;
    assert_eq!(log.count("the other is not"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_confirms_nothing_is_named_in_the_log() {
    let log = Log::default();
    let _capture = log.capture();
    let mut rig = Rig::start(acts(|message, cx| async move {
        // Not awaited.
        let emitter = cx.emitter();
        TaskTracker::new().spawn(async move { emitter.data(&message.body).await });
        tokio::task::yield_now().await;
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("1", json!(1));
    let event = rig.broker.published().await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(
        log.count("waiting for minutes for the broker to confirm"),
        2
    );
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}
