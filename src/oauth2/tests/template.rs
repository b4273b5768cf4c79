use super::{
    super::{definition::OAuth2, profile::Profile},
    definition::{env, error, resolve, resolve_with, salesforce, with},
    descriptor,
};
use serde_json::json;

#[test]
fn a_declared_field_goes_before_a_variable() {
    let token_host = |config| {
        resolve(salesforce(), config)
            .unwrap()
            .client
            .unwrap()
            .token_url
            .host_str()
            .map(str::to_owned)
    };
    assert_eq!(
        token_host(json!({"prodEnv": "login"})).as_deref(),
        Some("login.salesforce.com")
    );
    assert_eq!(token_host(json!({})).as_deref(), Some("env.salesforce.com"));
    assert_eq!(
        token_host(json!({"prodEnv": " "})).as_deref(),
        Some("env.salesforce.com")
    );
    let id = |template: &str, config| {
        resolve(with(|o| o["client_id"] = json!(template)), config)
            .map(|resolved| resolved.client.unwrap().id)
    };
    assert_eq!(
        id("{{query}}", json!({"query": "a field of the step"})).unwrap(),
        "from-env"
    );
    assert_eq!(
        id("{{auth.client.id}}", json!({"auth": {"client": {"id": 7}}})).unwrap(),
        "7"
    );
    assert_eq!(id("plain", json!({})).unwrap(), "plain");
    assert_eq!(id("{{not closed", json!({})).unwrap(), "{{not closed");
}

#[test]
fn the_first_defined_alternative_counts() {
    let id = |template: &str, config| {
        resolve(with(|o| o["client_id"] = json!(template)), config)
            .map(|resolved| resolved.client.unwrap().id)
    };
    assert_eq!(
        id("{{auth|SALESFORCE_KEY}}", json!({"auth": "mine"})).unwrap(),
        "mine"
    );
    assert_eq!(
        id("{{ auth | EMPTY | SALESFORCE_KEY }}", json!({"auth": ""})).unwrap(),
        "key-1"
    );
    let missing = error(resolve(
        with(|o| o["client_id"] = json!("{{auth|NOPE}}")),
        json!({}),
    ));
    assert!(
        missing.contains("credential field \"auth\" (or set the environment variable NOPE)"),
        "{missing}"
    );
}

#[test]
fn an_error_names_what_is_missing_and_where() {
    for (member, value, told) in [
        (
            "client_id",
            json!("{{NOPE}}"),
            &["client_id", "{{NOPE}}", "environment variable NOPE"][..],
        ),
        ("client_id", json!("{{EMPTY}}"), &["{{EMPTY}}"]),
        (
            "client_id",
            json!("{{auth}}"),
            &["credential field \"auth\""],
        ),
        ("client_id", json!(null), &["client_id", "missing"]),
        ("client_id", json!(" "), &["client_id", "missing"]),
        (
            "client_secret",
            json!("topsecret{{NOPE}}"),
            &["client_secret", "{{NOPE}}"],
        ),
        (
            "token_uri",
            json!("https://{{NOPE}}/token"),
            &["token_uri", "{{NOPE}}"],
        ),
        ("token_uri", json!(null), &["token_uri", "missing"]),
        (
            "client_auth",
            json!("magic"),
            &["client_auth", "magic", "basic_raw"],
        ),
    ] {
        let text = error(resolve(with(|o| o[member] = value.clone()), json!({})));
        assert!(
            told.iter().all(|word| text.contains(word)),
            "{member} {value}: {text}"
        );
        assert!(
            !text.contains("topsecret") && !text.contains("secret-1"),
            "{text}"
        );
    }
}

#[test]
fn undefined_scopes_and_parameters_are_left_out() {
    let client = resolve(
        with(|o| (o["scopes"], o["prompt"]) = (json!(["a", "{{NOPE}}"]), json!("{{NOPE}}"))),
        json!({}),
    );
    let client = client.unwrap().client.unwrap();
    assert_eq!(client.scopes, ["a"]);
    assert!(!client.authorize_params.contains_key("prompt"));
}

#[test]
fn addresses_need_https_or_this_machine() {
    for (address, accepted) in [
        ("https://example.com/token", true),
        ("http://127.0.0.1:8080/token", true),
        ("http://localhost/token", true),
        ("http://[::1]:9/token", true),
        ("http://example.com/token", false),
        ("http://localhost.example.com/token", false),
        ("ftp://127.0.0.1/token", false),
        ("https://user:pass@example.com/token", false),
        ("https://example.com/token#part", false),
        ("example.com/token", false),
        ("", false),
    ] {
        let result = resolve(
            with(|o| o["token_uri"] = json!(address)),
            json!({"prodEnv": "login"}),
        );
        assert_eq!(result.is_ok(), accepted, "{address}: {:?}", result.err());
    }
}

