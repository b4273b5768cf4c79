//! What a module is told that it has not emitted: each failure is reported once, by the module or else by the engine.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A body that no message can hold.
fn too_large() -> Value {
    json!("x".repeat(20_000))
}

async fn rig(component: Component) -> Rig {
    Rig::with(component, &[("OUTGOING_MESSAGE_SIZE_LIMIT", "10000")], 0).await
}

/// The messages of the error events that are published until the message is settled.
async fn errors(rig: &mut Rig, delivery: u64, count: usize) -> Vec<String> {
    let mut errors = vec![];
    for _ in 0..count {
        let event = rig.confirm(Route::Error).await;
        errors.push(event["message"].as_str().unwrap().to_owned());
    }
    rig.assert_settled(delivery, Verdict::Rejected).await;
    errors
}

#[tokio::test(start_paused = true)]
async fn what_a_module_reports_nobody_else_reports() {
    let mut rig = rig(acts(async |_message, cx| {
        for failed in cx.data_each([too_large(), json!(1), too_large()]).await {
            let item = format!("item {} is too large", failed.position);
            cx.error(failed.into_error().context(item)).await?;
        }
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    assert_eq!(rig.confirm(Route::Data).await, 1);
    let errors = errors(&mut rig, delivery, 2).await;
    assert!(
        errors[0].starts_with("item 0 is too large: Outgoing message"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("item 2"), "{errors:?}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_module_ignores_the_engine_reports() {
    for is_seen in [false, true] {
        let mut rig = rig(acts(move |_message, cx| async move {
            let failed = cx.data_each([too_large(), json!(1), too_large()]).await;
            if is_seen {
                assert!(failed[0].is_permanent && failed[0].error().to_string().contains("size"));
            }
            Ok(())
        }))
        .await;
        let delivery = rig.deliver("m", json!(1));
        rig.confirm(Route::Data).await;
        let errors = errors(&mut rig, delivery, 2).await;
        for error in errors {
            assert!(error.starts_with("Outgoing message size"), "{error}");
        }
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dismissed_failure_is_no_error() {
    let mut rig = rig(acts(async |_message, cx| {
        for failed in cx.data_each([too_large()]).await {
            failed.dismiss();
        }
        cx.data(&json!("in parts")).await
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    assert_eq!(rig.confirm(Route::Data).await, "in parts");
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_reported_once_for_all_bodies() {
    for takes_it in [false, true] {
        let left = Arc::new(AtomicUsize::new(0));
        let count = left.clone();
        let mut rig = rig(acts(move |_message, cx| {
            let count = count.clone();
            async move {
                let failed = cx.data_each((0..100).map(|n| json!(n))).await;
                count.store(failed.len(), Ordering::SeqCst);
                match failed.into_iter().next() {
                    Some(first) if takes_it => Err(first.into_error().context("no luck")),
                    _ => Ok(()),
                }
            }
        }))
        .await;
        let delivery = rig.deliver("m", json!(1));
        let mut published = vec![];
        for _ in 0..32 {
            published.push(rig.broker.published().await);
        }
        for data in published {
            data.fail(PublishErrorKind::Other);
        }
        let errors = errors(&mut rig, delivery, 1).await;
        assert!(errors[0].contains("the test says so"), "{errors:?}");
        assert_eq!(errors[0].starts_with("no luck"), takes_it);
        assert_eq!(left.load(Ordering::SeqCst), 100);
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn failures_after_the_module_has_given_up_are_reported() {
    let mut rig = rig(acts(async |_message, cx| {
        let bodies = [too_large(), json!(1), json!(2)];
        let given_up = timeout(Duration::from_secs(1), cx.data_each(bodies)).await;
        assert!(given_up.is_err());
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let (first, second) = (rig.broker.published().await, rig.broker.published().await);
    let too_large = rig.confirm(Route::Error).await;
    assert!(too_large["message"].as_str().unwrap().contains("size"));
    first.confirm();
    second.fail(PublishErrorKind::Rejected);
    let errors = errors(&mut rig, delivery, 1).await;
    assert!(errors[0].contains("the test says so"), "{errors:?}");
    rig.stop().await.unwrap();
}
