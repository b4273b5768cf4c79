//! Requests that `component login` receives: the provider's redirect, and unrelated ones.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The address, with another value of a parameter.
fn with_parameter(address: &Url, name: &str, value: &str) -> Url {
    let mut parameters = parameters(address);
    parameters.insert(name.into(), value.into());
    let mut address = address.clone();
    address.query_pairs_mut().clear().extend_pairs(parameters);
    address
}

/// token-failures: T60.
#[tokio::test]
async fn a_callback_with_another_state_is_ignored() {
    let setup = Setup::new().await;
    let waiting = setup.login(&[]).await;
    let callback = setup.agree(&waiting).await;
    for wrong in [
        with_parameter(&callback, "state", "another"),
        with_parameter(&callback, "state", ""),
        with_parameter(&callback, "code", ""),
    ] {
        assert_eq!(setup.get(wrong).await.status(), StatusCode::BAD_REQUEST);
    }
    assert!(setup.provider.token_calls().is_empty());
    assert_eq!(setup.get(callback).await.status(), StatusCode::OK);
    let end = waiting.end(&setup).await;
    assert!(
        end.status == 0 && end.output().contains("another login"),
        "{}",
        end.output()
    );
}

/// token-failures: T60.
#[tokio::test]
async fn a_denied_login_shows_the_reason_and_keeps_the_file() {
    let setup = Setup::with(Knobs {
        deny: Some("access_denied".into()),
        ..Knobs::default()
    })
    .await;
    let before = setup.stored();
    let waiting = setup.login(&[]).await;
    let callback = setup.agree(&waiting).await;
    setup
        .get(with_parameter(
            &callback,
            "error_description",
            "the user\u{1b}[31m said no",
        ))
        .await;
    let end = waiting.end(&setup).await;
    assert_eq!(end.status, 1);
    assert!(
        end.output()
            .contains("access_denied (the user[31m said no)"),
        "{}",
        end.output()
    );
    assert_eq!(setup.stored(), before);
}

/// token-failures: T60.
#[tokio::test]
async fn a_second_callback_is_rejected() {
    let setup = Setup::new().await;
    let waiting = setup.login(&[]).await;
    let callback = setup.agree(&waiting).await;
    let hold = setup.provider.hold_token_responses();
    assert_eq!(setup.get(callback.clone()).await.status(), StatusCode::OK);
    soon("the exchange of the code", setup.provider.token_called(1)).await;
    assert_eq!(setup.get(callback).await.status(), StatusCode::GONE);
    drop(hold);
    assert!(waiting.end(&setup).await.status == 0);
    assert_eq!(setup.provider.token_calls().len(), 1);
}

#[tokio::test]
async fn a_callback_with_an_unexpected_issuer_is_refused() {
    for (issuer, arguments, good) in [
        (None, &[][..], true),
        (Some("https://evil.example.com"), &[], false),
        (
            Some("https://login.example.com"),
            &["--issuer", "https://login.example.com"],
            true,
        ),
        (None, &["--issuer", "https://login.example.com"], false),
        (Some(""), &["--issuer", "https://login.example.com"], false),
    ] {
        let setup = Setup::with(Knobs {
            iss: issuer.map(str::to_owned),
            ..Knobs::default()
        })
        .await;
        let waiting = setup.login(arguments).await;
        setup.get(setup.agree(&waiting).await).await;
        let end = waiting.end(&setup).await;
        assert_eq!(
            end.status == 0,
            good,
            "{issuer:?} {arguments:?}: {}",
            end.output()
        );
        assert_eq!(
            setup.provider.token_calls().len(),
            usize::from(good),
            "{issuer:?}"
        );
        assert!(
            good || end.output().contains("--issuer"),
            "{}",
            end.output()
        );
    }
}

#[tokio::test]
async fn silent_and_invalid_requests_do_not_block_the_login() {
    let setup = Setup::new().await;
    let waiting = setup.login(&[]).await;
    let callback = setup.agree(&waiting).await;
    let _silent = TcpStream::connect(("127.0.0.1", callback.port().unwrap()))
        .await
        .unwrap();
    let mut favicon = callback.clone();
    favicon.set_path("/favicon.ico");
    assert_eq!(setup.get(favicon).await.status(), StatusCode::NOT_FOUND);
    let posted = setup.browser.post(callback.clone()).send();
    let posted = soon("a response", posted).await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    for nonsense in [
        "\r\n\r\n".to_owned(),
        "x".repeat(20_000),
        "GET /callback".to_owned() + &"y".repeat(20_000),
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", callback.port().unwrap()))
            .await
            .unwrap();
        let _ = socket.write_all(nonsense.as_bytes()).await;
        let mut response = Vec::new();
        // A request beyond the limit may have its response cut off.
        let _ = soon("the end of the response", socket.read_to_end(&mut response)).await;
        assert!(
            response.is_empty() || response.starts_with(b"HTTP/1.1 400 "),
            "{}",
            String::from_utf8_lossy(&response)
        );
    }
    assert_eq!(setup.get(callback).await.status(), StatusCode::OK);
    assert!(waiting.end(&setup).await.status == 0);
}

#[tokio::test]
async fn a_refused_code_keeps_the_file() {
    let setup = Setup::new().await;
    let before = setup.stored();
    setup
        .provider
        .script_token([Fault::oauth_error("invalid_grant")]);
    let waiting = setup.login(&[]).await;
    setup.get(setup.agree(&waiting).await).await;
    let end = waiting.end(&setup).await;
    assert_eq!(end.status, 1);
    assert!(end.output().contains("invalid_grant"), "{}", end.output());
    assert_eq!(setup.stored(), before);
}
