//! Bodies of messages.

use super::*;

#[tokio::test]
async fn a_body_is_stored_as_raw_ciphertext() {
    let server = server(vec![stored("o1")]).await;
    let body = Json::of(&json!({"a": [1, 2]})).unwrap();
    assert_eq!(
        storage(&server.url(), Some(cipher()))
            .put(&body)
            .await
            .unwrap(),
        "o1"
    );
    let request = &server.calls().all()[0];
    assert_eq!(request.line(), "POST /objects");
    assert_eq!(header(request, "authorization"), Some("Bearer top-secret"));
    assert_eq!(header(request, "content-type"), Some("application/json"));
    assert_eq!(header(request, "x-request-id"), Some("f:flow1;s:step_1;m:"));
    assert_eq!(
        cipher().decrypt(&request.body, Encoding::Raw).unwrap(),
        body.as_bytes()
    );
}

#[tokio::test]
async fn a_stored_body_reads_back_unchanged() {
    for cipher in [Some(cipher()), None] {
        let plain = br#"{"a": [1, 2]}"#.to_vec();
        let kept = cipher
            .as_ref()
            .map_or(plain.clone(), |cipher| cipher.encrypt(plain, Encoding::Raw));
        let server = server(vec![PreparedResponse::ok(kept)]).await;
        let body = storage(&server.url(), cipher)
            .get("o/1", None)
            .await
            .unwrap();
        assert_eq!(text(&body), r#"{"a": [1, 2]}"#);
        let request = &server.calls().all()[0];
        assert_eq!(request.line(), "GET /objects/o%2F1");
        assert_eq!(header(request, "authorization"), Some("Bearer top-secret"));
    }
}

#[tokio::test]
async fn a_transient_error_is_retried_twice() {
    let error = || PreparedResponse::status(500);
    let server1 = server(vec![error(), error(), stored("o1")]).await;
    assert_eq!(
        storage(&server1.url(), None)
            .put(&Json::empty_object())
            .await
            .unwrap(),
        "o1"
    );
    let server2 = server(vec![error(), error(), error(), stored("o1")]).await;
    storage(&server2.url(), None)
        .put(&Json::empty_object())
        .await
        .unwrap_err();
    assert_eq!(server2.calls().all().len(), 3);
}

#[tokio::test]
async fn an_invalid_response_is_an_error_without_its_contents() {
    for (answer, expected) in [
        (
            PreparedResponse::status(404),
            "fetching object o1 failed: 404 Not Found",
        ),
        (
            PreparedResponse::redirect(302, "/elsewhere"),
            "fetching object o1 failed: 302 Found",
        ),
        (
            PreparedResponse::ok("top-secret"),
            "fetching object o1 failed: the payload cannot be decrypted with this platform's password (10 bytes of ciphertext): compare ELASTICIO_MESSAGE_CRYPTO_PASSWORD and ELASTICIO_MESSAGE_CRYPTO_IV with those of the step before",
        ),
        (
            PreparedResponse::ok(cipher().encrypt(b"top-secret".to_vec(), Encoding::Raw)),
            "fetching object o1 failed: the object is not JSON, line 1, column 2",
        ),
    ] {
        let server = server(vec![answer]).await;
        let error = storage(&server.url(), Some(cipher()))
            .get("o1", None)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(server.calls().all().len(), 1, "{expected}");
    }
}

#[tokio::test]
async fn a_response_without_an_object_id_is_an_error() {
    for body in [
        json!({}),
        json!({"objectId": null}),
        json!({"objectId": ""}),
    ] {
        let server = server(vec![PreparedResponse::json(201, &body)]).await;
        let error = storage(&server.url(), None)
            .put(&Json::empty_object())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "storing a message's body failed: the response contains no objectId",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_size_error_shows_only_the_size() {
    let server = server(vec![PreparedResponse::status(403).body("top-secret")]).await;
    for storage in [Some(storage(&server.url(), None)), None] {
        let error = fetch_body(storage.as_ref(), "o1", None).await.unwrap_err();
        assert_eq!(error.to_string(), "Failed to get message body with id=o1");
    }
}

#[test]
fn without_a_variable_attempts_have_no_limit() {
    let settings = |retries| ObjectStorageSettings {
        uri: "http://storage".into(),
        token: "t".into(),
        retries,
        timeout: Duration::from_secs(5),
        size_limit: None,
    };
    assert_eq!(policy(&settings(Some(4))).retry.attempts, Some(5));
    assert_eq!(policy(&settings(None)).retry.attempts, None);
}

#[tokio::test]
async fn an_error_has_no_response_body() {
    for status in [400, 403, 502] {
        let refused = PreparedResponse::status(status).body("top-secret");
        let server = server(vec![refused]).await;
        let storage = storage(&server.url(), None);
        let stream = Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("a")]));
        for error in [
            storage.upload("a", "text/csv").await.unwrap_err(),
            storage.upload(stream, "text/csv").await.unwrap_err(),
            storage
                .download(&format!("{}/objects/o1", server.url()))
                .await
                .unwrap_err(),
            storage.put(&Json::empty_object()).await.unwrap_err(),
            storage.get("o1", None).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains(&status.to_string()) && !error.contains("top-secret"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_long_id_is_truncated_in_errors() {
    let server = ScriptedDouble::start().await.unwrap();
    for id in ["i".repeat(20_000), "ü".repeat(8_000)] {
        let error = storage(&server.url(), None)
            .get(&id, None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("404") && error.matches('…').count() == 2 && error.len() < 2500,
            "{error}"
        );
        for storage in [Some(storage(&server.url(), None)), None] {
            let error = fetch_body(storage.as_ref(), &id, None)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.ends_with('…') && error.len() < 1100, "{error}");
        }
    }
}
