use super::{
    super::{
        definition::OAuth2,
        exchange_error::ExchangeError,
        profile::{ErrorClass, Profile},
        token_endpoint::TokenEndpoint,
        token_request::TIME_LIMIT,
    },
    descriptor,
};
use crate::clients::http::client_without_redirects;
use base64_simd::STANDARD as BASE64;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

const ID: &str = "id with +&";
const SECRET: &str = "s:e/c%r t\u{e9}";

/// An endpoint at `address` with this profile, and the scopes a and offline_access.
fn endpoint_at(address: &str, profile: &str) -> TokenEndpoint {
    let profile =
        Profile::built_in(profile).unwrap_or_else(|| Profile::from_json(profile).unwrap());
    let credentials = json!({"oauth2": {
        "client_id": ID, "client_secret": SECRET, "token_uri": address, "scopes": ["a", "offline_access"]
    }});
    let resolved = OAuth2::new()
        .custom_profile(profile)
        .resolve(&descriptor(credentials), &json!({}), None, &|_| None)
        .unwrap();
    TokenEndpoint::new(client_without_redirects().unwrap(), &resolved).unwrap()
}

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn token() -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({"access_token": "at-2", "token_type": "Bearer", "expires_in": 60}))
}

/// The request that a refresh with this profile sends, to the path and query `path`.
async fn sent(profile: &str, path: &str, granted: Option<&str>) -> Request {
    let server = server(token()).await;
    let endpoint = endpoint_at(&format!("{}{path}", server.uri()), profile);
    let answer = endpoint.refresh("rt-1 &=", granted).await.unwrap();
    assert_eq!(answer.members["access_token"], "at-2");
    let [request] = server
        .received_requests()
        .await
        .unwrap()
        .try_into()
        .unwrap();
    request
}

fn form(request: &Request) -> Vec<(String, String)> {
    pairs(
        &format!("http://x/?{}", String::from_utf8_lossy(&request.body))
            .parse()
            .unwrap(),
    )
}

fn pairs(url: &reqwest::Url) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
    pairs.sort();
    pairs
}

fn params<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

async fn refused(profile: &str, answer: ResponseTemplate) -> ExchangeError {
    let server = server(answer).await;
    let error = endpoint_at(&format!("{}/token?key=q-1", server.uri()), profile)
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    assert_eq!(
        server.received_requests().await.unwrap().len(),
        1,
        "an endpoint tries once"
    );
    shows_no_secret(&error);
    error
}

fn shows_no_secret(error: &ExchangeError) {
    let shown = format!("{error} {error:?}");
    for secret in [SECRET, "rt-1", "at-", "q-1", "hidden"] {
        assert!(!shown.contains(secret), "{secret:?} in {shown}");
    }
}

