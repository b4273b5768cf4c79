use super::{
    super::{exchange_error::ExchangeError, profile::ErrorClass, token_endpoint::TIME_LIMIT},
    token_endpoint::{double, endpoint_at, shows_no_secret, token},
};
use http_double::PreparedResponse;
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// The error of a refresh with this response.
async fn refused(profile: &str, answer: PreparedResponse) -> ExchangeError {
    let double = double(answer).await;
    let error = endpoint_at(&format!("{}/token?key=q-1", double.url()), profile)
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    // A client that is refused is sent in the other way once.
    let is_client = error.code.as_deref() == Some("invalid_client");
    assert_eq!(
        double.calls().all().len(),
        if is_client { 2 } else { 1 },
        "{error}"
    );
    shows_no_secret(&error);
    error
}

/// A server that reads a request, writes this and hangs up.
async fn raw_server(answer: impl Into<String>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (
        format!("http://{}/token", listener.local_addr().unwrap()),
        answer.into(),
    );
    let task = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 4096]).await.unwrap();
        connection.write_all(answer.as_bytes()).await.unwrap();
    });
    (address, task)
}

/// token-failures: T23.
#[tokio::test]
async fn a_200_with_an_error_is_classified_by_its_code() {
    for (profile, body, class) in [
        (
            "github",
            json!({"error": "bad_refresh_token"}),
            ErrorClass::Reauth,
        ),
        (
            "github",
            json!({"error": "incorrect_client_credentials"}),
            ErrorClass::Config,
        ),
        (
            "slack",
            json!({"ok": false, "error": "invalid_refresh_token"}),
            ErrorClass::Reauth,
        ),
        ("zoho", json!({"error": "invalid_code"}), ErrorClass::Reauth),
        (
            "generic",
            json!({"error": "invalid_grant"}),
            ErrorClass::Reauth,
        ),
        (
            "generic",
            json!({"error": "unheard_of"}),
            ErrorClass::Malformed,
        ),
    ] {
        let error = refused(profile, PreparedResponse::json(200, &body)).await;
        let code = body["error"].as_str();
        assert_eq!(
            (error.class, error.code.as_deref(), error.outcome_unknown),
            (class, code, false),
            "{profile} {body}"
        );
    }
}

/// The first one is Fitbit's. token-failures: T24.
#[tokio::test]
async fn a_refusal_in_another_shape_is_understood_at_once() {
    for (status, body) in [
        (
            400,
            json!({"errors": [{"errorType": "invalid_grant", "message": "hidden"}], "success": false}),
        ),
        (
            200,
            json!({"errors": [{"errorType": "invalid_grant"}], "success": false}),
        ),
        (
            400,
            json!([{"message": "hidden", "errorCode": "invalid_grant"}]),
        ),
    ] {
        let error = refused("generic", PreparedResponse::json(status, &body)).await;
        assert_eq!(
            (error.class, error.code.as_deref()),
            (ErrorClass::Reauth, Some("invalid_grant")),
            "{body}"
        );
    }
}

/// token-failures: T23.
#[tokio::test]
async fn an_empty_200_leaves_the_outcome_unknown() {
    for (body, class) in [
        ("{}", ErrorClass::Malformed),
        ("hidden", ErrorClass::Malformed),
        ("", ErrorClass::Malformed),
        ("<html>hidden</html>", ErrorClass::Transient),
    ] {
        let error = refused("generic", PreparedResponse::ok(body)).await;
        assert_eq!(
            (error.class, error.status, error.outcome_unknown),
            (class, Some(200), true),
            "{body}"
        );
    }
}

/// token-failures: T30.
#[tokio::test]
async fn a_form_under_any_content_type_is_read() {
    for content_type in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/html",
        "application/json",
    ] {
        let body = "access_token=at-2&expires_in=60&token_type=bearer";
        let double = double(PreparedResponse::ok(body).header("content-type", content_type)).await;
        let answer = endpoint_at(&double.url(), "generic")
            .refresh("rt-1", None)
            .await
            .unwrap();
        assert_eq!(
            answer.lifetime,
            Some(Duration::from_secs(60)),
            "{content_type}"
        );
    }
}

/// token-failures: Kinds of refusal.
#[tokio::test]
async fn an_error_shows_its_class_but_not_its_text() {
    for (status, code, class, outcome_unknown) in [
        (400, "invalid_grant", ErrorClass::Reauth, false),
        (401, "invalid_client", ErrorClass::Config, false),
        (400, "invalid_scope", ErrorClass::Config, false),
        (400, "temporarily_unavailable", ErrorClass::Transient, false),
        (408, "x", ErrorClass::Transient, false),
        (429, "x", ErrorClass::Transient, false),
        (500, "x", ErrorClass::Transient, true),
        (502, "x", ErrorClass::Transient, true),
        (503, "x", ErrorClass::Transient, false),
        (504, "x", ErrorClass::Transient, true),
    ] {
        let body = json!({"error": code, "error_description": "hidden", "refresh_token": "rt-1"});
        let error = refused("generic", PreparedResponse::json(status, &body)).await;
        let found = (
            error.class,
            error.code.as_deref(),
            error.status,
            error.outcome_unknown,
        );
        assert_eq!(found, (class, Some(code), Some(status), outcome_unknown));
        let text = error.to_string();
        assert!(
            text.contains(code) && text.contains(&status.to_string()) && text.contains("/token"),
            "{text}"
        );
    }
}

