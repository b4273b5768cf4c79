use super::{
    super::{
        client_auth::ClientAuth,
        definition::{Mode, OAuth2},
        profile::Profile,
        resolve::ResolvedConfig,
    },
    descriptor,
};
use crate::settings::template::ConfigError;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn salesforce() -> Value {
    json!({
        "fields": {
            "prodEnv": {"viewClass": "SelectView"},
            "oauth": {"viewClass": "OAuthFieldView"},
            "auth": {"viewClass": "TextFieldView"}
        },
        "oauth2": {
            "client_id": "{{SALESFORCE_KEY}}",
            "client_secret": "{{ SALESFORCE_SECRET }}",
            "auth_uri": "https://{{prodEnv}}.salesforce.com/services/oauth2/authorize?display=page",
            "token_uri": "https://{{prodEnv}}.salesforce.com/services/oauth2/token",
            "scopes": ["api", "refresh_token {{EXTRA}}"]
        }
    })
}

pub(super) fn env(name: &str) -> Option<String> {
    match name {
        "SALESFORCE_KEY" => Some("key-1".to_owned()),
        "SALESFORCE_SECRET" => Some("secret-1".to_owned()),
        "EXTRA" => Some("web full".to_owned()),
        "prodEnv" => Some("env".to_owned()),
        "query" => Some("from-env".to_owned()),
        "CLIENT_AUTH" => Some("basic_raw".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

pub(super) fn resolve_with(
    author: OAuth2,
    credentials: Value,
    config: Value,
) -> Result<ResolvedConfig, ConfigError> {
    author.resolve(&descriptor(credentials), &config, None, &env)
}

pub(super) fn resolve(credentials: Value, config: Value) -> Result<ResolvedConfig, ConfigError> {
    resolve_with(OAuth2::new(), credentials, config)
}

pub(super) fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut credentials = salesforce();
    change(&mut credentials["oauth2"]);
    credentials
}

pub(super) fn error(result: Result<ResolvedConfig, ConfigError>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn component_json_alone_is_enough() {
    let resolved = resolve(salesforce(), json!({"prodEnv": "test"})).unwrap();
    let client = resolved.client.unwrap();
    assert_eq!(
        (resolved.mode, resolved.field),
        (Mode::Expiry, vec!["oauth".to_owned()])
    );
    assert_eq!(resolved.profile.name, "salesforce");
    assert_eq!(
        (client.id.as_str(), client.secret.unwrap().expose_secret()),
        ("key-1", "secret-1")
    );
    assert_eq!(
        client.token_url.as_str(),
        "https://test.salesforce.com/services/oauth2/token"
    );
    assert_eq!(client.refresh_url, client.token_url);
    assert_eq!(
        client.auth_url.unwrap().as_str(),
        "https://test.salesforce.com/services/oauth2/authorize?display=page"
    );
    assert_eq!(
        client.revoke_url.unwrap().as_str(),
        "https://test.salesforce.com/services/oauth2/revoke"
    );
    assert_eq!(client.scopes, ["api", "refresh_token", "web", "full"]);
}

#[test]
fn the_environment_overrides_the_mode_except_for_secrets() {
    let author = || OAuth2::new().mode(Mode::On401);
    let mode = |author: OAuth2, config, given| {
        author
            .resolve(&descriptor(salesforce()), &config, given, &env)
            .map(|resolved| resolved.mode)
    };
    assert_eq!(mode(OAuth2::new(), json!({}), None), Ok(Mode::Expiry));
    assert_eq!(mode(author(), json!({}), None), Ok(Mode::On401));
    assert_eq!(
        mode(author(), json!({}), Some(Mode::EveryAccess)),
        Ok(Mode::EveryAccess)
    );
    assert_eq!(
        mode(author(), json!({"secretId": "s"}), Some(Mode::EveryAccess)),
        Ok(Mode::PlatformSecret)
    );
    assert_eq!(
        mode(author(), json!({"secretId": ""}), None),
        Ok(Mode::On401)
    );
    let error = mode(OAuth2::new(), json!({}), Some(Mode::PlatformSecret)).unwrap_err();
    assert!(error.to_string().contains("secretId"), "{error}");
}

#[test]
fn a_platform_secret_needs_no_client() {
    let credentials = json!({"fields": {"mine": {"viewClass": "HTTPAuthView"}}});
    let author = OAuth2::new()
        .profile("salesforce")
        .base_url("https://api.example.com/v1/");
    let resolved = resolve_with(author, credentials, json!({"secretId": "s"})).unwrap();
    assert!(resolved.client.is_none());
    assert_eq!(
        (resolved.mode, resolved.field),
        (Mode::PlatformSecret, vec!["mine".to_owned()])
    );
    assert_eq!(
        resolved.profile.base_url_field.as_deref(),
        Some("instance_url")
    );
    assert!(
        resolve(salesforce(), json!({"secretId": "s"}))
            .unwrap()
            .client
            .is_none()
    );
}

#[test]
fn the_token_field_is_configured_or_found_by_its_view() {
    let path = |author: OAuth2, fields: Value| {
        author
            .field_in(&descriptor(json!({"fields": fields})))
            .join("/")
    };
    let shown = json!({"a": {"viewClass": "TextFieldView"}, "b": {"viewClass": "HTTPAuthView"}});
    assert_eq!(path(OAuth2::new(), shown.clone()), "b");
    assert_eq!(
        path(OAuth2::new(), json!({"a": {"viewClass": "TextFieldView"}})),
        "oauth"
    );
    assert_eq!(
        path(OAuth2::new().field("auth.oauth2"), shown),
        "auth/oauth2"
    );
}

#[test]
fn the_author_overrides_component_json_and_the_profile() {
    let author = OAuth2::new()
        .client_id("own")
        .client_secret("{{EXTRA}}")
        .auth_uri("https://own.test/a")
        .token_uri("https://own.test/t")
        .scopes(["one", "two"])
        .custom_profile(
            Profile::from_json(
                r#"{"name": "own", "refresh_uri": "./r", "base_url": "https://api.own.test/"}"#,
            )
            .unwrap(),
        )
        .base_url("https://{{prodEnv}}.own.test/v1/")
        .allow_origin("https://files.own.test/ignored?x=1");
    let resolved = resolve_with(author, salesforce(), json!({})).unwrap();
    let client = resolved.client.unwrap();
    assert_eq!(
        (client.id.as_str(), client.secret.unwrap().expose_secret()),
        ("own", "web full")
    );
    assert_eq!(client.auth_url.unwrap().as_str(), "https://own.test/a");
    assert_eq!(
        (client.token_url.as_str(), client.refresh_url.as_str()),
        ("https://own.test/t", "https://own.test/r")
    );
    assert_eq!(
        (client.scopes, resolved.profile.name.as_str()),
        (vec!["one".to_owned(), "two".to_owned()], "own")
    );
    assert_eq!(
        resolved.base_url.unwrap().as_str(),
        "https://env.own.test/v1/"
    );
    let origins = ["https://env.own.test", "https://files.own.test"]
        .map(|origin| Url::parse(origin).unwrap().origin());
    let allowed: Vec<_> = resolved.origins.iter().map(Url::origin).collect();
    assert_eq!(allowed, origins);
}

#[test]
fn a_profile_is_chosen_by_name_with_templates_too() {
    let named = |name: &str| {
        resolve_with(
            OAuth2::new().profile(name),
            salesforce(),
            json!({"prodEnv": "xero"}),
        )
    };
    assert_eq!(named("google").unwrap().profile.name, "google");
    assert_eq!(named("{{prodEnv}}").unwrap().profile.name, "xero");
    let text = error(named("gogle"));
    assert!(text.contains("gogle") && text.contains("google"), "{text}");
}

#[test]
fn a_profile_can_hold_the_endpoints() {
    let credentials = json!({"oauth2": {"client_id": "c", "client_secret": "s"}});
    let client = resolve_with(OAuth2::new().profile("google"), credentials, json!({}))
        .unwrap()
        .client
        .unwrap();
    assert_eq!(
        client.token_url.as_str(),
        "https://oauth2.googleapis.com/token"
    );
    assert_eq!(
        client.revoke_url.unwrap().as_str(),
        "https://oauth2.googleapis.com/revoke"
    );
}

#[test]
fn component_json_selects_the_client_authentication() {
    let way = |change: fn(&mut Value)| {
        resolve(with(change), json!({}))
            .unwrap()
            .profile
            .client_auth
    };
    assert_eq!(way(|_| ()), ClientAuth::Post);
    assert_eq!(
        way(|o| o["client_auth"] = json!("basic")),
        ClientAuth::Basic
    );
    assert_eq!(
        way(|o| o["client_auth"] = json!("basic_raw")),
        ClientAuth::BasicRaw
    );
    assert_eq!(
        way(|o| o["client_auth"] = json!("{{CLIENT_AUTH}}")),
        ClientAuth::BasicRaw
    );
    assert_eq!(
        way(|o| o["client_auth"] = json!("{{UNDEFINED}}")),
        ClientAuth::Post
    );
    assert_eq!(way(|o| o["client_secret"] = json!(null)), ClientAuth::None);
    let wrong = error(resolve(
        with(|o| o["client_auth"] = json!("header")),
        json!({}),
    ));
    assert!(
        wrong.contains("client_auth") && wrong.contains("basic_raw"),
        "{wrong}"
    );
    let xero = resolve(
        with(|o| o["token_uri"] = json!("https://identity.xero.com/connect/token")),
        json!({}),
    );
    assert_eq!(xero.unwrap().profile.client_auth, ClientAuth::Basic);
}

#[test]
fn unknown_members_are_authorization_parameters() {
    let credentials = with(|o| {
        o["token_uri"] = json!("https://oauth2.googleapis.com/token");
        o["prompt"] = json!("login");
        o["max_age"] = json!(5);
        o["hint"] = json!("{{prodEnv}}");
        o["odd"] = json!({"a": 1});
    });
    let params = resolve(credentials, json!({"prodEnv": "p"}))
        .unwrap()
        .client
        .unwrap()
        .authorize_params;
    let expected = [
        ("access_type", "offline"),
        ("hint", "p"),
        ("max_age", "5"),
        ("prompt", "login"),
    ];
    assert_eq!(
        params,
        BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned())))
    );
}

