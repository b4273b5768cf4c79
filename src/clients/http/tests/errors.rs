//! What errors say, and what they must not contain.

use super::*;
use reqwest::Url;

#[tokio::test]
async fn a_connection_error_names_the_address_without_secrets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = format!("http://user:top-secret@127.0.0.1:{port}/path?token=top-secret");
    let error = get(&quick(), &address).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("no response from http://127.0.0.1:{port}/path: ")),
        "{error}"
    );
    assert!(
        error.contains("refused") && !error.contains("top-secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_long_error_body_is_truncated() {
    let server = server(vec![
        PreparedResponse::status(400).body("x".repeat(100_000)),
    ])
    .await;
    assert_eq!(
        get(&quick(), &server.url())
            .await
            .unwrap_err()
            .to_string()
            .len(),
        error::ERROR_BODY_LIMIT
    );
}

#[tokio::test]
async fn an_error_without_a_body_is_its_status() {
    let server = server(vec![PreparedResponse::status(404)]).await;
    assert_eq!(
        get(&quick(), &server.url()).await.unwrap_err().to_string(),
        "404 Not Found"
    );
}

#[tokio::test]
async fn the_log_shows_only_the_status_and_url_of_an_error() {
    let server = server(vec![PreparedResponse::status(400).body("top-secret")]).await;
    let error = get(&quick(), &format!("{}/path?token=top-secret", server.url()))
        .await
        .unwrap_err();
    assert_eq!(
        error.without_contents(),
        format!("400 Bad Request from {}/path", server.url())
    );
}

#[test]
fn a_long_path_is_truncated_in_a_redacted_url() {
    for id in ["i".repeat(130_000), "ü".repeat(50_000)] {
        let url = Url::parse(&format!("http://host/objects/{id}?key=secret")).unwrap();
        let shown = redacted_url(&url);
        assert!(
            shown.starts_with("http://host/objects/") && shown.ends_with('…') && shown.len() < 1100,
            "{shown}"
        );
    }
    assert_eq!(
        redacted_url(&Url::parse("http://u:p@host/objects/o1?key=secret").unwrap()),
        "http://host/objects/o1"
    );
}

#[test]
fn json_is_parsed_as_in_javascript() {
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
