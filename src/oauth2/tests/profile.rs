use super::super::{
    client_auth::ClientAuth,
    profile::{BodyFormat, Profile, ScopePolicy},
    token_status::TokenStatus,
};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use std::collections::BTreeMap;

fn named(name: &str) -> Profile {
    Profile::built_in(name).unwrap_or_else(|| panic!("no profile {name}"))
}

#[test]
fn every_built_in_profile_is_read_and_has_its_name() {
    assert_eq!(Profile::built_in_names().len(), 14);
    for name in Profile::built_in_names() {
        assert_eq!(named(name).name, name);
    }
    assert_eq!(named("generic"), Profile::generic());
    assert_eq!(Profile::built_in("unheard-of"), None);
}

#[test]
fn built_in_addresses_are_https_or_relative_to_the_token_url() {
    for profile in Profile::built_in_names().into_iter().map(named) {
        let addresses = [
            &profile.auth_uri,
            &profile.token_uri,
            &profile.refresh_uri,
            &profile.revoke_uri,
            &profile.base_url,
        ];
        for address in addresses.into_iter().flatten() {
            let is_https = Url::parse(address).is_ok_and(|url| url.scheme() == "https");
            assert!(
                is_https || address.starts_with("./"),
                "{}: {address}",
                profile.name
            );
        }
        let found = profile
            .token_uri
            .as_ref()
            .map(|uri| Profile::for_endpoint(&Url::parse(uri).unwrap()).name);
        assert!(
            found.is_none_or(|found| found == profile.name),
            "{} is not found by its own token endpoint",
            profile.name
        );
    }
}

#[test]
fn a_token_endpoint_selects_its_providers_profile() {
    for (address, name) in [
        (
            "https://login.microsoftonline.com/common/oauth2/v2.0/token",
            "microsoft",
        ),
        (
            "https://login.salesforce.com/services/oauth2/token",
            "salesforce",
        ),
        (
            "https://test.salesforce.com/services/oauth2/token",
            "salesforce",
        ),
        (
            "https://acme--uat.sandbox.my.salesforce.com/services/oauth2/token",
            "salesforce",
        ),
        ("https://Start.ExactOnline.nl/api/oauth2/token", "exact"),
        ("https://accounts.zoho.eu/oauth/v2/token", "zoho"),
        ("https://api.hubapi.com/oauth/v1/token", "hubspot"),
        ("https://salesforce.com.evil.test/token", "generic"),
        ("https://notsalesforce.com/token", "generic"),
        ("http://127.0.0.1:9/token", "generic"),
    ] {
        assert_eq!(
            Profile::for_endpoint(&Url::parse(address).unwrap()).name,
            name,
            "{address}"
        );
    }
}

#[test]
fn built_in_profiles_know_what_providers_need() {
    let way = |name: &str| {
        (
            named(name).client_auth,
            named(name).body,
            named(name).refresh_scope,
        )
    };
    use {
        BodyFormat::{Form, Json},
        ClientAuth::{Basic, Post},
    };
    assert_eq!(way("microsoft"), (Post, Form, ScopePolicy::Granted));
    for name in ["quickbooks", "xero"] {
        assert_eq!(way(name), (Basic, Form, ScopePolicy::None), "{name}");
    }
    assert_eq!(way("notion"), (Basic, Json, ScopePolicy::None));
    assert_eq!(way("atlassian"), (Post, Json, ScopePolicy::None));
    for name in [
        "generic",
        "salesforce",
        "google",
        "hubspot",
        "github",
        "slack",
        "exact",
        "zoho",
        "dropbox",
    ] {
        assert_eq!(way(name), (Post, Form, ScopePolicy::None), "{name}");
    }
    assert_eq!(
        named("salesforce").refresh_params,
        BTreeMap::from([("format".to_owned(), "json".to_owned())])
    );
    assert_eq!(
        named("salesforce").base_url_field.as_deref(),
        Some("instance_url")
    );
    assert_eq!(named("exact").margin, 30);
    assert_eq!(named("zoho").token_header.scheme, "Zoho-oauthtoken");
    assert_eq!(named("zoho").token_header.name, "authorization");
}