#[test]
fn refreshes_can_go_to_another_address() {
    let credentials =
        with(|o| o["refresh_token_uri"] = json!("https://other.salesforce.com/refresh"));
    let client = resolve(credentials, json!({})).unwrap().client.unwrap();
    assert_eq!(
        client.refresh_url.as_str(),
        "https://other.salesforce.com/refresh"
    );
    assert_eq!(
        client.token_url.as_str(),
        "https://env.salesforce.com/services/oauth2/token"
    );
}

#[test]
fn the_revocation_address_is_optional_for_a_step() {
    let revoke_url = |declared: &str| {
        let credentials = with(|o| o["revoke_uri"] = json!(declared));
        resolve(credentials, json!({}))
            .unwrap()
            .client
            .unwrap()
            .revoke_url
            .map(String::from)
    };
    assert_eq!(
        revoke_url("https://other.salesforce.com/end").as_deref(),
        Some("https://other.salesforce.com/end")
    );
    let of_the_profile = "https://env.salesforce.com/services/oauth2/revoke";
    assert_eq!(
        revoke_url("https://{{MISSING}}/end").as_deref(),
        Some(of_the_profile)
    );
}

#[test]
fn scopes_are_a_text_or_a_list_of_texts() {
    let scopes = |value: Value| {
        serde_json::from_value::<crate::settings::descriptor::OAuth2Credentials>(
            json!({"scopes": value}),
        )
        .map(|o| o.scopes)
    };
    assert_eq!(scopes(json!("a b")).unwrap(), ["a", "b"]);
    assert_eq!(scopes(json!(null)).unwrap(), [""; 0]);
    assert!(
        scopes(json!([1]))
            .unwrap_err()
            .to_string()
            .contains("list of texts")
    );
}

