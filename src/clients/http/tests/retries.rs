//! Which requests are retried, how often, and after which delays.

use super::*;
use reqwest::header::HeaderValue;

#[tokio::test]
async fn only_transient_errors_are_retried() {
    for (status, requests) in [
        (500, 2),
        (503, 2),
        (429, 2),
        (408, 2),
        (400, 1),
        (401, 1),
        (404, 1),
        (409, 1),
    ] {
        let server = server(vec![PreparedResponse::status(status).body("no")]).await;
        let result = get(&quick(), &server.url()).await;
        assert_eq!(result.is_ok(), requests == 2, "{status}");
        assert_eq!(server.calls().all().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn after_all_attempts_the_last_error_is_returned() {
    let refuse = |text: &'static str| PreparedResponse::status(502).body(text);
    let server = server(vec![refuse("1"), refuse("2"), refuse("3")]).await;
    let error = get(&quick(), &server.url()).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("3", Some(StatusCode::BAD_GATEWAY))
    );
    assert_eq!(server.calls().all().len(), 3);
}

#[tokio::test]
async fn a_body_that_never_ends_times_out_and_is_retried() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndo")
            .await
            .unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        let _ = second.read(&mut [0; 1024]).await.unwrap();
        second
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
            .await
            .unwrap();
        first
    });
    let result = get(
        &RequestPolicy {
            timeout: Duration::from_millis(200),
            ..quick()
        },
        &address,
    )
    .await;
    assert_eq!(result.unwrap(), "done");
    server.await.unwrap();
}

#[tokio::test]
async fn retry_after_replaces_the_delay_of_the_policy() {
    let busy = PreparedResponse::status(429).header("retry-after", "0");
    let server = server(vec![busy]).await;
    let an_hour = with_retries(RetryPolicy::constant(Duration::from_secs(3600)).with_attempts(3));
    let result = tokio::time::timeout(Duration::from_secs(20), get(&an_hour, &server.url())).await;
    assert_eq!(
        result.expect("waited for the delay of the policy").unwrap(),
        "done"
    );
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_a_minute() {
    let read = |text: &str| {
        retry_after(
            &[(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]
                .into_iter()
                .collect(),
        )
    };
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read("3600"), Some(Duration::from_secs(60)));
    for past in [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wednesday, 21-Oct-15 07:28:00 GMT",
        "Wed Oct  7 07:28:00 2015",
    ] {
        assert_eq!(read(past), Some(Duration::ZERO), "{past}");
    }
    for future in [
        "Saturday, 06-Nov-66 08:49:37 GMT",
        "Sun Nov  6 08:49:37 2101",
    ] {
        assert_eq!(read(future), Some(Duration::from_secs(60)), "{future}");
    }
    let soon = jiff::Timestamp::now() + Duration::from_secs(30);
    let soon = crate::formats::time::http_date(soon);
    assert!((28..=30).contains(&read(&soon).unwrap().as_secs()));
    for invalid in ["soon", "Thu, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015"] {
        assert_eq!(read(invalid), None, "{invalid}");
    }
    assert_eq!(read("-1"), None);
}

/// Sends a request to a server that is unavailable for `outage`. Returns success, the time and the number of attempts.
async fn request_during_outage(
    policy: &RequestPolicy,
    outage: Duration,
    retry_after: Option<Duration>,
) -> (bool, Duration, usize) {
    let (begin, mut attempts) = (tokio::time::Instant::now(), 0);
    let done = retry(policy, || {
        attempts += 1;
        let is_back = begin.elapsed() >= outage;
        let unavailable = HttpError::Status {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: String::new(),
            retry_after,
            url: String::new(),
        };
        std::future::ready(if is_back { Ok(()) } else { Err(unavailable) })
    });
    let done = done.await.is_ok();
    (done, begin.elapsed(), attempts)
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_outlasted() {
    for seconds in [1, 5, 20, 29] {
        let outage = Duration::from_secs(seconds);
        let (done, took, attempts) = request_during_outage(&for_outages(), outage, None).await;
        // A delay with jitter is at most 8 s.
        assert!(
            done && took >= outage && took <= outage + Duration::from_secs(8) && attempts < 20,
            "{took:?} {attempts}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_number_attempts_end_after_30_seconds() {
    let forever = Duration::from_secs(3600);
    for policy in [
        for_outages(),
        with_retries(RetryPolicy::constant(Duration::from_secs(7))),
    ] {
        let (done, took, attempts) = request_during_outage(&policy, forever, None).await;
        assert_eq!((done, took), (false, Duration::from_secs(30)));
        assert!(attempts > 4, "{attempts}");
    }
    let delay = Duration::from_secs(20);
    let counted = with_retries(RetryPolicy::constant(delay).with_attempts(4));
    assert_eq!(
        request_during_outage(&counted, forever, None).await,
        (false, 3 * delay, 4)
    );
    assert_eq!(
        request_during_outage(&counted, 2 * delay, None).await,
        (true, 2 * delay, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_bounded_by_the_remaining_time() {
    let second = Duration::from_secs(1);
    for (asked, expected) in [(7, (true, 14 * second, 3)), (60, (true, 30 * second, 2))] {
        assert_eq!(
            request_during_outage(&for_outages(), 10 * second, Some(asked * second)).await,
            expected,
            "{asked}"
        );
    }
    assert_eq!(
        request_during_outage(&for_outages(), 3600 * second, Some(60 * second)).await,
        (false, 30 * second, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_has_few_attempts_left() {
    let stopped = for_outages();
    stopped.stopping.cancel();
    let (done, took, attempts) =
        request_during_outage(&stopped, Duration::from_secs(3600), None).await;
    assert!(!done && took < Duration::from_secs(1), "{took:?}");
    assert_eq!(attempts, 3);

    // A stop ends the delay that is running, and one more attempt follows at once.
    for (outage, is_back) in [(3600, false), (5, true)] {
        let policy = with_retries(RetryPolicy::constant(Duration::from_secs(6)));
        let stop = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            policy.stopping.cancel();
        };
        let ((done, took, attempts), ()) = tokio::join!(
            request_during_outage(&policy, Duration::from_secs(outage), None),
            stop
        );
        assert_eq!(done, is_back);
        assert!(
            took >= Duration::from_secs(5) && took < Duration::from_secs(6) && attempts <= 4,
            "{took:?} {attempts}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_zero_causes_no_hot_loop() {
    let fast = Duration::from_millis(1);
    let hurried = with_retries(RetryPolicy::constant(fast));
    let forever = Duration::from_secs(3600);
    for asked in [Some(Duration::ZERO), Some(fast), None] {
        let (done, took, attempts) = request_during_outage(&for_outages(), forever, asked).await;
        assert_eq!((done, took), (false, Duration::from_secs(30)), "{asked:?}");
        assert!((4..20).contains(&attempts), "{asked:?}: {attempts}");
        let (done, took, attempts) = request_during_outage(&hurried, forever, asked).await;
        assert_eq!(
            (done, took, attempts),
            (false, Duration::from_secs(30), 301),
            "{asked:?}"
        );
    }
    // With a number of attempts, any delay is allowed.
    let counted = with_retries(RetryPolicy::constant(fast).with_attempts(5));
    assert_eq!(
        request_during_outage(&counted, forever, Some(Duration::ZERO)).await,
        (false, Duration::ZERO, 5)
    );
}
