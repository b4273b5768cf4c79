use super::super::{
    exchange_error::{self, is_known},
    profile::Profile,
};
use crate::clients::http::ErrorBody;
use serde_json::{Value, json};

/// The code of this body, and whether it is an error if its status is 200.
fn read(profile: &str, body: &str) -> (Option<String>, bool) {
    let profile = Profile::built_in(profile).unwrap();
    let body = ErrorBody::read(body.as_bytes());
    (
        body.code(|code| is_known(&profile, code)),
        body.is_error(|code| is_known(&profile, code)),
    )
}

fn code(body: &Value) -> Option<String> {
    read("generic", &body.to_string()).0
}

/// The first one is Fitbit's. token-failures: T24.
#[test]
fn a_known_code_is_found_in_any_shape() {
    for body in [
        r#"{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid: rt-1"}],"success":false}"#,
        r#"{"error":{"code":"invalid_grant"}}"#,
        r#"{"error":{"message":"no","details":[{"reason":{"name":"invalid_grant"}}]}}"#,
        r#"{"error":["invalid_grant"]}"#,
        r#"{"errors":["invalid_grant"]}"#,
        r#"{"status":"BAD_REQUEST","errors":[{"type":"Error"},{"type":"invalid_grant"}]}"#,
        r#"[{"message":"no"},{"errorCode":"invalid_grant"}]"#,
        r#"{"fault":{"faultstring":"no","detail":{"errorcode":"oauth.v2.invalid_grant"}}}"#,
        r#"{"title":"Bad Request","detail":"invalid_grant: the token was revoked"}"#,
        r#"{"error":"request_failed","sub":"invalid_grant"}"#,
        "error=invalid_grant&error_description=no",
        "\u{feff}{\"error\":\"invalid_grant\"}",
        "invalid_grant\n",
        "\"invalid_grant\"",
    ] {
        let expected = (Some("invalid_grant".to_owned()), true);
        assert_eq!(read("generic", body), expected, "{body}");
    }
    for spelling in ["InvalidGrant", "INVALID_GRANT", "invalid-grant"] {
        assert_eq!(
            code(&json!({"code": spelling})).as_deref(),
            Some(spelling),
            "{spelling}"
        );
    }
}

#[test]
fn the_error_of_the_rfc_goes_before_other_codes() {
    for (profile, body, expected) in [
        (
            "generic",
            r#"{"a":"invalid_grant","error":"invalid_client"}"#,
            "invalid_client",
        ),
        (
            "google",
            r#"{"a":"access_denied","error":"org_internal"}"#,
            "org_internal",
        ),
        (
            "generic",
            r#"{"status":"no","error":{"type":"OAuthException","code":190}}"#,
            "OAuthException",
        ),
        (
            "github",
            "error=bad_verification_code&error_description=no",
            "bad_verification_code",
        ),
        (
            "hubspot",
            r#"{"message":"no","status":"BAD_REFRESH_TOKEN"}"#,
            "BAD_REFRESH_TOKEN",
        ),
    ] {
        assert_eq!(read(profile, body).0.as_deref(), Some(expected), "{body}");
    }
}

/// token-failures: T23.
#[test]
fn a_body_without_a_token_says_if_it_is_an_error() {
    for (body, expected) in [
        (r#"{"error":"unheard_of"}"#, true),
        (r#"{"ok":false}"#, true),
        (r#"{"success":false}"#, true),
        (r#"{"errors":[{"message":"no"}]}"#, true),
        (r#"{"code":"slow_down"}"#, true),
        ("{}", false),
        (r#"{"error":null,"errors":[]}"#, false),
        (r#"{"error":"","ok":true}"#, false),
        ("ok", false),
        ("", false),
    ] {
        assert_eq!(read("generic", body).1, expected, "{body}");
    }
}

#[test]
fn an_error_code_is_never_a_sentence_or_a_secret() {
    for error in [
        "expired authorization code",
        "rt-1f3c9a",
        "5Aep861.x2",
        "x\u{e9}",
        "",
    ] {
        assert_eq!(code(&json!({"error": error})), None, "{error}");
        assert_eq!(code(&json!({"errors": [{"a": error}]})), None, "{error}");
    }
    assert_eq!(
        code(&json!({"object": "error", "code": "invalid_grant", "status": 400})).as_deref(),
        Some("invalid_grant")
    );
}

/// token-failures: T54.
#[test]
fn only_the_error_number_of_a_microsoft_description_is_shown() {
    let diagnostic =
        |body: Value| exchange_error::diagnostic(&ErrorBody::read(body.to_string().as_bytes()));
    for body in [
        json!({"error": "interaction_required", "suberror": "basic_action", "error_codes": [50076], "error_description": "AADSTS1: secret"}),
        json!({"error": "interaction_required", "suberror": "basic_action", "error_description": "AADSTS50076: for user secret"}),
    ] {
        assert_eq!(
            diagnostic(body).as_deref(),
            Some("basic_action, AADSTS50076")
        );
    }
    assert_eq!(diagnostic(json!({"error_description": "AADSTSx"})), None);
}
