//! What is tried again, how often, and what is told at the end.

use super::*;
use reqwest::header::HeaderValue;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const QUICK: RetryPolicy =
    RetryPolicy { attempts: 3, delay: Duration::from_millis(1), exponential: false, timeout: Duration::from_secs(5) };

/// Answers with these, one after the other, then with 200 `done`.
async fn server(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for answer in answers {
        Mock::given(any()).respond_with(answer).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("done")).mount(&server).await;
    server
}

async fn get(policy: &RetryPolicy, address: &str) -> Result<String, HttpError> {
    let client = client().unwrap();
    let answer = send_with_retry(policy, || client.get(address)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test]
async fn only_what_passes_is_tried_again() {
    for (status, requests) in [(500, 2), (503, 2), (429, 2), (408, 2), (400, 1), (401, 1), (404, 1), (409, 1)] {
        let server = server(vec![ResponseTemplate::new(status).set_body_string("no")]).await;
        let result = get(&QUICK, &server.uri()).await;
        assert_eq!(result.is_ok(), requests == 2, "{status}");
        assert_eq!(server.received_requests().await.unwrap().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn given_as_many_failures_as_tries_then_the_last_refusal_is_the_error() {
    let refuse = |text: &str| ResponseTemplate::new(502).set_body_string(text);
    let server = server(vec![refuse("1"), refuse("2"), refuse("3")]).await;
    let error = get(&QUICK, &server.uri()).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.status()), ("3", Some(StatusCode::BAD_GATEWAY)));
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn given_a_body_that_never_ends_then_the_try_is_out_of_time_and_the_next_one_works() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndo").await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        let _ = second.read(&mut [0; 1024]).await.unwrap();
        second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone").await.unwrap();
        first
    });
    let result = get(&RetryPolicy { timeout: Duration::from_millis(200), ..QUICK }, &address).await;
    assert_eq!(result.unwrap(), "done");
    server.await.unwrap();
}

#[tokio::test]
async fn retry_after_counts_instead_of_the_policys_pause() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    let server = server(vec![busy]).await;
    let an_hour = RetryPolicy { delay: Duration::from_secs(3600), ..QUICK };
    let result = tokio::time::timeout(Duration::from_secs(20), get(&an_hour, &server.uri())).await;
    assert_eq!(result.expect("waited for the policy's pause").unwrap(), "done");
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_a_minute() {
    let read = |text: &str| retry_after(&[(RETRY_AFTER, HeaderValue::from_str(text).unwrap())].into_iter().collect());
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read("3600"), Some(Duration::from_secs(60)));
    assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    assert!((28..=30).contains(&read(&soon).unwrap().as_secs()));
    assert_eq!(read("soon"), None);
    assert_eq!(read("-1"), None);
}

#[test]
fn pauses_are_alike_or_double_with_jitter() {
    let policy = RetryPolicy { attempts: 4, delay: Duration::from_millis(100), ..QUICK };
    let pauses = |policy: RetryPolicy| -> Vec<_> { policy.pauses().build().map(|pause| pause.as_millis()).collect() };
    assert_eq!(pauses(policy), [100, 100, 100]);
    assert_eq!(pauses(RetryPolicy { attempts: 1, ..policy }), Vec::<u128>::new());
    assert_eq!(pauses(RetryPolicy { attempts: 0, ..policy }), Vec::<u128>::new());
    let growing = pauses(RetryPolicy { exponential: true, ..policy });
    for (pause, least) in growing.iter().zip([100, 200, 400]) {
        assert!((least..=2 * least).contains(pause), "{growing:?}");
    }
    assert_eq!(growing.len(), 3);
}

#[tokio::test]
async fn a_redirect_does_not_tell_where_it_comes_from() {
    for status in [302, 307] {
        let to = server(vec![]).await;
        let from = server(vec![ResponseTemplate::new(status).insert_header("location", to.uri())]).await;
        assert_eq!(get(&QUICK, &format!("{}/?key=secret", from.uri())).await.unwrap(), "done");
        let [request] = to.received_requests().await.unwrap().try_into().unwrap();
        assert!(!request.headers.contains_key("referer"), "{status}: {request:?}");
    }
}

#[tokio::test]
async fn given_nobody_listens_then_the_error_names_the_address_without_its_secrets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = format!("http://user:top-secret@127.0.0.1:{port}/path?token=top-secret");
    let error = get(&QUICK, &address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("no answer from http://127.0.0.1:{port}/path: ")), "{error}");
    assert!(error.contains("refused") && !error.contains("top-secret"), "{error}");
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let server = server(vec![ResponseTemplate::new(400).set_body_string("x".repeat(100_000))]).await;
    assert_eq!(get(&QUICK, &server.uri()).await.unwrap_err().to_string().len(), REFUSAL_LIMIT);
}

#[tokio::test]
async fn a_refusal_without_text_is_its_status() {
    let server = server(vec![ResponseTemplate::new(404)]).await;
    assert_eq!(get(&QUICK, &server.uri()).await.unwrap_err().to_string(), "404 Not Found");
}

#[tokio::test]
async fn what_is_logged_of_a_refusal_is_its_status_and_address_alone() {
    let server = server(vec![ResponseTemplate::new(400).set_body_string("top-secret")]).await;
    let error = get(&QUICK, &format!("{}/path?token=top-secret", server.uri())).await.unwrap_err();
    assert_eq!(error.without_contents(), format!("400 Bad Request from {}/path", server.uri()));
}
