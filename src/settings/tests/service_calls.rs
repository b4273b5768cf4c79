//! What one-time calls are told by variables.

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
    // method, what is changed, what comes of it
    for (method, change, expected) in [
        (
            Some("verifyCredentials"),
            ("POST_RESULT_URL", ""),
            "fatal: ELASTICIO_POST_RESULT_URL is not provided",
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
            r#"refused: Unknown service method "doSomething""#,
        ),
        (
            None,
            ("CFG", ""),
            "refused: No service method given: expected verifyCredentials, getMetaModel or selectModel",
        ),
        (
            Some("selectModel"),
            ("CFG", ""),
            "refused: ELASTICIO_CFG is not provided",
        ),
        (
            Some("selectModel"),
            ("CFG", "{"),
            "refused: Unable to parse CFG",
        ),
        (
            Some("selectModel"),
            ("API_URI", ""),
            "refused: ELASTICIO_API_URI is not provided",
        ),
        (
            Some("selectModel"),
            ("API_USERNAME", ""),
            "refused: ELASTICIO_API_USERNAME is not provided",
        ),
        (
            Some("selectModel"),
            ("API_KEY", ""),
            "refused: ELASTICIO_API_KEY is not provided",
        ),
        (
            Some("selectModel"),
            ("ACTION_OR_TRIGGER", ""),
            "refused: ELASTICIO_ACTION_OR_TRIGGER is not provided",
        ),
        (
            Some("getMetaModel"),
            ("ACTION_OR_TRIGGER", ""),
            "refused: ELASTICIO_ACTION_OR_TRIGGER is not provided",
        ),
        (
            Some("selectModel"),
            ("GET_MODEL_METHOD", ""),
            "refused: ELASTICIO_GET_MODEL_METHOD is not provided",
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
            ServiceStart::Invalid(_, message) => format!("refused: {message}"),
            ServiceStart::NoResultTarget(message) => format!("fatal: {message}"),
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
