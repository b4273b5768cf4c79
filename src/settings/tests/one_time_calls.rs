//! The variables of one-time calls.

use super::*;

#[test]
fn a_one_time_call_reports_the_first_invalid_variable() {
    let complete = [
        ("POST_RESULT_URL", "http://u:p@localhost/result"),
        ("CFG", r#"{"a": 1}"#),
        ("API_URI", "http://localhost"),
        ("API_USERNAME", "u"),
        ("API_KEY", "k"),
        ("ACTION_OR_TRIGGER", "list"),
        ("GET_MODEL_METHOD", "folders"),
    ];
    // The method, the changed variable, the outcome.
    for (method, change, expected) in [
        (
            Some("verifyCredentials"),
            ("POST_RESULT_URL", ""),
            "no target: ELASTICIO_POST_RESULT_URL is not provided",
        ),
        (
            Some("verifyCredentials"),
            ("GET_MODEL_METHOD", ""),
            "VerifyCredentials",
        ),
        (
            Some("VERIFYCREDENTIALS"),
            ("ACTION_OR_TRIGGER", ""),
            "VerifyCredentials",
        ),
        (
            Some("doSomething"),
            ("CFG", ""),
            "invalid: Unknown service method \"doSomething\"\nThere are: verifyCredentials, getMetaModel, selectModel",
        ),
        (
            Some("verifyCredential"),
            ("CFG", ""),
            "invalid: Unknown service method \"verifyCredential\"\nThere are: verifyCredentials, getMetaModel, selectModel (did you mean \"verifyCredentials\"?)",
        ),
        (
            None,
            ("CFG", ""),
            "invalid: No service method given: expected verifyCredentials, getMetaModel or selectModel",
        ),
        (
            Some("selectModel"),
            ("CFG", ""),
            "invalid: ELASTICIO_CFG is not provided",
        ),
        (
            Some("selectModel"),
            ("CFG", "{"),
            "invalid: Unable to parse CFG",
        ),
        (
            Some("selectModel"),
            ("API_URI", ""),
            "invalid: ELASTICIO_API_URI is not provided",
        ),
        (
            Some("selectModel"),
            ("API_USERNAME", ""),
            "invalid: ELASTICIO_API_USERNAME is not provided",
        ),
        (
            Some("selectModel"),
            ("API_KEY", ""),
            "invalid: ELASTICIO_API_KEY is not provided",
        ),
        (
            Some("selectModel"),
            ("ACTION_OR_TRIGGER", ""),
            "invalid: ELASTICIO_ACTION_OR_TRIGGER is not provided",
        ),
        (
            Some("getMetaModel"),
            ("ACTION_OR_TRIGGER", ""),
            "invalid: ELASTICIO_ACTION_OR_TRIGGER is not provided",
        ),
        (
            Some("selectModel"),
            ("GET_MODEL_METHOD", ""),
            "invalid: ELASTICIO_GET_MODEL_METHOD is not provided",
        ),
        (
            Some("getMetaModel"),
            ("GET_MODEL_METHOD", ""),
            r#"GetMetaModel { function: "list" }"#,
        ),
        (
            Some("selectModel"),
            ("", ""),
            r#"SelectModel { function: "list", model: "folders" }"#,
        ),
    ] {
        let mut variables = HashMap::from(complete);
        variables.insert(change.0, change.1);
        let get = |name: &str| {
            variables
                .get(name.strip_prefix("ELASTICIO_")?)
                .map(|v| (*v).to_owned())
        };
        let outcome = match ServiceSettings::read(method, get) {
            ServiceStart::Ready(_, settings) => format!("{:?}", settings.method),
            ServiceStart::Invalid(_, message) => format!("invalid: {message}"),
            ServiceStart::NoResultTarget(message) => format!("no target: {message}"),
        };
        assert_eq!(outcome, expected, "{method:?} with {change:?}");
    }
}

#[test]
fn the_configuration_is_parsed_as_javascript_does() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (text, expected) in [
        (r#" {"a": "\ud800!"} "#.to_owned(), Some("\u{fffd}!")),
        (r#"{"a": "plain"}"#.to_owned(), Some("plain")),
        (
            format!(r#"{{"a": "deep", "b": {}}}"#, deep(999)),
            Some("deep"),
        ),
        (format!(r#"{{"a": "deep", "b": {}}}"#, deep(1000)), None),
    ] {
        let get = |name: &str| match name {
            "ELASTICIO_CFG" => Some(text.clone()),
            "ELASTICIO_OAUTH_MODE" => None,
            name => name
                .starts_with("ELASTICIO_")
                .then(|| "http://localhost".to_owned()),
        };
        let read = match ServiceSettings::read(Some("verifyCredentials"), get) {
            ServiceStart::Ready(_, settings) => settings.config["a"].as_str().map(str::to_owned),
            ServiceStart::Invalid(_, message) => {
                assert_eq!(message, "Unable to parse CFG");
                None
            }
            ServiceStart::NoResultTarget(message) => panic!("{message}"),
        };
        assert_eq!(read.as_deref(), expected);
    }
}

#[test]
fn a_one_time_call_reads_the_oauth_mode() {
    let call = |mode: &'static str| {
        let get = move |name: &str| match name {
            "ELASTICIO_OAUTH_MODE" => Some(mode.to_owned()),
            "ELASTICIO_CFG" => Some("{}".to_owned()),
            name => name
                .starts_with("ELASTICIO_")
                .then(|| "http://localhost".to_owned()),
        };
        match ServiceSettings::read(Some("verifyCredentials"), get) {
            ServiceStart::Ready(_, settings) => format!("{:?}", settings.oauth_mode),
            ServiceStart::Invalid(_, message) | ServiceStart::NoResultTarget(message) => message,
        }
    };
    assert_eq!(call(""), "None");
    assert_eq!(call("on-401"), "Some(On401)");
    assert_eq!(
        call("top-secret"),
        "ELASTICIO_OAUTH_MODE must be one of every-access, on-401, expiry, platform-secret"
    );
}

#[test]
fn one_time_calls_have_few_attempts() {
    for (count, api, storage) in [(None, 3, 2), (Some("4"), 4, 4)] {
        let get = |name: &str| match name {
            "ELASTICIO_CFG" => Some("{}".to_owned()),
            "ELASTICIO_OAUTH_MODE" => None,
            "ELASTICIO_API_REQUEST_RETRY_ATTEMPTS" | "REQUEST_MAX_RETRY" => {
                count.map(str::to_owned)
            }
            name => name
                .starts_with("ELASTICIO_")
                .then(|| "http://localhost".to_owned()),
        };
        let ServiceStart::Ready(target, settings) =
            ServiceSettings::read(Some("verifyCredentials"), get)
        else {
            panic!("a variable is invalid")
        };
        assert_eq!((target.attempts, settings.api.attempts), (api, Some(api)));
        assert_eq!(settings.api.retry_delay, Some(Duration::from_millis(100)));
        assert_eq!(settings.object_storage.unwrap().retries, Some(storage));
    }
}
