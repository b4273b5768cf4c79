use super::super::{
    profile::Profile, token_record::TokenResponse, token_response::TokenResponseError,
};
use proptest::proptest;
use serde_json::{Value, json};
use std::time::Duration;

fn read(body: &str) -> Result<TokenResponse, TokenResponseError> {
    TokenResponse::read(body.as_bytes(), &Profile::generic())
}

fn access_token(response: &TokenResponse) -> &str {
    response.record.access_token().unwrap()
}

fn lifetime(profile: &str, expires_in: Option<Value>) -> Option<Duration> {
    let mut body = json!({"access_token": "at-1"});
    if let Some(value) = expires_in {
        body["expires_in"] = value;
    }
    TokenResponse::read(
        body.to_string().as_bytes(),
        &Profile::from_json(profile).unwrap(),
    )
    .unwrap()
    .lifetime
}

/// token-failures: T20.
#[test]
fn expires_in_is_read_in_every_form() {
    let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    for (expires_in, expected) in [
        (json!(3600), seconds(3600.0)),
        (json!("3600"), seconds(3600.0)),
        (json!(" 3600 "), seconds(3600.0)),
        (json!(3600.5), seconds(3600.5)),
        (json!("3600.0"), seconds(3600.0)),
        (json!(0), None),
        (json!(-1), None),
        (json!("-1"), None),
        (json!(null), None),
        (json!(""), None),
        (json!("never"), None),
        (json!("NaN"), None),
        (json!("inf"), None),
        (json!(true), None),
        (json!([3600]), None),
        (json!("2030-01-01T00:00:00Z"), None),
        (json!(1_900_000_000_u64), None),
        (json!(1e300), None),
    ] {
        assert_eq!(
            lifetime("{}", Some(expires_in.clone())),
            expected,
            "{expires_in}"
        );
    }
    assert_eq!(lifetime("{}", None), None);
    assert_eq!(
        lifetime(r#"{"expires_unit": "millis"}"#, Some(json!(3_600_000))),
        seconds(3600.0)
    );
    assert_eq!(
        lifetime(r#"{"default_lifetime": 600}"#, None),
        seconds(600.0)
    );
    assert_eq!(
        lifetime(r#"{"default_lifetime": 600}"#, Some(json!("never"))),
        seconds(600.0)
    );
    assert_eq!(
        lifetime(r#"{"default_lifetime": 600}"#, Some(json!(60))),
        seconds(60.0)
    );
}

/// token-failures: T23.
#[test]
fn a_response_without_an_access_token_is_no_success() {
    for body in [
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":null,"error":null}"#,
        r#"{"access_token":7,"error":""}"#,
        r#"{"error":"invalid_code","access_token":""}"#,
    ] {
        assert_eq!(
            read(body).unwrap_err(),
            TokenResponseError::NoAccessToken,
            "{body}"
        );
    }
    for body in [
        "",
        "ok",
        "[]",
        "\"at\"",
        "<html>access_token=x</html>",
        "a=b",
        "{\"access_token\":",
    ] {
        assert_eq!(
            read(body).unwrap_err(),
            TokenResponseError::Unreadable,
            "{body}"
        );
    }
}

/// token-failures: T30.
#[test]
fn a_form_response_is_read() {
    for body in [
        "access_token=at%2F1&expires_in=60&refresh_token=a+b&scope=x%20y",
        "\u{feff}access_token=at/1&expires_in=60&refresh_token=a%20b&scope=x+y\r\n",
    ] {
        let answer = read(body).unwrap();
        assert_eq!(access_token(&answer), "at/1");
        assert_eq!(answer.record.refresh_token().unwrap(), "a b");
        assert_eq!(
            (answer.lifetime, answer.record.scope()),
            (Some(Duration::from_secs(60)), Some("x y"))
        );
    }
    assert!(read("\u{feff}{\"access_token\":\"at\"}").is_ok());
}

/// The token types that are logged, and their names in the log. token-failures: T37.
#[test]
fn any_token_type_is_accepted_and_unknown_ones_named() {
    for (token_type, unknown) in [
        (json!("bearer"), None),
        (json!("Bearer"), None),
        (json!("BEARER"), None),
        (json!(null), None),
        (json!(""), None),
        (json!("BearerToken"), Some("\"BearerToken\"")),
        (json!("mac"), Some("\"mac\"")),
        (json!("DPoP"), Some("\"DPoP\"")),
        (json!("at-1 or so"), Some("a token type that is not a word")),
        (json!(["Bearer"]), Some("a token type that is not a word")),
        (json!(7), Some("a token type that is not a word")),
    ] {
        let answer =
            read(&json!({"access_token": "at-1", "token_type": token_type}).to_string()).unwrap();
        assert_eq!(access_token(&answer), "at-1");
        assert_eq!(
            answer.unknown_type(&Profile::generic()).as_deref(),
            unknown,
            "{token_type}"
        );
    }
    assert_eq!(
        read(r#"{"access_token":"at-1"}"#)
            .unwrap()
            .unknown_type(&Profile::generic()),
        None
    );
    let bot = br#"{"ok":true,"access_token":"at-1","token_type":"bot"}"#;
    let slack = Profile::built_in("slack").unwrap();
    assert_eq!(
        TokenResponse::read(bot, &slack)
            .unwrap()
            .unknown_type(&slack),
        None
    );
}

#[test]
fn a_response_with_an_access_token_is_a_success() {
    for beside in [
        json!({"token_type": "BearerToken", "expires_in": "1799"}),
        json!({"error": "server_error", "ok": false}),
        json!({"expires_in": {"seconds": 5}, "scope": 7}),
        json!({"scope": [["x"], null], "expires_in": "soon", "token_type": {"name": "Bearer"}}),
        json!({"refresh_token_expires_in": "never", "code": 500, "status": "error"}),
    ] {
        let mut body = json!({"access_token": "at-2", "refresh_token": "rt-2"});
        body.as_object_mut()
            .unwrap()
            .extend(beside.as_object().unwrap().clone());
        let answer = read(&body.to_string()).unwrap();
        let tokens = (
            access_token(&answer),
            answer.record.refresh_token().unwrap(),
        );
        assert_eq!(tokens, ("at-2", "rt-2"), "{beside}");
    }
}

#[test]
fn broken_json_is_read_up_to_its_mistake() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let utf16: Vec<u8> = "\u{feff}{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let tokens = r#""access_token":"at-2","refresh_token":"rt-2""#;
    for body in [
        format!(r#"{{"organisation":"party \ud83d",{tokens}}}"#).into_bytes(),
        format!(r#"{{"organisation":"\ude00\ud83d\ude00 \\ud83d",{tokens},"x\udc00":1}}"#)
            .into_bytes(),
        [
            &b"{\"organisation\":\"Gr\xfc\xdfe\","[..],
            tokens.as_bytes(),
            b"}",
        ]
        .concat(),
        format!("\u{feff}{{\"organisation\":\"a\tb\nc\",{tokens}}}").into_bytes(),
        format!(r#"{{"organisation":{deep},{tokens}}}"#).into_bytes(),
        format!("{{{tokens}}}\n<!-- served by cache 7 -->").into_bytes(),
        format!("{{{tokens},}}").into_bytes(),
        utf16,
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = TokenResponse::read(&body, &Profile::generic())
            .unwrap_or_else(|error| panic!("{error}: {shown}"));
        let tokens = (
            access_token(&answer),
            answer.record.refresh_token().unwrap(),
        );
        assert_eq!(tokens, ("at-2", "rt-2"), "{shown}");
    }
    let pair = read(r#"{"access_token":"at-2","n":"\ud83d\ude00 \ud83d \\ud83d"}"#).unwrap();
    assert_eq!(
        pair.record.to_value()["n"],
        json!("\u{1f600} \u{fffd} \\ud83d")
    );
}

#[test]
fn of_a_truncated_response_only_whole_tokens_count() {
    for (body, tokens) in [
        (
            r#"{"access_token":"at-2","refresh_token":"rt-2","x"#,
            Some(("at-2", Some("rt-2"))),
        ),
        (
            r#" {"access_token":"at-2","refresh_token":"rt-2"#,
            Some(("at-2", None)),
        ),
        (r#"{"access_token":"at-"#, None),
        ("access_token=at-2&refresh_token=rt-", None),
        ("", None),
    ] {
        let answer = TokenResponse::read_truncated(body.as_bytes(), &Profile::generic());
        let read = answer
            .as_ref()
            .map(|answer| (access_token(answer), answer.record.refresh_token()));
        assert_eq!(read, tokens, "{body}");
    }
}

#[test]
fn an_empty_refresh_token_counts_as_absent() {
    for body in [
        r#"{"access_token":"a","refresh_token":""}"#,
        r#"{"access_token":"a","refresh_token":null}"#,
    ] {
        assert!(
            read(body).unwrap().record.refresh_token().is_none(),
            "{body}"
        );
    }
    for name in ["refresh_token_expires_in", "x_refresh_token_expires_in"] {
        let answer = read(&json!({"access_token": "a", name: "8726400"}).to_string()).unwrap();
        assert_eq!(
            answer.record.refresh_lifetime(),
            Some(Duration::from_secs(8_726_400)),
            "{name}"
        );
    }
}

#[test]
fn a_list_of_scopes_becomes_a_text() {
    let answer = read(r#"{"access_token":"a","scope":["x","y"]}"#).unwrap();
    assert_eq!(
        (answer.record.scope(), &answer.record.to_value()["scope"]),
        (Some("x y"), &json!("x y"))
    );
}

#[test]
fn no_token_is_in_the_debug_output() {
    let answer =
        read(r#"{"access_token":"at-1","refresh_token":"rt-1","id_token":"it-1","expires_in":60}"#)
            .unwrap();
    let shown = format!("{answer:?}");
    assert!(
        shown.contains("refresh_token")
            && !["at-1", "rt-1", "it-1"]
                .iter()
                .any(|token| shown.contains(token)),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn reading_never_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = TokenResponse::read(&body, &Profile::generic());
    }
}
