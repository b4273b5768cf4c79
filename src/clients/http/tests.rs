//! What is tried again, how often, and what is told at the end.

use super::*;
use crate::clients::retry::RetryPolicy;
use reqwest::header::HeaderValue;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

/// Three attempts in quick succession.
fn quick() -> RequestPolicy {
    with_retries(RetryPolicy::constant(Duration::from_millis(1)).with_attempts(3))
}

fn with_retries(retry: RetryPolicy) -> RequestPolicy {
    RequestPolicy { retry, ..patient() }
}

/// Answers with these, one after the other, then with 200 `done`.
async fn server(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for answer in answers {
        Mock::given(any())
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("done"))
        .mount(&server)
        .await;
    server
}

async fn get(policy: &RequestPolicy, address: &str) -> Result<String, HttpError> {
    let client = client().unwrap();
    let answer = send_with_retry(policy, SizeLimit::STATUS, || client.get(address)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test]
async fn only_what_passes_is_tried_again() {
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
        let server = server(vec![ResponseTemplate::new(status).set_body_string("no")]).await;
        let result = get(&quick(), &server.uri()).await;
        assert_eq!(result.is_ok(), requests == 2, "{status}");
        assert_eq!(
            server.received_requests().await.unwrap().len(),
            requests,
            "{status}"
        );
    }
}

#[tokio::test]
async fn after_all_attempts_the_last_error_is_returned() {
    let refuse = |text: &str| ResponseTemplate::new(502).set_body_string(text);
    let server = server(vec![refuse("1"), refuse("2"), refuse("3")]).await;
    let error = get(&quick(), &server.uri()).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("3", Some(StatusCode::BAD_GATEWAY))
    );
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
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
async fn retry_after_counts_instead_of_the_policys_pause() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    let server = server(vec![busy]).await;
    let an_hour = with_retries(RetryPolicy::constant(Duration::from_secs(3600)).with_attempts(3));
    let result = tokio::time::timeout(Duration::from_secs(20), get(&an_hour, &server.uri())).await;
    assert_eq!(
        result.expect("waited for the policy's pause").unwrap(),
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
    assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    assert!((28..=30).contains(&read(&soon).unwrap().as_secs()));
    assert_eq!(read("soon"), None);
    assert_eq!(read("-1"), None);
}

/// Not there for this long.
async fn away_for(
    policy: &RequestPolicy,
    outage: Duration,
    retry_after: Option<Duration>,
) -> (bool, Duration, usize) {
    let (begin, mut tries) = (tokio::time::Instant::now(), 0);
    let done = retry(policy, || {
        tries += 1;
        let there = begin.elapsed() >= outage;
        let (status, body, address) = (
            StatusCode::SERVICE_UNAVAILABLE,
            String::new(),
            String::new(),
        );
        let away = HttpError::Status {
            status,
            body,
            retry_after,
            address,
        };
        std::future::ready(if there { Ok(()) } else { Err(away) })
    });
    let done = done.await.is_ok();
    (done, begin.elapsed(), tries)
}