#[tokio::test]
async fn a_refresh_is_a_form_with_the_clients_credentials_in_it() {
    let request = sent("generic", "/token?tenant=t", Some("a")).await;
    assert_eq!(
        (
            request.method.as_str(),
            request.url.path(),
            request.url.query()
        ),
        ("POST", "/token", Some("tenant=t"))
    );
    assert_eq!(header(&request, "accept"), Some("application/json"));
    assert_eq!(
        header(&request, "content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(header(&request, "authorization"), None);
    let expected = [
        ("client_id", ID),
        ("client_secret", SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", "rt-1 &="),
    ];
    assert_eq!(form(&request), params(expected));
}

#[tokio::test]
async fn basic_credentials_are_form_encoded_unless_raw() {
    let encoded = "id+with+%2B%26:s%3Ae%2Fc%25r+t%C3%A9".to_owned();
    for (way, expected) in [("basic", encoded), ("basic_raw", format!("{ID}:{SECRET}"))] {
        let request = sent(&json!({"client_auth": way}).to_string(), "/token", None).await;
        let sent = header(&request, "authorization")
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap();
        assert_eq!(
            String::from_utf8(BASE64.decode_to_vec(sent).unwrap()).unwrap(),
            expected,
            "{way}"
        );
        assert_eq!(
            form(&request),
            params([
                ("grant_type", "refresh_token"),
                ("refresh_token", "rt-1 &=")
            ]),
            "{way}"
        );
    }
}

#[tokio::test]
async fn a_public_client_sends_its_id_only() {
    let request = sent(r#"{"client_auth": "none"}"#, "/token", None).await;
    assert_eq!(header(&request, "authorization"), None);
    assert_eq!(
        form(&request),
        params([
            ("client_id", ID),
            ("grant_type", "refresh_token"),
            ("refresh_token", "rt-1 &=")
        ])
    );
}

/// token-failures: T34.
#[tokio::test]
async fn scopes_are_sent_as_the_profile_says() {
    for (profile, granted, expected) in [
        ("generic", Some("a b"), None),
        ("salesforce", Some("a b"), None),
        (
            "microsoft",
            Some("a b offline_access"),
            Some("a b offline_access"),
        ),
        ("microsoft", Some("a b"), Some("a b offline_access")),
        ("microsoft", None, Some("a offline_access")),
        (
            r#"{"refresh_scope": "configured"}"#,
            Some("b"),
            Some("a offline_access"),
        ),
    ] {
        let form: BTreeMap<_, _> = form(&sent(profile, "/token", granted).await)
            .into_iter()
            .collect();
        assert_eq!(
            form.get("scope").map(String::as_str),
            expected,
            "{profile} {granted:?}"
        );
    }
}

/// token-failures: Provider profiles.
#[tokio::test]
async fn extra_parameters_override_no_standard_ones() {
    let profile = json!({
        "refresh_scope": "configured",
        "refresh_params": {
            "format": "json", "resource": "r", "audience": "u", "scope": "evil", "grant_type": "password",
            "refresh_token": "evil", "client_id": "evil", "client_secret": "evil", "code": "evil"
        }
    });
    let request = sent(&profile.to_string(), "/token", None).await;
    let expected = [
        ("audience", "u"),
        ("client_id", ID),
        ("client_secret", SECRET),
        ("format", "json"),
        ("grant_type", "refresh_token"),
        ("refresh_token", "rt-1 &="),
        ("resource", "r"),
        ("scope", "a offline_access"),
    ];
    assert_eq!(form(&request), params(expected));
    assert!(
        form(&sent("salesforce", "/token", None).await)
            .contains(&("format".to_owned(), "json".to_owned()))
    );
}

/// token-failures: Provider profiles.
#[tokio::test]
async fn parameters_can_be_json_or_a_query() {
    let request = sent("notion", "/token", None).await;
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert!(
        header(&request, "authorization")
            .unwrap()
            .starts_with("Basic ")
    );
    assert_eq!(
        request.body_json::<Value>().unwrap(),
        json!({"grant_type": "refresh_token", "refresh_token": "rt-1 &="})
    );

    let request = sent(r#"{"body": "query"}"#, "/token?tenant=t&grant_type=x", None).await;
    assert_eq!((request.method.as_str(), request.body.len()), ("POST", 0));
    let expected = [
        ("client_id", ID),
        ("client_secret", SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", "rt-1 &="),
        ("tenant", "t"),
    ];
    assert_eq!(pairs(&request.url), params(expected));

    let server = server(ResponseTemplate::new(500)).await;
    let error = endpoint_at(&server.uri(), r#"{"body": "query"}"#)
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    shows_no_secret(&error);
}

#[tokio::test]
async fn a_code_exchange_sends_the_verifier_and_no_refresh_parameters() {
    let server = server(token()).await;
    let endpoint = endpoint_at(&format!("{}/token", server.uri()), "salesforce");
    endpoint
        .exchange_code("c-1", "http://127.0.0.1:1/cb", Some("v-1"))
        .await
        .unwrap();
    endpoint
        .exchange_code("c-1", "http://127.0.0.1:1/cb", None)
        .await
        .unwrap();
    let requests = server.received_requests().await.unwrap();
    let expected = [
        ("client_id", ID),
        ("client_secret", SECRET),
        ("code", "c-1"),
        ("code_verifier", "v-1"),
        ("grant_type", "authorization_code"),
        ("redirect_uri", "http://127.0.0.1:1/cb"),
    ];
    assert_eq!(form(&requests[0]), params(expected));
    assert!(
        !form(&requests[1])
            .iter()
            .any(|(name, _)| name == "code_verifier")
    );
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
        let error = refused(profile, ResponseTemplate::new(200).set_body_json(&body)).await;
        let code = body["error"].as_str();
        assert_eq!(
            (error.class, error.code.as_deref(), error.outcome_unknown),
            (class, code, false),
            "{profile} {body}"
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
        let error = refused("generic", ResponseTemplate::new(200).set_body_string(body)).await;
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
        let server = server(ResponseTemplate::new(200).set_body_raw(body, content_type)).await;
        let answer = endpoint_at(&server.uri(), "generic")
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
        let error = refused("generic", ResponseTemplate::new(status).set_body_json(body)).await;
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
        let error = refused("microsoft", ResponseTemplate::new(400).set_body_json(body)).await;
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
            ResponseTemplate::new(429).insert_header("retry-after", header.as_str()),
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
        ResponseTemplate::new(503).insert_header("retry-after", "soon"),
    )
    .await;
    assert_eq!(error.retry_after, None);
}

/// token-failures: T56.
#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = server(token()).await;
        let to = format!("{}/token?hidden=1", elsewhere.uri());
        let error = refused(
            "generic",
            ResponseTemplate::new(status).insert_header("location", to.as_str()),
        )
        .await;
        assert_eq!(
            (error.class, error.status),
            (ErrorClass::Config, Some(status))
        );
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(
            elsewhere.received_requests().await.unwrap().len(),
            0,
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let error = refused(
        "generic",
        ResponseTemplate::new(200).set_body_string(" ".repeat(2 * 1024 * 1024)),
    )
    .await;
    assert_eq!(
        (error.class, error.outcome_unknown),
        (ErrorClass::Malformed, true)
    );
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[tokio::test]
async fn a_longer_answer_whose_beginning_holds_the_tokens_is_good() {
    let filler = "x".repeat(2 * 1024 * 1024);
    for tokens in [
        r#""access_token":"at-2","refresh_token":"rt-2""#,
        r#""expires_in":60,"access_token":"at-2""#,
    ] {
        let server = server(
            ResponseTemplate::new(200).set_body_string(format!("{{{tokens},\"x\":\"{filler}\"}}")),
        )
        .await;
        let answer = endpoint_at(&server.uri(), "generic")
            .refresh("rt-1", None)
            .await
            .unwrap();
        assert_eq!(answer.members["access_token"], "at-2", "{tokens}");
    }
}

/// As behind a proxy that counts wrongly, or when the connection is lost with the last bytes.
#[tokio::test]
async fn an_answer_that_breaks_off_after_both_tokens_is_good() {
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
                is_good && answer.refresh_token.unwrap().expose_secret() == "rt-2",
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

#[tokio::test]
async fn a_lost_answer_leaves_open_whether_the_token_is_spent() {
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
async fn a_provider_that_is_silent_is_given_up() {
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
    assert!(error.to_string().contains("timed out"), "{error}");
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn revoking_an_unknown_token_succeeds() {
    let profile = r#"{"revoke_uri": "./revoke", "client_auth": "basic"}"#;
    for (answer, expected) in [
        (ResponseTemplate::new(200), None),
        (
            ResponseTemplate::new(400).set_body_json(json!({"error": "invalid_token"})),
            None,
        ),
        (
            ResponseTemplate::new(503).insert_header("retry-after", "5"),
            Some((ErrorClass::Transient, Some(5))),
        ),
        (
            ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"})),
            Some((ErrorClass::Config, None)),
        ),
    ] {
        let server = server(answer).await;
        let endpoint = endpoint_at(&format!("{}/oauth/token", server.uri()), profile);
        let result = endpoint.revoke("rt-1", "refresh_token").await;
        let [request] = server
            .received_requests()
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(request.url.path(), "/oauth/revoke");
        assert!(header(&request, "authorization").is_some());
        assert_eq!(
            form(&request),
            params([("token", "rt-1"), ("token_type_hint", "refresh_token")])
        );
        let told = result
            .err()
            .map(|error| (error.class, error.retry_after.map(|wait| wait.as_secs())));
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn revoking_where_the_provider_has_no_address_for_it_is_refused() {
    let error = endpoint_at("http://127.0.0.1:9/token", "generic")
        .revoke("rt-1", "refresh_token")
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Config);
    assert!(error.to_string().contains("revoke_uri"), "{error}");
}
