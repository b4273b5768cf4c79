use super::super::{
    answer::{self, AnswerError, TokenAnswer},
    profile::Profile,
};
use proptest::proptest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;

fn read(body: &str) -> Result<TokenAnswer, AnswerError> {
    TokenAnswer::read(body.as_bytes(), &Profile::generic())
}

fn lifetime(profile: &str, expires_in: Option<Value>) -> Option<Duration> {
    let mut body = json!({"access_token": "at-1"});
    if let Some(value) = expires_in {
        body["expires_in"] = value;
    }
    TokenAnswer::read(body.to_string().as_bytes(), &Profile::from_json(profile).unwrap()).unwrap().lifetime
}

#[test]
fn case_75_expires_in_in_all_its_forms() {
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
        assert_eq!(lifetime("{}", Some(expires_in.clone())), expected, "{expires_in}");
    }
    assert_eq!(lifetime("{}", None), None);
    assert_eq!(lifetime(r#"{"expires_unit": "millis"}"#, Some(json!(3_600_000))), seconds(3600.0));
    assert_eq!(lifetime(r#"{"default_lifetime": 600}"#, None), seconds(600.0));
    assert_eq!(lifetime(r#"{"default_lifetime": 600}"#, Some(json!("never"))), seconds(600.0));
    assert_eq!(lifetime(r#"{"default_lifetime": 600}"#, Some(json!(60))), seconds(60.0));
}

#[test]
fn case_77_a_200_that_holds_an_error_is_an_error() {
    for (body, code) in [
        (
            r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#,
            Some("bad_refresh_token"),
        ),
        (r#"{"ok":false,"error":"invalid_refresh_token"}"#, Some("invalid_refresh_token")),
        (r#"{"ok":false}"#, None),
        (r#"{"error":{"code":"invalid_grant","message":"no"}}"#, Some("invalid_grant")),
        (r#"{"error":{"type":"OAuthException","code":190}}"#, Some("OAuthException")),
        (r#"{"error":"invalid_code","access_token":""}"#, Some("invalid_code")),
        ("error=bad_verification_code&error_description=no", Some("bad_verification_code")),
    ] {
        assert_eq!(read(body).unwrap_err(), AnswerError::Refused(code.map(str::to_owned)), "{body}");
    }
}

#[test]
fn case_78_an_answer_without_a_token_and_an_error_is_malformed() {
    for body in
        ["{}", r#"{"access_token":""}"#, r#"{"access_token":null,"error":null}"#, r#"{"access_token":7,"error":""}"#]
    {
        assert_eq!(read(body).unwrap_err(), AnswerError::NoAccessToken, "{body}");
    }
    for body in ["", "ok", "[]", "\"at\"", "<html>access_token=x</html>", "a=b", "{\"access_token\":"] {
        assert_eq!(read(body).unwrap_err(), AnswerError::Unreadable, "{body}");
    }
}

#[test]
fn case_79_forms_are_answers_too() {
    for body in [
        "access_token=at%2F1&expires_in=60&refresh_token=a+b&scope=x%20y",
        "\u{feff}access_token=at/1&expires_in=60&refresh_token=a%20b&scope=x+y\r\n",
    ] {
        let answer = read(body).unwrap();
        assert_eq!(answer.access_token.expose_secret(), "at/1");
        assert_eq!(answer.refresh_token.unwrap().expose_secret(), "a b");
        assert_eq!((answer.lifetime, answer.scope.as_deref()), (Some(Duration::from_secs(60)), Some("x y")));
    }
    assert!(read("\u{feff}{\"access_token\":\"at\"}").is_ok());
}

#[test]
fn case_90_only_bearer_tokens_are_accepted() {
    for (token_type, accepted) in [
        (json!("bearer"), true),
        (json!("Bearer"), true),
        (json!("BEARER"), true),
        (json!(null), true),
        (json!(""), true),
        (json!("mac"), false),
        (json!("DPoP"), false),
    ] {
        let result = read(&json!({"access_token": "at-1", "token_type": token_type}).to_string());
        assert_eq!(result.as_ref().err(), (!accepted).then_some(&AnswerError::TokenType), "{token_type}");
    }
    assert!(read(r#"{"access_token":"at-1"}"#).is_ok());
    let bot = br#"{"ok":true,"access_token":"at-1","token_type":"bot"}"#;
    assert!(TokenAnswer::read(bot, &Profile::named("slack").unwrap()).is_ok());
}

#[test]
fn an_empty_refresh_token_is_none_and_the_lifetime_of_one_is_read() {
    for body in [r#"{"access_token":"a","refresh_token":""}"#, r#"{"access_token":"a","refresh_token":null}"#] {
        assert!(read(body).unwrap().refresh_token.is_none(), "{body}");
    }
    for name in ["refresh_token_expires_in", "x_refresh_token_expires_in"] {
        let answer = read(&json!({"access_token": "a", name: "8726400"}).to_string()).unwrap();
        assert_eq!(answer.refresh_lifetime, Some(Duration::from_secs(8_726_400)), "{name}");
    }
}

#[test]
fn scopes_in_a_list_become_a_text() {
    let answer = read(r#"{"access_token":"a","scope":["x","y"]}"#).unwrap();
    assert_eq!((answer.scope.as_deref(), &answer.members["scope"]), (Some("x y"), &json!("x y")));
}

#[test]
fn an_error_code_is_never_a_sentence_or_a_secret() {
    for error in ["expired authorization code", "rt-1f3c9a", "5Aep861.x2", "x\u{e9}", ""] {
        assert_eq!(answer::code(&super::members(json!({"error": error}))), None, "{error}");
    }
    assert_eq!(
        answer::code(&super::members(json!({"object": "error", "code": "invalid_grant", "status": 400}))).as_deref(),
        Some("invalid_grant")
    );
    assert_eq!(
        answer::code(&super::members(json!({"status": "BAD_REFRESH_TOKEN"}))).as_deref(),
        Some("BAD_REFRESH_TOKEN")
    );
}

#[test]
fn case_83_microsofts_number_is_told_and_nothing_else_of_its_description() {
    for body in [
        json!({"error": "interaction_required", "suberror": "basic_action", "error_codes": [50076], "error_description": "AADSTS1: secret"}),
        json!({"error": "interaction_required", "suberror": "basic_action", "error_description": "AADSTS50076: for user secret"}),
    ] {
        assert_eq!(answer::diagnostic(&super::members(body)).as_deref(), Some("basic_action, AADSTS50076"));
    }
    assert_eq!(answer::diagnostic(&super::members(json!({"error_description": "AADSTSx"}))), None);
}

#[test]
fn no_token_is_in_the_debug_output() {
    let answer = read(r#"{"access_token":"at-1","refresh_token":"rt-1","id_token":"it-1","expires_in":60}"#).unwrap();
    let shown = format!("{answer:?}");
    assert!(
        shown.contains("refresh_token") && !["at-1", "rt-1", "it-1"].iter().any(|token| shown.contains(token)),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn whatever_comes_back_can_be_read(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = TokenAnswer::read(&body, &Profile::generic());
    }
}