#[test]
fn no_secret_is_in_the_debug_output() {
    assert!(!format!("{:?}", OAuth2::new().client_secret("topsecret")).contains("topsecret"));
    let mut credentials = salesforce();
    credentials["oauth2"]["client_secret"] = json!("topsecret");
    assert!(!format!("{:?}", descriptor(credentials)).contains("topsecret"));
}

#[test]
fn allowed_origins_are_a_list_that_may_be_undefined() {
    let origins = |template: &str, entered: &str| {
        let author = OAuth2::new()
            .base_url("https://api.own.test")
            .allow_origin(template);
        let config = json!({ "prodEnv": "own", "auth": entered });
        let resolved = resolve_with(author, salesforce(), config)?;
        let others = resolved.origins.iter().skip(1);
        Ok(others
            .map(|url| url.origin().ascii_serialization())
            .collect::<Vec<_>>())
    };
    for (template, entered, allowed) in [
        (
            "{{auth}}",
            " https://a.test  https://b.test:8443/path ",
            &["https://a.test", "https://b.test:8443"][..],
        ),
        ("{{auth|MISSING}}", "", &[]),
        ("https://{{auth}}.own.test", "eu", &["https://eu.own.test"]),
        // What a user enters is no template.
        (
            "{{auth}}",
            "https://{{prodEnv}}.b.test",
            &["https://{{prodenv}}.b.test"],
        ),
    ] {
        assert_eq!(
            origins(template, entered).unwrap(),
            allowed,
            "{template} {entered}"
        );
    }
    for (template, entered) in [
        ("{{auth}}", "https://a.test http://b.test"),
        ("https://{{auth}}.own.test", "b.test/ https://c.test"),
    ] {
        let refused: ConfigError = origins(template, entered).unwrap_err();
        assert!(
            refused.to_string().contains("an allowed origin"),
            "{refused}"
        );
    }
}