#[test]
fn an_invalid_profile_names_the_wrong_member() {
    for (json, named) in [
        (r#"{"nmae": "x"}"#, "nmae"),
        (r#"{"client_auth": "header"}"#, "client_auth"),
        (r#"{"margin": "60"}"#, "margin"),
        (r#"{"errors": [{"class": "fatal"}]}"#, "errors[0].class"),
        (r#"{"expired": [{"text": "x"}]}"#, "expired[0]"),
        (
            r#"{"expired": [{"status": 419}, {"status": 200}]}"#,
            "expired[1]",
        ),
        (
            r#"{"expired": [{"status": 200, "text": ""}]}"#,
            "expired[0]",
        ),
        (
            r#"{"expired": [{"status": 302, "text": "x"}]}"#,
            "expired[0]",
        ),
        (r#"{"token_header": {"name": "x y"}}"#, "token_header.name"),
        ("{", "EOF"),
    ] {
        let error = Profile::from_json(json).unwrap_err().to_string();
        assert!(error.contains(named), "{json}: {error}");
    }
}

/// token-failures: T43.
#[test]
fn a_profile_can_define_expired_responses() {
    let salesforce = named("salesforce");
    let bulk =
        "<?xml version=\"1.0\"?><error><exceptionCode>InvalidSessionId</exceptionCode></error>";
    let none = HeaderMap::new();
    assert!(
        salesforce.reads_body(400) && salesforce.reads_body(403) && !salesforce.reads_body(404)
    );
    for (status, body, expected) in [
        (400, bulk, TokenStatus::Expired),
        (400, "<error>InvalidBatch</error>", TokenStatus::Accepted),
        (
            403,
            r#"[{"errorCode":"INVALID_SESSION_ID"}]"#,
            TokenStatus::Expired,
        ),
        (403, "Bad_OAuth_Token", TokenStatus::Expired),
        (
            403,
            r#"[{"errorCode":"INSUFFICIENT_ACCESS"}]"#,
            TokenStatus::Accepted,
        ),
        (
            401,
            r#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#,
            TokenStatus::Expired,
        ),
    ] {
        assert_eq!(
            salesforce.token_status(status, &none, body),
            expected,
            "{status} {body}"
        );
    }
    assert_eq!(
        Profile::generic().token_status(400, &none, bulk),
        TokenStatus::Accepted
    );
    assert!(Profile::generic().reads_body(401) && !Profile::generic().reads_body(403));
    let by_status = Profile::from_json(r#"{"expired": [{"status": 419}]}"#).unwrap();
    assert_eq!(by_status.token_status(419, &none, ""), TokenStatus::Expired);
    let slack = named("slack");
    assert_eq!(
        slack.token_status(200, &none, r#"{"ok":false,"error":"token_expired"}"#),
        TokenStatus::Expired
    );
    assert_eq!(
        slack.token_status(200, &none, r#"{"ok":false,"error":"channel_not_found"}"#),
        TokenStatus::Accepted
    );
}

#[test]
fn a_profile_can_define_an_expired_header() {
    let json =
        r#"{"expired": [{"status": 403, "header": {"name": "X-Reason", "text": "expired"}}]}"#;
    let profile = Profile::from_json(json).unwrap();
    let with = |value: &'static str| {
        HeaderMap::from_iter([(
            HeaderName::from_static("x-reason"),
            HeaderValue::from_static(value),
        )])
    };
    assert!(!profile.reads_body(403));
    assert_eq!(
        profile.token_status(403, &with("Token Expired"), ""),
        TokenStatus::Expired
    );
    assert_eq!(
        profile.token_status(403, &with("quota"), ""),
        TokenStatus::Accepted
    );
    assert_eq!(
        profile.token_status(403, &HeaderMap::new(), ""),
        TokenStatus::Accepted
    );
}

/// token-failures: T41.
#[test]
fn a_profile_can_exclude_401s_that_are_unrelated_to_the_token() {
    let none = HeaderMap::new();
    for (name, body) in [
        ("salesforce", "The Connected App is not attached to Agent"),
        ("dropbox", r#"{"error_summary": "missing_scope/..."}"#),
        (
            "zoho",
            r#"{"code":"OAUTH_SCOPE_MISMATCH","status":"error"}"#,
        ),
    ] {
        let profile = named(name);
        assert_eq!(
            profile.token_status(401, &none, body),
            TokenStatus::Unrelated,
            "{name}"
        );
        assert_eq!(
            profile.token_status(401, &none, "expired"),
            TokenStatus::Expired,
            "{name}"
        );
    }
}

#[test]
fn a_profile_says_which_responses_ask_for_fewer_requests() {
    let none = HeaderMap::new();
    let retry_after = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
    let google = r#"{"error":{"errors":[{"reason":"userRateLimitExceeded"}],"code":403}}"#;
    let secondary = r#"{"message":"You have exceeded a secondary rate limit"}"#;
    for (name, status, headers, body, is_busy) in [
        ("generic", 429, &none, "", true),
        ("generic", 403, &retry_after, "", true),
        ("generic", 403, &none, google, false),
        ("generic", 503, &none, "", false),
        ("google", 403, &none, google, true),
        ("google", 400, &none, google, false),
        ("github", 403, &none, secondary, true),
        (
            "github",
            403,
            &none,
            r#"{"message":"Resource not accessible"}"#,
            false,
        ),
    ] {
        let profile = named(name);
        assert!(profile.reads_body(status) || body.is_empty() || name == "generic" || !is_busy);
        assert_eq!(
            profile.is_busy(status, headers, body),
            is_busy,
            "{name} {status} {body}"
        );
    }
}

#[test]
fn a_profile_says_which_responses_ask_for_a_scope() {
    let none = HeaderMap::new();
    let google = r#"{"error":{"details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}"#;
    for (name, status, body, asks) in [
        ("google", 403, google, true),
        (
            "slack",
            200,
            r#"{"ok":false,"error":"missing_scope","needed":"chat:write"}"#,
            true,
        ),
        ("slack", 200, r#"{"ok":true,"text":"missing_scope"}"#, false),
        ("generic", 403, google, false),
    ] {
        let status = named(name).token_status(status, &none, body);
        assert_eq!(
            status == TokenStatus::InsufficientScope(None),
            asks,
            "{name} {body}"
        );
    }
}

#[test]
fn the_rules_and_headers_of_a_profile_are_checked() {
    for (json, wrong) in [
        (
            r#"{"busy": [{"status": 200}]}"#,
            "busy[0]: the status must be",
        ),
        (
            r#"{"insufficient_scope": [{"status": 403}, {"status": 300}]}"#,
            "insufficient_scope[1]",
        ),
        (
            r#"{"headers": {"a b": "c"}}"#,
            "\"a b\" is not a valid header",
        ),
        (r#"{"headers": {"a": "\n"}}"#, "\"a\" is not a valid header"),
    ] {
        let error = Profile::from_json(json).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
}