/// token-failures: T54.
#[tokio::test]
async fn microsoft_error_numbers_are_shown_but_decide_nothing() {
    for number in [50076, 70_0082] {
        let body = json!({"error": "interaction_required", "suberror": "basic_action", "error_codes": [number], "error_description": "hidden"});
        let error = refused("microsoft", PreparedResponse::json(400, &body)).await;
        assert_eq!(
            (error.class, error.code.as_deref()),
            (ErrorClass::Reauth, Some("interaction_required"))
        );
        assert!(
            error.to_string().contains(&format!("AADSTS{number}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date_and_has_an_end() {
    let date = |seconds| {
        httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(seconds))
    };
    for (header, at_least, at_most) in [
        ("2".to_owned(), 2, 2),
        (date(30), 25, 30),
        ("99999".to_owned(), 60, 60),
        (date(99_999), 60, 60),
        (httpdate::fmt_http_date(std::time::UNIX_EPOCH), 0, 0),
    ] {
        let error = refused(
            "generic",
            PreparedResponse::status(429).header("retry-after", header.as_str()),
        )
        .await;
        let seconds = error.retry_after.unwrap().as_secs_f64().ceil() as u64;
        assert!(
            (at_least..=at_most).contains(&seconds),
            "{header}: {seconds}"
        );
    }
    let error = refused(
        "generic",
        PreparedResponse::status(503).header("retry-after", "soon"),
    )
    .await;
    assert_eq!(error.retry_after, None);
}

/// token-failures: T56.
#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = double(token()).await;
        let to = format!("{}/token?hidden=1", elsewhere.url());
        let error = refused(
            "generic",
            PreparedResponse::status(status).header("location", to.as_str()),
        )
        .await;
        assert_eq!(
            (error.class, error.status),
            (ErrorClass::Config, Some(status))
        );
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(elsewhere.calls().all().len(), 0, "{status}");
    }
}

#[tokio::test]
async fn an_endless_response_is_not_read_to_its_end() {
    let error = refused("generic", PreparedResponse::ok(" ".repeat(2 * 1024 * 1024))).await;
    assert_eq!(
        (error.class, error.outcome_unknown),
        (ErrorClass::Malformed, true)
    );
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[tokio::test]
async fn tokens_at_the_start_of_a_too_long_response_are_used() {
    let filler = "x".repeat(2 * 1024 * 1024);
    for tokens in [
        r#""access_token":"at-2","refresh_token":"rt-2""#,
        r#""expires_in":60,"access_token":"at-2""#,
    ] {
        let double = double(PreparedResponse::ok(format!(
            "{{{tokens},\"x\":\"{filler}\"}}"
        )))
        .await;
        let answer = endpoint_at(&double.url(), "generic")
            .refresh("rt-1", None)
            .await
            .unwrap();
        assert_eq!(answer.record.access_token(), Some("at-2"), "{tokens}");
    }
}

/// As behind a proxy that counts wrongly, or when the connection is lost with the last bytes.
#[tokio::test]
async fn tokens_of_a_response_that_ended_early_are_used() {
    for (body, is_good) in [
        (r#"{"access_token":"at-2","refresh_token":"rt-2"}"#, true),
        (
            r#"{"access_token":"at-2","refresh_token":"rt-2","sco"#,
            true,
        ),
        (r#"{"access_token":"at-2","refresh_token":"rt-"#, false),
        (r#"{"refresh_token":"rt-2"}"#, false),
        ("access_token=at-2&refresh_token=rt-", false),
    ] {
        let (address, server) = raw_server(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{body}"
        ))
        .await;
        let answer = endpoint_at(&address, "generic").refresh("rt-1", None).await;
        server.await.unwrap();
        match answer {
            Ok(answer) => assert!(
                is_good && answer.record.refresh_token() == Some("rt-2"),
                "{body}"
            ),
            Err(error) => {
                assert!(
                    !is_good && error.outcome_unknown && error.class == ErrorClass::Transient,
                    "{body}: {error}"
                );
            }
        }
    }
    let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 999\r\n\r\n";
    let (address, server) = raw_server(format!(
        r#"{refusal}{{"access_token":"at-2","refresh_token":"rt-2"}}"#
    ))
    .await;
    let error = endpoint_at(&address, "generic")
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    assert_eq!(error.status, Some(400), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_lost_response_leaves_the_outcome_unknown() {
    for (answer, status) in [
        ("", None),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"acc",
            Some(200),
        ),
    ] {
        let (address, server) = raw_server(answer).await;
        let error = endpoint_at(&address, "generic")
            .refresh("rt-1", None)
            .await
            .unwrap_err();
        assert_eq!(
            (error.class, error.status, error.outcome_unknown),
            (ErrorClass::Transient, status, true),
            "{answer}"
        );
        shows_no_secret(&error);
        server.await.unwrap();
    }
}

/// token-failures: T25.
#[tokio::test]
async fn without_a_connection_the_outcome_is_known() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let error = endpoint_at(&address, "generic")
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.outcome_unknown),
        (ErrorClass::Transient, false),
        "{error}"
    );
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_silent_provider_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/token", listener.local_addr().unwrap());
    let endpoint = endpoint_at(&address, "generic");
    let refresh = tokio::spawn(async move { endpoint.refresh("rt-1", None).await });
    let (mut connection, _) = listener.accept().await.unwrap();
    assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
    tokio::time::pause();
    tokio::time::advance(TIME_LIMIT).await;
    let error = refresh.await.unwrap().unwrap_err();
    assert_eq!(
        (error.class, error.status, error.outcome_unknown),
        (ErrorClass::Transient, None, true)
    );
    assert!(
        error.to_string().contains("timed out after 15 s"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_without_a_code_says_what_to_check() {
    for status in [401, 403, 404, 405, 410] {
        let body = json!({"message": "hidden"});
        let error = refused("generic", PreparedResponse::json(status, &body)).await;
        assert_eq!(error.class, ErrorClass::Transient, "{status}");
        let text = error.to_string();
        assert!(text.contains("check credentials.oauth2"), "{text}");
    }
}
