use super::{
    super::{
        definition::OAuth2,
        exchange_error::ExchangeError,
        profile::{ErrorClass, Profile},
        token_endpoint::TokenEndpoint,
    },
    descriptor,
};
use crate::clients::http::client_without_redirects;
use base64_simd::STANDARD as BASE64;
use http_double::{PreparedResponse, RecordedCall, ScriptedDouble};
use serde_json::json;
use std::collections::BTreeMap;

const ID: &str = "id with +&";
const SECRET: &str = "s:e/c%r t\u{e9}";

/// An endpoint at `address` with this profile, and the scopes a and offline_access.
pub(super) fn endpoint_at(address: &str, profile: &str) -> TokenEndpoint {
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

/// A double that responds so to every call.
pub(super) async fn double(response: PreparedResponse) -> ScriptedDouble {
    let double = ScriptedDouble::start().await.unwrap();
    double.respond("", [response]);
    double
}

pub(super) fn token() -> PreparedResponse {
    let body = json!({"access_token": "at-2", "token_type": "Bearer", "expires_in": 60});
    PreparedResponse::json(200, &body)
}

/// The request that a refresh with this profile sends, to the path and query `path`.
async fn sent(profile: &str, path: &str, granted: Option<&str>) -> RecordedCall {
    let double = double(token()).await;
    let endpoint = endpoint_at(&format!("{}{path}", double.url()), profile);
    let answer = endpoint.refresh("rt-1 &=", granted).await.unwrap();
    assert_eq!(answer.record.access_token(), Some("at-2"));
    let [request] = double.calls().all().try_into().unwrap();
    request
}

fn form(request: &RecordedCall) -> Vec<(String, String)> {
    pairs(&String::from_utf8_lossy(&request.body))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let url: reqwest::Url = format!("http://x/?{query}").parse().unwrap();
    let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
    pairs.sort();
    pairs
}

fn params<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn header<'a>(request: &'a RecordedCall, name: &str) -> Option<&'a str> {
    request
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

pub(super) fn shows_no_secret(error: &ExchangeError) {
    let shown = format!("{error} {error:?}");
    for secret in [SECRET, "rt-1", "at-", "q-1", "hidden"] {
        assert!(!shown.contains(secret), "{secret:?} in {shown}");
    }
}

#[tokio::test]
async fn a_refresh_is_a_form_with_client_credentials() {
    let request = sent("generic", "/token?tenant=t", Some("a")).await;
    assert_eq!(
        (
            request.method.as_str(),
            request.path.as_str(),
            request.query.as_str()
        ),
        ("POST", "/token", "tenant=t")
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
        request.json(),
        Some(json!({"grant_type": "refresh_token", "refresh_token": "rt-1 &="}))
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
    assert_eq!(pairs(&request.query), params(expected));

    let double = double(PreparedResponse::status(500)).await;
    let error = endpoint_at(&double.url(), r#"{"body": "query"}"#)
        .refresh("rt-1", None)
        .await
        .unwrap_err();
    shows_no_secret(&error);
}

#[tokio::test]
async fn a_code_exchange_sends_the_verifier_and_no_refresh_parameters() {
    let double = double(token()).await;
    let endpoint = endpoint_at(&format!("{}/token", double.url()), "salesforce");
    endpoint
        .exchange_code("c-1", "http://127.0.0.1:1/cb", Some("v-1"))
        .await
        .unwrap();
    endpoint
        .exchange_code("c-1", "http://127.0.0.1:1/cb", None)
        .await
        .unwrap();
    let requests = double.calls().all();
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

/// token-failures: Revoking tokens.
#[tokio::test]
async fn revoking_an_unknown_token_succeeds() {
    let profile = r#"{"revoke_uri": "./revoke", "client_auth": "basic"}"#;
    for (answer, expected) in [
        (PreparedResponse::status(200), None),
        (
            PreparedResponse::json(400, &json!({"error": "invalid_token"})),
            None,
        ),
        (
            PreparedResponse::status(503).header("retry-after", "5"),
            Some((ErrorClass::Transient, Some(5))),
        ),
        (
            PreparedResponse::json(401, &json!({"error": "unauthorized_client"})),
            Some((ErrorClass::Config, None)),
        ),
    ] {
        let double = double(answer).await;
        let endpoint = endpoint_at(&format!("{}/oauth/token", double.url()), profile);
        let result = endpoint.revoke("rt-1", "refresh_token").await;
        let [request] = double.calls().all().try_into().unwrap();
        assert_eq!(request.path, "/oauth/revoke");
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
async fn revoking_needs_a_revocation_endpoint() {
    let error = endpoint_at("http://127.0.0.1:9/token", "generic")
        .revoke("rt-1", "refresh_token")
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Config);
    assert!(error.to_string().contains("revoke_uri"), "{error}");
}
