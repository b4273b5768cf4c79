use super::super::{
    exchange_error::classify,
    profile::{
        ErrorClass::{self, Config, Malformed, Reauth, Transient},
        Profile,
    },
};
use crate::clients::http::ErrorBody;

fn class(profile: &str, status: u16, code: Option<&str>, text: &str) -> ErrorClass {
    let body = ErrorBody::read(text.as_bytes());
    classify(&Profile::built_in(profile).unwrap(), status, code, &body)
}

/// token-failures: Kinds of refusal.
#[test]
fn codes_and_statuses_are_classified_by_the_rfc() {
    for (status, code, expected) in [
        (400, Some("invalid_grant"), Reauth),
        (403, Some("Invalid_Grant"), Reauth),
        (400, Some("access_denied"), Reauth),
        (400, Some("invalid_client"), Config),
        (401, Some("invalid_client"), Config),
        (400, Some("unauthorized_client"), Config),
        (400, Some("invalid_scope"), Config),
        (400, Some("invalid_request"), Config),
        (400, Some("unsupported_grant_type"), Config),
        (401, None, Transient),
        (403, None, Transient),
        (404, None, Transient),
        (405, None, Transient),
        (410, None, Transient),
        (404, Some("invalid_client"), Config),
        (401, Some("invalid_grant"), Reauth),
        (400, Some("temporarily_unavailable"), Transient),
        (400, Some("server_error"), Transient),
        (408, None, Transient),
        (429, None, Transient),
        (429, Some("invalid_grant"), Transient),
        (500, None, Transient),
        (502, Some("invalid_grant"), Transient),
        (503, None, Transient),
        (400, None, Malformed),
        (400, Some("moon_phase"), Malformed),
        (401, Some("moon_phase"), Malformed),
        (200, Some("moon_phase"), Malformed),
    ] {
        assert_eq!(
            class("generic", status, code, "{}"),
            expected,
            "{status} {code:?}"
        );
    }
}

/// The first one is league/oauth2-server's, the third one Authlib's. token-failures: T24.
#[test]
fn a_dead_refresh_token_can_be_an_invalid_request() {
    for body in [
        r#"{"error":"invalid_request","hint":"Token has been revoked"}"#,
        r#"{"error":"invalid_request","error_description":"The refresh token is invalid.","hint":"Cannot decrypt the refresh token"}"#,
        r#"{"error":"invalid_request","error_description":"Invalid \"refresh_token\" in request."}"#,
        r#"{"ErrorCode":"invalid_request","Error":"Refresh Token expired"}"#,
        r#"{"errors":[{"errorType":"invalid_request","message":"The provided refreshToken is no longer valid: rt-1"}]}"#,
        r#"{"error":"invalid_request","message":"Expired or revoked token"}"#,
        "error=invalid_request&error_description=the+refresh+token+is+not+valid",
    ] {
        for status in [400, 401] {
            assert_eq!(
                class("generic", status, Some("invalid_request"), body),
                Reauth,
                "{body}"
            );
        }
    }
    assert_eq!(
        class("generic", 503, Some("invalid_request"), "Token has expired"),
        Transient
    );
    assert_eq!(
        class("generic", 400, Some("invalid_client"), "Token has expired"),
        Config
    );
}

#[test]
fn an_invalid_request_about_anything_else_is_a_configuration_error() {
    for text in [
        "Check the `refresh_token` parameter",
        "Missing \"refresh_token\" in request.",
        "Missing or invalid refresh token",
        "The request is missing a required parameter, includes an invalid parameter value, or is otherwise malformed: \
         refresh_token",
        "refresh_token is required",
        "The access token expired",
        "access_token not expired, so the refresh token is not used",
        "The refresh token is not expired",
        "Invalid token request",
        "Invalid token_type_hint",
        "The client secret is invalid",
        "Invalid client: no token",
        "",
    ] {
        let body = format!(r#"{{"error":"invalid_request","error_description":{text:?}}}"#);
        assert_eq!(
            class("generic", 400, Some("invalid_request"), &body),
            Config,
            "{text}"
        );
    }
}

#[test]
fn an_html_error_page_is_transient() {
    for status in [400, 401, 403, 404, 503] {
        assert_eq!(
            class(
                "generic",
                status,
                None,
                " \n<!DOCTYPE html><h1>Blocked</h1>"
            ),
            Transient,
            "{status}"
        );
    }
}

/// token-failures: T17.
#[test]
fn salesforce_parallel_refresh_is_transient() {
    for (text, expected) in [
        (
            r#"{"error":"invalid_grant","error_description":"expired authorization code"}"#,
            Transient,
        ),
        (
            r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
            Reauth,
        ),
        (
            r#"{"error":"invalid_grant","error_description":"ip restricted"}"#,
            Config,
        ),
    ] {
        assert_eq!(
            class("salesforce", 400, Some("invalid_grant"), text),
            expected,
            "{text}"
        );
    }
    assert_eq!(
        class(
            "generic",
            400,
            Some("invalid_grant"),
            "expired authorization code"
        ),
        Reauth
    );
}

/// token-failures: T54.
#[test]
fn microsoft_invalid_grant_needs_the_user() {
    for code in [
        "interaction_required",
        "consent_required",
        "login_required",
        "invalid_grant",
    ] {
        for number in ["AADSTS50076", "AADSTS700082", "AADSTS1"] {
            assert_eq!(
                class("microsoft", 400, Some(code), number),
                Reauth,
                "{code} {number}"
            );
        }
    }
}

#[test]
fn provider_specific_error_codes_are_classified() {
    for (profile, status, code, text, expected) in [
        ("github", 200, Some("bad_refresh_token"), "", Reauth),
        (
            "github",
            200,
            Some("incorrect_client_credentials"),
            "",
            Config,
        ),
        ("slack", 200, Some("invalid_refresh_token"), "", Reauth),
        ("slack", 200, Some("bad_client_secret"), "", Config),
        ("slack", 200, Some("ratelimited"), "", Transient),
        ("hubspot", 400, Some("BAD_REFRESH_TOKEN"), "", Reauth),
        (
            "hubspot",
            400,
            None,
            r#"{"category":"VALIDATION_ERROR","message":"Invalid refresh token"}"#,
            Reauth,
        ),
        ("zoho", 200, Some("invalid_code"), "", Reauth),
        (
            "zoho",
            400,
            None,
            "You have made too many requests continuously",
            Transient,
        ),
        (
            "atlassian",
            403,
            Some("unauthorized_client"),
            "refresh_token is invalid",
            Reauth,
        ),
        (
            "atlassian",
            403,
            Some("unauthorized_client"),
            "client is not allowed",
            Config,
        ),
        (
            "exact",
            400,
            Some("access_denied"),
            "Rate limit exceeded: access_token not expired",
            Transient,
        ),
        (
            "exact",
            400,
            Some("unauthorized_client"),
            "Old refresh token used",
            Reauth,
        ),
        (
            "exact",
            400,
            Some("invalid_request"),
            "The refresh token expired at 10/11/2022",
            Reauth,
        ),
        ("google", 400, Some("disabled_client"), "", Config),
    ] {
        assert_eq!(
            class(profile, status, code, text),
            expected,
            "{profile} {code:?} {text}"
        );
    }
}