fn patient() -> RequestPolicy {
    RequestPolicy::for_outages(Duration::from_secs(5))
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_seconds_is_waited_out() {
    for seconds in [1, 5, 20, 29] {
        let outage = Duration::from_secs(seconds);
        let (done, took, tries) = away_for(&patient(), outage, None).await;
        // A pause is at most 8 s with its jitter.
        assert!(
            done && took >= outage && took <= outage + Duration::from_secs(8) && tries < 20,
            "{took:?} {tries}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn tries_end_after_half_a_minute_unless_they_are_counted() {
    let forever = Duration::from_secs(3600);
    for policy in [
        patient(),
        with_retries(RetryPolicy::constant(Duration::from_secs(7))),
    ] {
        let (done, took, tries) = away_for(&policy, forever, None).await;
        assert_eq!((done, took), (false, Duration::from_secs(30)));
        assert!(tries > 4, "{tries}");
    }
    let delay = Duration::from_secs(20);
    let counted = with_retries(RetryPolicy::constant(delay).with_attempts(4));
    assert_eq!(
        away_for(&counted, forever, None).await,
        (false, 3 * delay, 4)
    );
    assert_eq!(
        away_for(&counted, 2 * delay, None).await,
        (true, 2 * delay, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_bounded_by_the_remaining_time() {
    let second = Duration::from_secs(1);
    for (asked, expected) in [(7, (true, 14 * second, 3)), (60, (true, 30 * second, 2))] {
        assert_eq!(
            away_for(&patient(), 10 * second, Some(asked * second)).await,
            expected,
            "{asked}"
        );
    }
    assert_eq!(
        away_for(&patient(), 3600 * second, Some(60 * second)).await,
        (false, 30 * second, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn once_the_process_is_to_stop_few_tries_are_left() {
    let stopped = patient();
    stopped.stopping.cancel();
    let (done, took, tries) = away_for(&stopped, Duration::from_secs(3600), None).await;
    assert!(!done && took < Duration::from_secs(1), "{took:?}");
    assert_eq!(tries, 3);

    // While a pause lasts: it is over, and what is there again by then is not missed.
    for (outage, there) in [(3600, false), (5, true)] {
        let policy = with_retries(RetryPolicy::constant(Duration::from_secs(6)));
        let stop = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            policy.stopping.cancel();
        };
        let ((done, took, tries), ()) =
            tokio::join!(away_for(&policy, Duration::from_secs(outage), None), stop);
        assert_eq!(done, there);
        assert!(
            took >= Duration::from_secs(5) && took < Duration::from_secs(6) && tries <= 4,
            "{took:?} {tries}"
        );
    }
}

/// Answers every request with these bytes, and goes on with zeros until nobody reads them. Counts requests.
async fn raw_server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = connection.write_all(answer).await;
            while connection.write_all(&[b'0'; 4096]).await.is_ok() {}
        }
    });
    (address, requests)
}

async fn read_within(bytes: usize, address: &str) -> Result<usize, HttpError> {
    let (client, limit) = (
        client().unwrap(),
        SizeLimit {
            bytes,
            variable: Some("THE_LIMIT"),
        },
    );
    Ok(send_with_retry(&quick(), limit, || client.get(address))
        .await?
        .body
        .len())
}

#[tokio::test]
async fn a_response_over_the_limit_is_an_error_and_not_retried() {
    for head in [
        // It says so itself: nothing of it is read.
        &b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n",
        // It ends with its connection, which is never.
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
    ] {
        let (address, requests) = raw_server(head).await;
        let error = read_within(100_000, &address).await.unwrap_err();
        let head = String::from_utf8_lossy(head);
        assert!(matches!(error, HttpError::TooLarge(_)), "{head}: {error}");
        for text in [error.to_string(), error.without_contents()] {
            assert!(
                text.contains("100000 bytes") && text.contains("THE_LIMIT"),
                "{text}"
            );
        }
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{head}");
    }
}

#[tokio::test]
async fn what_is_compressed_counts_with_its_full_size() {
    use std::io::Write;
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    bomb.write_all(&vec![b'0'; 1 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 10_000);
    let answer = ResponseTemplate::new(200)
        .insert_header("content-encoding", "gzip")
        .set_body_bytes(bomb);
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    assert!(matches!(
        read_within((1 << 20) - 1, &server.uri()).await,
        Err(HttpError::TooLarge(_))
    ));
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    assert_eq!(read_within(1 << 20, &server.uri()).await.unwrap(), 1 << 20);
}

#[tokio::test]
async fn an_answer_up_to_the_limit_is_read() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_bytes(vec![b'0'; 1000]);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    assert_eq!(read_within(1000, &server.uri()).await.unwrap(), 1000);
    assert!(matches!(
        read_within(999, &server.uri()).await,
        Err(HttpError::TooLarge(_))
    ));
}

#[tokio::test]
async fn what_was_sent_is_taken_whatever_else_the_answer_holds() {
    for head in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"[..],
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
    ] {
        let (address, requests) = raw_server(head).await;
        let client = client().unwrap();
        deliver_with_retry(&quick(), || client.post(&address).body("keys"))
            .await
            .unwrap();
        assert_eq!(
            requests.load(Ordering::SeqCst),
            1,
            "{}",
            String::from_utf8_lossy(head)
        );
    }
}

#[tokio::test]
async fn a_redirect_does_not_tell_where_it_comes_from() {
    for status in [302, 307] {
        let to = server(vec![]).await;
        let from = server(vec![
            ResponseTemplate::new(status).insert_header("location", to.uri()),
        ])
        .await;
        assert_eq!(
            get(&quick(), &format!("{}/?key=secret", from.uri()))
                .await
                .unwrap(),
            "done"
        );
        let [request] = to.received_requests().await.unwrap().try_into().unwrap();
        assert!(
            !request.headers.contains_key("referer"),
            "{status}: {request:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_error_names_the_address_without_secrets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = format!("http://user:top-secret@127.0.0.1:{port}/path?token=top-secret");
    let error = get(&quick(), &address).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("no answer from http://127.0.0.1:{port}/path: ")),
        "{error}"
    );
    assert!(
        error.contains("refused") && !error.contains("top-secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let server = server(vec![
        ResponseTemplate::new(400).set_body_string("x".repeat(100_000)),
    ])
    .await;
    assert_eq!(
        get(&quick(), &server.uri())
            .await
            .unwrap_err()
            .to_string()
            .len(),
        REFUSAL_LIMIT
    );
}

#[tokio::test]
async fn a_refusal_without_text_is_its_status() {
    let server = server(vec![ResponseTemplate::new(404)]).await;
    assert_eq!(
        get(&quick(), &server.uri()).await.unwrap_err().to_string(),
        "404 Not Found"
    );
}

#[tokio::test]
async fn what_is_logged_of_a_refusal_is_its_status_and_address_alone() {
    let server = server(vec![
        ResponseTemplate::new(400).set_body_string("top-secret"),
    ])
    .await;
    let error = get(&quick(), &format!("{}/path?token=top-secret", server.uri()))
        .await
        .unwrap_err();
    assert_eq!(
        error.without_contents(),
        format!("400 Bad Request from {}/path", server.uri())
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_no_pause_is_not_asked_in_a_hot_loop() {
    let fast = Duration::from_millis(1);
    let hurried = with_retries(RetryPolicy::constant(fast));
    let forever = Duration::from_secs(3600);
    for asked in [Some(Duration::ZERO), Some(fast), None] {
        let (done, took, tries) = away_for(&patient(), forever, asked).await;
        assert_eq!((done, took), (false, Duration::from_secs(30)), "{asked:?}");
        assert!((4..20).contains(&tries), "{asked:?}: {tries}");
        let (done, took, tries) = away_for(&hurried, forever, asked).await;
        assert_eq!(
            (done, took, tries),
            (false, Duration::from_secs(30), 301),
            "{asked:?}"
        );
    }
    // Counted tries are as they are set.
    let counted = with_retries(RetryPolicy::constant(fast).with_attempts(5));
    assert_eq!(
        away_for(&counted, forever, Some(Duration::ZERO)).await,
        (false, Duration::ZERO, 5)
    );
}

/// A server that redirects each of these paths with 307, and answers 200 to all others.
async fn redirecting(ways: &[(&str, String)]) -> MockServer {
    let server = MockServer::start().await;
    for (from, to) in ways {
        let redirect = ResponseTemplate::new(307).insert_header("location", &**to);
        Mock::given(path(*from))
            .respond_with(redirect)
            .mount(&server)
            .await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .with_priority(9)
        .mount(&server)
        .await;
    server
}

/// The paths that were asked for, and whether with a token.
async fn seen(server: &MockServer) -> Vec<(String, bool)> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|r| {
            (
                r.url.path().to_owned(),
                r.headers.contains_key("authorization"),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_token_goes_to_no_other_origin_however_many_hops_there_are() {
    let with = |path: &str| (path.to_owned(), true);
    let without = |path: &str| (path.to_owned(), false);
    let other = redirecting(&[("/b1", "/b2".to_owned()), ("/b2", "/b3".to_owned())]).await;
    let first = redirecting(&[
        ("/", "/a1".to_owned()),
        ("/a1", format!("{}/b1", other.uri())),
        ("/short", format!("{}/end", other.uri())),
    ])
    .await;
    // The second hop within the other origin would have the token again: its redirect is the answer.
    let response = client()
        .unwrap()
        .get(first.uri())
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (response.status(), response.url().path()),
        (StatusCode::TEMPORARY_REDIRECT, "/b1")
    );
    assert_eq!(response.headers()["location"], "/b2");
    assert_eq!(
        (seen(&first).await, seen(&other).await),
        (vec![with("/"), with("/a1")], vec![without("/b1")])
    );
    // One hop is followed.
    let response = client()
        .unwrap()
        .post(format!("{}/short", first.uri()))
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(seen(&other).await[1..], [without("/end")]);
}

#[tokio::test]
async fn redirects_to_new_origins_are_followed_without_the_token() {
    let (first, other, third) = (
        MockServer::start().await,
        MockServer::start().await,
        MockServer::start().await,
    );
    let to = |url: String| ResponseTemplate::new(302).insert_header("location", &*url);
    for (server, from, location) in [
        (&first, "/", format!("{}/b1", other.uri())),
        (&other, "/b1", format!("{}/a2", first.uri())),
        (&first, "/a2", format!("{}/b2", other.uri())),
        (&other, "/b2", format!("{}/c", third.uri())),
    ] {
        Mock::given(path(from))
            .respond_with(to(location))
            .mount(server)
            .await;
    }
    let response = client()
        .unwrap()
        .get(first.uri())
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.url().path(), "/c");
    assert_eq!(
        seen(&other).await,
        [("/b1".to_owned(), false), ("/b2".to_owned(), false)]
    );
    assert_eq!(seen(&third).await, [("/c".to_owned(), false)]);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = redirecting(&[("/", "/".to_owned())]).await;
    let error = client()
        .unwrap()
        .get(server.uri())
        .send()
        .await
        .unwrap_err();
    assert!(error.is_redirect(), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 11);
}

#[test]
fn a_long_path_is_cut_where_an_address_is_shown() {
    for id in ["i".repeat(130_000), "ü".repeat(50_000)] {
        let url = Url::parse(&format!("http://host/objects/{id}?key=secret")).unwrap();
        let shown = shown(&url);
        assert!(
            shown.starts_with("http://host/objects/") && shown.ends_with('…') && shown.len() < 1100,
            "{shown}"
        );
    }
    assert_eq!(
        shown(&Url::parse("http://u:p@host/objects/o1?key=secret").unwrap()),
        "http://host/objects/o1"
    );
}

#[test]
fn json_is_read_as_javascript_does() {
    let read = |text: String| json::<serde_json::Value>(text.into());
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(read(deep(1000)).is_ok());
    assert!(read(deep(1001)).unwrap_err().contains("1001 levels"));
    assert_eq!(
        read(r#" {"a": "\ud800!"} "#.to_owned()).unwrap()["a"],
        "\u{fffd}!"
    );
    assert_eq!(
        read(r#"{"a": secret}"#.to_owned()).unwrap_err(),
        "line 1, column 7"
    );
}