#[test]
fn a_field_cannot_send_the_client_secret_to_another_host() {
    for value in [
        "evil.test/",
        "evil.test?",
        "evil.test#",
        "me@evil.test/",
        "evil.test\\",
        "a b",
        "evil.test%2f",
    ] {
        let text = error(resolve(salesforce(), json!({"prodEnv": value})));
        assert!(
            text.contains("prodEnv") && !text.contains("evil"),
            "{value}: {text}"
        );
    }
    let whole = with(|o| {
        o["token_uri"] = json!("{{prodEnv}}/token");
        o["auth_uri"] = json!("{{prodEnv}}/authorize");
    });
    let client = resolve(
        whole,
        json!({"prodEnv": "https://own.example.com:8443/base"}),
    )
    .unwrap()
    .client
    .unwrap();
    assert_eq!(
        client.token_url.as_str(),
        "https://own.example.com:8443/base/token"
    );
}

#[test]
fn an_undefined_template_falls_back_to_component_json() {
    let profile =
        Profile::from_json(r#"{"name": "own", "base_url": "https://api.own.test/"}"#).unwrap();
    let author = |base: &str, address: &str| {
        let author = OAuth2::new()
            .custom_profile(profile.clone())
            .base_url(base)
            .token_uri(address)
            .auth_uri(address);
        let resolved = resolve_with(author, salesforce(), json!({ "prodEnv": "login" })).unwrap();
        let client = resolved.client.unwrap();
        [
            resolved.base_url.unwrap(),
            client.token_url,
            client.auth_url.unwrap(),
        ]
        .map(|url| url.host_str().map(str::to_owned))
    };
    let hosts = |names: [&str; 3]| names.map(|name| Some(name.to_owned()));
    assert_eq!(
        author("{{NONE}}", "{{EMPTY}}"),
        hosts([
            "api.own.test",
            "login.salesforce.com",
            "login.salesforce.com"
        ])
    );
    assert_eq!(
        author("https://{{query}}", "https://{{query}}"),
        hosts(["from-env"; 3])
    );
    let nowhere = OAuth2::new().profile("generic").base_url("{{NONE}}");
    let error = error(resolve_with(
        nowhere,
        salesforce(),
        json!({ "prodEnv": "login" }),
    ));
    assert!(error.contains("NONE"), "{error}");
}

#[test]
fn an_undefined_base_url_leaves_that_of_the_token_record() {
    let base_url = |config| {
        let author = OAuth2::new()
            .profile("salesforce")
            .base_url("{{auth|NOPE}}");
        resolve_with(author, salesforce(), config)
            .unwrap()
            .base_url
            .map(String::from)
    };
    assert_eq!(base_url(json!({"prodEnv": "test"})), None);
    let given = json!({"prodEnv": "test", "auth": "https://api.example.com"});
    assert_eq!(base_url(given).as_deref(), Some("https://api.example.com/"));
}

#[test]
fn plain_http_is_allowed_on_this_machine_and_on_named_hosts() {
    let token_url = |url: &str, hosts: &str| {
        let definition = with(|o| o["token_uri"] = json!(url));
        let hosts = hosts.to_owned();
        let variables = move |name: &str| match name {
            "ELASTICIO_OAUTH_HTTP_HOSTS" => Some(hosts.clone()),
            _ => env(name),
        };
        let definition = descriptor(definition);
        let resolved = OAuth2::new().resolve(&definition, &json!({}), None, &variables);
        resolved.map(|resolved| resolved.client.unwrap().token_url.to_string())
    };
    for (url, hosts) in [
        ("http://127.0.0.1:8080/token", ""),
        ("http://idp.internal/token", "idp.internal"),
        (
            "http://IDP.internal:8080/token",
            "api.internal, Idp.Internal",
        ),
        ("http://idp.internal:8080/token", "idp.internal:8080"),
        ("http://idp.internal/token", "idp.internal:80"),
        ("http://idp.internal/token", "http://idp.internal/"),
        ("http://idp.internal./token", "idp.internal"),
        ("http://[fd00::1]/token", "fd00::1"),
        ("http://[fd00::1]:81/token", "[fd00::1]:81"),
        ("http://bücher.internal/token", "bücher.internal"),
    ] {
        let url = token_url(url, hosts).unwrap();
        assert!(
            url.starts_with("http://") && url.ends_with("/token"),
            "{url}"
        );
    }
    for (url, hosts) in [
        ("http://idp.internal/token", ""),
        ("http://idp.internal/token", "internal"),
        ("http://idp.internal.evil.test/token", "idp.internal"),
        ("http://idp.internal:81/token", "idp.internal:8080"),
        ("http://[fd00::2]/token", "fd00::1"),
        ("ftp://idp.internal/token", "idp.internal"),
    ] {
        let error = token_url(url, hosts).unwrap_err().to_string();
        assert!(
            error.contains("\"token_uri\"")
                && error.contains("it must begin with https://")
                && error.contains("ELASTICIO_OAUTH_HTTP_HOSTS"),
            "{error}"
        );
    }
}
