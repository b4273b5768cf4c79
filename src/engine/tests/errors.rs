//! Error events: their copies as replies, and what is left of them when they are too large.

use super::*;

fn failing() -> Component {
    acts(|_message, _cx| async move { anyhow::bail!("{}", "long ".repeat(1000)) })
}

fn with_reply_to(id: &str) -> Headers {
    let mut headers = headers(id);
    headers.insert("reply_to".into(), json!("reply.here"));
    headers
}

#[tokio::test(start_paused = true)]
async fn an_error_is_copied_to_whoever_waits_for_a_reply() {
    let mut rig = Rig::start(failing()).await;
    let delivery = rig.broker.deliver(with_reply_to("m"), rig.body(json!(1)));
    let copy = rig.broker.published().await;
    assert_eq!(copy.event().route, Route::Reply("reply.here".into()));
    assert_eq!(copy.event().headers["x-eio-error-response"], json!(true));
    let event = rig.broker.published().await;
    assert_eq!(rig.read(copy.event()), rig.read(event.event()));
    event.confirm();
    rig.assert_idle().await;
    copy.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_copy_does_not_hold_up_the_verdict() {
    let mut rig = Rig::start(failing()).await;
    let delivery = rig.broker.deliver(with_reply_to("m"), rig.body(json!(1)));
    rig.broker.published().await.fail(PublishErrorKind::Unbound);
    rig.confirm(Route::Error).await;
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn error_replies_can_be_turned_off() {
    let mut rig = Rig::with(failing(), &[("NO_ERROR_REPLIES", "true")], 0).await;
    let delivery = rig.broker.deliver(with_reply_to("m"), rig.body(json!(1)));
    rig.confirm(Route::Error).await;
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rejected_error_event_is_shortened_step_by_step() {
    let mut rig = Rig::start(failing()).await;
    let delivery = rig.deliver("m", json!(1));
    let whole = rig.broker.published().await;
    let input = |published: &Published| {
        let body: Value = serde_json::from_slice(&published.event().body).unwrap();
        body["errorInput"].clone()
    };
    assert!(input(&whole).is_string());
    whole.fail(PublishErrorKind::Rejected);

    let without_input = rig.broker.published().await;
    assert!(input(&without_input).is_null());
    let report = rig.read(without_input.event());
    let message = report["message"].as_str().unwrap();
    assert!(
        message.len() > 5000 && message.ends_with("left out: its input)"),
        "{message}"
    );
    without_input.fail(PublishErrorKind::Rejected);

    let short = rig.broker.published().await;
    let report = rig.read(short.event());
    let message = report["message"].as_str().unwrap();
    assert!(
        message.len() < 1200 && message.ends_with("left out: its input, the end of its texts)"),
        "{message}"
    );
    short.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn headers_that_are_too_large_are_left_out() {
    let mut rig = Rig::start(failing()).await;
    let mut headers = headers("m");
    headers.insert("x-eio-meta-trace".into(), json!("t".repeat(1000)));
    let delivery = rig.broker.deliver(headers, rig.body(json!(1)));
    let whole = rig.broker.published().await;
    assert!(whole.event().headers.contains_key("x-eio-meta-trace"));
    whole.fail(PublishErrorKind::HeadersTooLarge);
    let short = rig.broker.published().await;
    assert!(!short.event().headers.contains_key("x-eio-meta-trace"));
    assert_eq!(short.event().headers["threadId"], json!("thread"));
    short.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_event_that_cannot_be_published_rejects() {
    let mut rig = Rig::start(failing()).await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    event.fail(PublishErrorKind::Unbound);
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

/// Past the rebound limit the error event is the only trace of the message.
#[tokio::test(start_paused = true)]
async fn an_unpublished_rebound_limit_rejects() {
    let mut rig = Rig::start(acts(|_message, cx| async move {
        let _ = cx.rebound("busy").await;
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let event = rig.broker.published().await;
    event.fail(PublishErrorKind::Unbound);
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_update_with_set_is_an_error() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        cx.update_snapshot(&message.body).await
    }))
    .await;
    let delivery = rig.deliver("m", json!({ "$set": { "n": 1 } }));
    let published = rig.broker.published().await;
    assert_eq!(published.event().route, Route::Error);
    let event = rig.read(published.event());
    let text = event.to_string();
    assert!(
        text.contains("`$set` is not supported in a snapshot update"),
        "{text}"
    );
    published.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

/// Another vector only spoils the beginning of the message, so it is decrypted, and is no JSON.
#[tokio::test(start_paused = true)]
async fn a_wrong_password_or_vector_is_named_to_the_caller_too() {
    for (password, vector) in [
        ("another password", "iv=any16_symbols"),
        ("password", "another vector.."),
    ] {
        let mut rig = Rig::start(failing()).await;
        let other = Cipher::new(password, vector).unwrap();
        let body = other.encrypt(br#"{"body":{"n":1}}"#.to_vec(), Encoding::Raw);
        let delivery = rig.broker.deliver(with_reply_to("m"), body.into());
        for route in [Route::Reply("reply.here".into()), Route::Error] {
            let text = rig.confirm(route).await.to_string();
            for name in [
                "ELASTICIO_MESSAGE_CRYPTO_PASSWORD",
                "ELASTICIO_MESSAGE_CRYPTO_IV",
            ] {
                assert!(text.contains(name), "{text}");
            }
        }
        rig.assert_settled(delivery, Verdict::Rejected).await;
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_a_request_is_an_error_that_says_so() {
    let mut rig = Rig::start(acts(|_message, cx| async move {
        cx.http_reply(crate::HttpReply::json(200, &json!({}))?)
            .await
    }))
    .await;
    let delivery = rig.deliver("m", json!(1));
    let text = rig.confirm(Route::Error).await.to_string();
    assert!(
        text.contains("'reply_to' was not found in AMQP headers") && text.contains("invalid-event"),
        "{text}"
    );
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}
