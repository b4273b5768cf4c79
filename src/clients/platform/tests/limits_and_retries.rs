//! How often calls are attempted, and how much of a response is read.

use super::*;
use crate::captured_log::CapturedLog;
use tokio::{net::TcpListener, time::Instant};

#[tokio::test]
async fn a_short_outage_is_invisible() {
    let (server, platform) = platform().await;
    let failed = PreparedResponse::status(500);
    server.respond("", [failed.clone(), failed, json_response(&json!({}))]);
    platform.step().await.unwrap();
    assert_eq!(requested(&server).len(), 3);
}

#[tokio::test]
async fn a_configuration_over_the_limit_names_the_setting() {
    let large = json_response(
        &json!({ "config": { "a": "x".repeat(4000) }, "data": { "id": "x".repeat(4000) } }),
    );
    let (server, platform) = platform().await;
    server.respond("", [large]);
    for error in [
        platform.step().await.map(drop).unwrap_err(),
        platform.account("acc1").await.map(drop).unwrap_err(),
        platform.secret("s1").await.map(drop).unwrap_err(),
        platform.refresh_secret("s1").await.map(drop).unwrap_err(),
        platform.startup_data().await.map(drop).unwrap_err(),
    ] {
        let error = error.to_string();
        let told = "larger than the limit of 4000 bytes (raise ELASTICIO_CONFIGURATION_SIZE_LIMIT";
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(requested(&server).len(), 5, "retried");
    // Responses that only report a status have another limit, and ignored ones have none.
    platform.update_account("acc1", &json!({})).await.unwrap();
    platform.store_startup_data(&json!({})).await.unwrap();
}

#[tokio::test]
async fn status_responses_have_a_limit_of_1_mib() {
    let (server, platform) = platform().await;
    let response =
        |size: usize| json_response(&json!({"put_url": "x".repeat(size), "get_url": "g"}));
    server.respond("", [response(5000), response(1 << 20)]);
    platform.signed_url().await.unwrap();
    let error = platform.signed_url().await.unwrap_err().to_string();
    assert!(
        error.ends_with("larger than the limit of 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn attempts_follow_the_variable_or_last_30_seconds() {
    let ms = Duration::from_millis;
    for (attempts, delay, expected) in [
        (None, None, (None, ms(200), ms(4000))),
        (Some(3), None, (Some(3), ms(300), ms(300))),
        (None, Some(ms(50)), (None, ms(50), ms(50))),
        (Some(7), Some(ms(50)), (Some(7), ms(50), ms(50))),
    ] {
        let policy = policy(attempts, delay, ms(300));
        assert_eq!(
            (
                policy.retry.attempts,
                policy.retry.delay,
                policy.retry.max_delay
            ),
            expected,
            "{attempts:?} {delay:?}"
        );
    }
}

#[test]
fn without_a_delay_variable_attempts_are_a_second_apart() {
    let platform = |attempts, retry_delay| {
        let (uri, username) = ("http://platform".into(), "user".into());
        let api = ApiSettings {
            uri,
            username,
            key: "k".into(),
            attempts,
            retry_delay,
            configuration_limit: 4000,
        };
        Platform::new(http::client().unwrap(), &api, "flow", "step", "ws")
    };
    let ms = Duration::from_millis;
    for (attempts, delay, own, hooks, quick) in [
        (
            Some(4),
            None,
            (Some(4), ms(1000)),
            (Some(4), ms(100)),
            (Some(3), ms(100)),
        ),
        (
            Some(2),
            Some(ms(5)),
            (Some(2), ms(5)),
            (Some(2), ms(5)),
            (Some(2), ms(5)),
        ),
        (
            None,
            Some(ms(700)),
            (None, ms(700)),
            (None, ms(700)),
            (Some(3), ms(100)),
        ),
        (
            None,
            None,
            (None, ms(200)),
            (None, ms(200)),
            (Some(3), ms(100)),
        ),
    ] {
        let platform = platform(attempts, delay);
        let of = |policy: &RequestPolicy| (policy.retry.attempts, policy.retry.delay);
        assert_eq!(
            (of(&platform.policy), of(&platform.hook_policy)),
            (own, hooks),
            "{attempts:?} {delay:?}"
        );
        let policy = platform.with_few_retries().policy;
        assert_eq!(
            (of(&policy), policy.retry.max_delay),
            (quick, quick.1),
            "{attempts:?} {delay:?}"
        );
    }
}

#[tokio::test]
async fn with_few_retries_there_are_three_attempts() {
    let (server, platform) = platform().await;
    server.respond("", [PreparedResponse::status(503)]);
    let policy = RequestPolicy::for_outages(ATTEMPT_TIMEOUT);
    let quick = Platform { policy, ..platform }.with_few_retries();
    quick.step().await.unwrap_err();
    quick.update_account("acc", &json!({})).await.unwrap_err();
    assert_eq!(requested(&server).len(), 6);
}

/// The platform accepts a connection and stays silent.
#[tokio::test(start_paused = true)]
async fn an_attempt_at_a_silent_platform_takes_15_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let api = ApiSettings {
        uri: address.clone(),
        username: "user".into(),
        key: "k".into(),
        attempts: None,
        retry_delay: None,
        configuration_limit: 4000,
    };
    let silent = Platform::new(http::client().unwrap(), &api, "flow", "step", "ws");
    let (log, start) = (CapturedLog::begin(), Instant::now());
    let error = silent.step().await.map(drop).unwrap_err().to_string();
    let told = format!("no response from {address}");
    assert!(error.contains(&told), "{error}");
    assert!(error.contains("timed out after 15 s"), "{error}");
    log.assert_one(&["An HTTP request failed; it is retried", "after 15 s", &told]);
    // The last attempt begins before 30 s are over.
    let took = start.elapsed().as_secs();
    assert!((30..=45).contains(&took), "{took}");
}
