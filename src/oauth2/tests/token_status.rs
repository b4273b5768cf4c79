use super::super::{TokenStatus, profile::Profile};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

fn token_status(status: u16, challenges: &[&str]) -> TokenStatus {
    let mut headers = HeaderMap::new();
    for challenge in challenges {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(challenge).unwrap());
    }
    Profile::generic().token_status(status, &headers, "")
}

/// token-failures: T41.
#[test]
fn a_401_means_expired_unless_it_asks_for_more() {
    let scope = |text: &str| TokenStatus::InsufficientScope(Some(text.to_owned()));
    for (challenges, expected) in [
        (&[][..], TokenStatus::Expired),
        (&["Bearer"], TokenStatus::Expired),
        (&["Bearer realm=\"api\""], TokenStatus::Expired),
        (&["Basic realm=\"api\""], TokenStatus::Expired),
        (&["Token"], TokenStatus::Expired),
        (&["Bearer error=\"\""], TokenStatus::Expired),
        (
            &["Bearer error=\"invalid_token\", error_description=\"The token, sadly, expired\""],
            TokenStatus::Expired,
        ),
        (&["bearer ERROR=invalid_token"], TokenStatus::Expired),
        (&["Bearer error = \"invalid_token\""], TokenStatus::Expired),
        (&["DPoP error=\"invalid_token\""], TokenStatus::Expired),
        (
            &["Bearer error=\"insufficient_scope\", scope=\"a b\""],
            scope("a b"),
        ),
        (
            &["Bearer error=\"insufficient_scope\""],
            TokenStatus::InsufficientScope(None),
        ),
        (
            &["Bearer error=\"invalid_request\", error_description=\"ACCESS_TOKEN_EXPIRED\""],
            TokenStatus::Expired,
        ),
        (&["Bearer error=\"something_else\""], TokenStatus::Expired),
        (&["DPoP error=\"use_dpop_nonce\""], TokenStatus::Expired),
        (
            &[
                "Bearer realm=\"\", authorization_uri=\"https://x/authorize\", error=\"insufficient_claims\", claims=\"eyJh==\"",
            ],
            TokenStatus::InsufficientClaims("eyJh==".to_owned()),
        ),
    ] {
        assert_eq!(token_status(401, challenges), expected, "{challenges:?}");
    }
}

/// token-failures: T42.
#[test]
fn a_401_can_ask_for_a_scope_in_its_body() {
    let profile = Profile::generic();
    let status = |status: u16, body: &str| profile.token_status(status, &HeaderMap::new(), body);
    for body in [
        r#"{"error":"insufficient_scope"}"#,
        r#"{"errors":[{"errorType":"insufficient_scope","message":"no"}]}"#,
        r#"{"error":{"code":"INSUFFICIENT_SCOPE"},"more":"cut o"#,
    ] {
        assert_eq!(
            status(401, body),
            TokenStatus::InsufficientScope(None),
            "{body}"
        );
        assert_eq!(status(403, body), TokenStatus::Accepted, "{body}");
    }
    for body in [r#"{"error":"invalid_request"}"#, r#"{"message":"no"}"#, ""] {
        assert_eq!(status(401, body), TokenStatus::Expired, "{body}");
    }
}

/// token-failures: T42.
#[test]
fn a_403_never_means_expired() {
    for challenges in [
        &[][..],
        &["Bearer error=\"invalid_token\""],
        &["Bearer error=\"insufficient_claims\""],
    ] {
        assert_eq!(
            token_status(403, challenges),
            TokenStatus::Accepted,
            "{challenges:?}"
        );
    }
    assert_eq!(
        token_status(403, &["Bearer error=\"insufficient_scope\""]),
        TokenStatus::InsufficientScope(None)
    );
    for status in [200, 204, 302, 400, 404, 500] {
        assert_eq!(
            token_status(status, &["Bearer error=\"invalid_token\""]),
            TokenStatus::Accepted,
            "{status}"
        );
    }
}

/// token-failures: T41.
#[test]
fn the_bearer_challenge_is_found_among_others() {
    for challenges in [
        &["Basic realm=\"x\", Bearer error=\"insufficient_scope\", scope=\"s\""][..],
        &[
            "Basic realm=\"with, comma and Bearer error=\\\"invalid_request\\\"\", Bearer error=\"insufficient_scope\", scope=\"s\"",
        ],
        &["Negotiate oYGrMIGo==, Bearer error=\"insufficient_scope\", scope=\"s\""],
        &["Negotiate oYGrMIGo, Bearer error=\"insufficient_scope\", scope=\"s\""],
        &[
            "Digest realm=\"r\", error=\"invalid_request\"",
            "Bearer realm=\"r\",error=\"insufficient_scope\",scope=\"s\"",
        ],
        &["Negotiate, Bearer error=\"insufficient_scope\" , scope=\"s\", Basic realm=\"y\""],
    ] {
        assert_eq!(
            token_status(401, challenges),
            TokenStatus::InsufficientScope(Some("s".to_owned())),
            "{challenges:?}"
        );
    }
    for challenges in [
        &["Basic realm=\"old clients\", Bearer error=\"invalid_token\""][..],
        &["Bearer realm=\"api\", error=\"invalid_token\", Basic realm=\"x\""],
        &[
            "Negotiate, Bearer realm=\"a, b\", error=\"invalid_token\", error_description=\"it \\\"ended\\\", alas\"",
        ],
        &[
            "Basic realm=\"Bearer error=\\\"insufficient_scope\\\"\", Bearer error=\"invalid_token\"",
        ],
        &["Basic realm=\"x\"", "bearer ERROR=invalid_token"],
        &[
            "Digest realm=\"x\", nonce=\"abc==\", qop=\"auth,auth-int\", Bearer error=\"invalid_token\"",
        ],
    ] {
        assert_eq!(
            token_status(401, challenges),
            TokenStatus::Expired,
            "{challenges:?}"
        );
    }
}
