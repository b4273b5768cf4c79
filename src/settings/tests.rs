//! What variables become.

mod service_calls;

use super::{parse::*, *};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use std::collections::HashMap;

/// Variables of a step in run mode, prefixed, with `changes` over them: an absent value takes a variable away.
fn read(changes: &[(&str, Option<&str>)]) -> Result<Settings, SettingsError> {
    let mut variables: HashMap<String, String> = [
        ("FLOW_ID", "flow1"),
        ("EXEC_ID", "exec1"),
        ("STEP_ID", "step_1"),
        ("CONTAINER_ID", "cont1"),
        ("WORKSPACE_ID", "ws1"),
        ("USER_ID", "user1"),
        ("COMP_ID", "comp1"),
        ("FUNCTION", "list"),
        ("API_URI", "http://localhost:9000//"),
        ("API_USERNAME", "u"),
        ("API_KEY", "top-secret-key"),
        ("AMQP_URI", "amqp://guest:top-secret-guest@localhost"),
        ("LISTEN_MESSAGES_ON", "queue"),
        ("PUBLISH_MESSAGES_TO", "exchange"),
        ("DATA_ROUTING_KEY", "data"),
        ("ERROR_ROUTING_KEY", "error"),
        ("REBOUND_ROUTING_KEY", "rebound"),
        ("SNAPSHOT_ROUTING_KEY", "snapshot"),
        ("MESSAGE_CRYPTO_PASSWORD", "top-secret-password"),
        ("MESSAGE_CRYPTO_IV", "iv=any16_symbols"),
    ]
    .iter()
    .map(|(name, value)| (format!("ELASTICIO_{name}"), (*value).to_owned()))
    .collect();
    for (name, value) in changes {
        match value {
            Some(value) => variables.insert((*name).to_owned(), (*value).to_owned()),
            None => variables.remove(*name),
        };
    }
    Settings::read(|name| variables.get(name).cloned())
}

fn run(settings: Settings) -> RunSettings {
    match settings.mode {
        Mode::Run(run) => *run,
        Mode::ShutdownHook => panic!("expected run mode"),
    }
}

#[test]
fn unbound_routing_keys_end_the_flow_unless_told_otherwise() {
    for (text, is_error, warns) in [
        (None, false, false),
        (Some(""), false, false),
        (Some("end-of-flow"), false, false),
        (Some("error"), true, false),
        (Some("Error"), true, false),
        (Some("true"), false, true),
    ] {
        let settings = read(&[("ELASTICIO_UNBOUND_ROUTING_KEYS", text)]).unwrap();
        let warned = settings
            .warnings
            .iter()
            .any(|warning| warning.contains("UNBOUND_ROUTING_KEYS"));
        let amqp = run(settings).amqp;
        assert_eq!(
            (amqp.absence_is_error, warned),
            (is_error, warns),
            "{text:?}"
        );
        assert_eq!(amqp.binding_timeout, Duration::from_secs(30));
    }
}

#[test]
fn numbers_are_read_as_javascript_reads_them() {
    let int = |value, garbage| Some(Integer { value, garbage });
    for (text, expected) in [
        ("", None),
        ("abc", None),
        ("Infinity", None),
        ("-", None),
        ("0x", None),
        ("0", int(0, false)),
        ("-1", int(-1, false)),
        ("+4", int(4, false)),
        ("5abc", int(5, true)),
        ("0x10", int(16, false)),
        ("-0XfF", int(-255, false)),
        ("010", int(10, false)),
        ("1e3", int(1, true)),
        ("3.9", int(3, true)),
        (" 7 ", int(7, false)),
        ("\u{feff}\u{a0}\t8", int(8, false)),
        ("5 6", int(5, true)),
        ("99999999999999999999", int(i64::MAX, false)),
    ] {
        assert_eq!(parse_int(text), expected, "{text:?}");
    }
}

#[test]
fn invalid_numbers_use_the_default_and_warn() {
    for (text, expected, told) in [
        ("", 20, false),
        ("7", 7, false),
        (" 7 ", 7, false),
        ("0x10", 16, false),
        ("0", 20, true),
        ("abc", 20, true),
        ("Infinity", 20, true),
        ("-1", 20, true),
        ("5abc", 5, true),
        ("3.9", 3, true),
    ] {
        let settings = read(&[("ELASTICIO_REBOUND_LIMIT", Some(text))]).unwrap();
        let told_of = settings
            .warnings
            .iter()
            .any(|w| w.starts_with("ELASTICIO_REBOUND_LIMIT "));
        assert_eq!(
            (run(settings).amqp.rebound_limit, told_of),
            (expected, told),
            "{text:?}"
        );
    }
}

#[test]
fn all_texts_except_empty_and_false_are_true() {
    for (text, expected, told) in [
        (None, false, false),
        (Some(""), false, false),
        (Some("false"), false, false),
        (Some("true"), true, false),
        (Some("1"), true, false),
        (Some("0"), true, true),
        (Some("no"), true, true),
        (Some("FALSE"), true, true),
        (Some(" "), true, true),
    ] {
        let settings = read(&[("ELASTICIO_STARTUP_REQUIRED", text)]).unwrap();
        let told_of = settings
            .warnings
            .iter()
            .any(|w| w.starts_with("ELASTICIO_STARTUP_REQUIRED "));
        assert_eq!(
            (run(settings).startup_required, told_of),
            (expected, told),
            "{text:?}"
        );
    }
}

#[test]
fn header_names_are_camel_cased_as_lodash_does() {
    for (name, expected) in [
        ("SECOND_ELASTICIO_ENV", "secondElasticioEnv"),
        ("X2Y", "x2Y"),
        ("FOO_BAR", "fooBar"),
        ("fooBar", "fooBar"),
        ("FOOBar", "fooBar"),
        ("FOObar", "foObar"),
        ("FOO", "foo"),
        ("foo12BAR", "foo12Bar"),
        ("1ST_TRY", "1stTry"),
        ("MY_1ST_VAR", "my1stVar"),
        ("MY_11ST_VAR", "my11stVar"),
        ("MY_2TH_VAR", "my2ThVar"),
        ("__a__b__", "aB"),
        ("don't_stop", "dontStop"),
        ("", ""),
    ] {
        assert_eq!(camel_case(name), expected, "{name:?}");
    }
}

#[test]
fn optional_settings_have_their_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.warnings, Vec::<String>::new());
    assert_eq!(settings.identity.step_id, "step_1");
    assert_eq!(settings.api.uri, "http://localhost:9000");
    assert_eq!(settings.oauth_mode, None);
    assert_eq!(
        (settings.api.attempts, settings.api.retry_delay),
        (None, None)
    );
    assert_eq!(settings.api.configuration_limit, 32 << 20);
    assert!(settings.object_storage.is_none() && settings.additional_headers.is_empty());
    let run = run(settings);
    assert_eq!(
        (
            run.protocol_version,
            run.lightweight_threshold,
            run.outgoing_size_limit
        ),
        (1, 1 << 20, 10 << 20)
    );
    assert_eq!(
        (run.rates.data, run.rates.error, run.rates.snapshot),
        (10, 2, 2)
    );
    assert_eq!(run.rates.interval, Duration::from_millis(100));
    assert_eq!(run.shutdown_timeout, Duration::from_secs(25));
    assert!(!run.oauth_lock);
    assert!(
        run.error_replies
            && !run.emit_lightweight
            && !run.input_is_error
            && !run.no_self_passthrough
    );
    assert_eq!(
        (
            run.amqp.prefetch,
            run.amqp.rebound_limit,
            run.amqp.persistent
        ),
        (1, 20, false)
    );
    assert_eq!(run.amqp.rebound_initial_expiration, Duration::from_secs(15));
    assert_eq!(run.amqp.publish_retry_delay, Duration::from_millis(100));
    assert_eq!(run.amqp.publish_max_retry_delay, Duration::from_secs(300));
    assert_eq!(
        (run.amqp.publish_attempts, run.amqp.connect_retries),
        (None, 3)
    );
    assert_eq!(run.amqp.connect_retry_delay, Duration::from_millis(100));
    assert_eq!(run.amqp.update_keys_key, None);
}

#[test]
fn all_invalid_variables_are_named_without_values() {
    let problems = read(&[
        ("ELASTICIO_FLOW_ID", None),
        ("ELASTICIO_STEP_ID", Some("")),
        ("ELASTICIO_API_URI", Some("ftp://user:top-secret-user@host")),
        (
            "ELASTICIO_AMQP_URI",
            Some("http://guest:top-secret-guest@localhost"),
        ),
        ("ELASTICIO_MESSAGE_CRYPTO_IV", Some("top-secret-iv")),
        ("ELASTICIO_OAUTH_MODE", Some("top-secret-mode")),
        ("ELASTICIO_OAUTH_LOCK", Some("top-secret-lock")),
    ])
    .unwrap_err();
    let named: Vec<_> = problems.0.iter().map(|p| p.variable.as_str()).collect();
    assert_eq!(
        named,
        [
            "ELASTICIO_FLOW_ID",
            "ELASTICIO_STEP_ID",
            "ELASTICIO_API_URI",
            "ELASTICIO_OAUTH_MODE",
            "ELASTICIO_AMQP_URI",
            "ELASTICIO_MESSAGE_CRYPTO_IV",
            "ELASTICIO_OAUTH_LOCK"
        ]
    );
    let text = problems.to_string();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(!text.contains("top-secret"), "{text}");
}

#[test]
fn settings_print_no_secrets() {
    let settings = read(&[
        ("ELASTICIO_OBJECT_STORAGE_URI", Some("http://storage/")),
        ("ELASTICIO_OBJECT_STORAGE_TOKEN", Some("top-secret-token")),
    ])
    .unwrap();
    assert!(
        !format!("{settings:?}").contains("top-secret"),
        "{settings:?}"
    );
    assert_eq!(
        run(settings).amqp.uri.expose_secret(),
        "amqp://guest:top-secret-guest@localhost"
    );
}

#[test]
fn the_parsed_shutdown_flag_decides_what_is_required() {
    let without_broker = |flag| {
        read(&[
            ("ELASTICIO_AMQP_URI", None),
            ("ELASTICIO_HOOK_SHUTDOWN", Some(flag)),
        ])
    };
    assert!(matches!(
        without_broker("true").unwrap().mode,
        Mode::ShutdownHook
    ));
    assert_eq!(
        without_broker("false").unwrap_err().0[0].variable,
        "ELASTICIO_AMQP_URI"
    );
}

#[test]
fn an_oauth_mode_must_match_a_name_exactly() {
    use OAuthMode::*;
    for (text, expected) in [
        ("", Some(None)),
        ("every-access", Some(Some(EveryAccess))),
        ("on-401", Some(Some(On401))),
        ("expiry", Some(Some(Expiry))),
        ("platform-secret", Some(Some(PlatformSecret))),
        ("Expiry", None),
        ("always", None),
    ] {
        let read = read(&[("ELASTICIO_OAUTH_MODE", Some(text))])
            .ok()
            .map(|settings| settings.oauth_mode);
        assert_eq!(read, expected, "{text:?}");
        if let Some(Some(mode)) = expected {
            assert_eq!(mode.to_string(), text);
        }
    }
}

#[test]
fn the_lock_of_oauth2_is_the_brokers_or_none() {
    for (text, expected) in [
        (None, Some(false)),
        (Some(""), Some(false)),
        (Some("broker"), Some(true)),
        (Some("true"), None),
    ] {
        let read = read(&[("ELASTICIO_OAUTH_LOCK", text)])
            .ok()
            .map(|settings| run(settings).oauth_lock);
        assert_eq!(read, expected, "{text:?}");
    }
}

#[test]
fn a_service_call_knows_the_mode_of_oauth2() {
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
        "ELASTICIO_OAUTH_MODE is none of every-access, on-401, expiry and platform-secret"
    );
}

#[test]
fn the_error_input_format_is_known_in_any_letter_case() {
    for (text, is_error, told) in [
        ("error", true, false),
        ("ERROR", true, false),
        ("default", false, false),
        ("x", false, true),
    ] {
        let settings = read(&[("ELASTICIO_INPUT_FORMAT", Some(text))]).unwrap();
        let told_of = !settings.warnings.is_empty();
        assert_eq!(
            (run(settings).input_is_error, told_of),
            (is_error, told),
            "{text}"
        );
    }
}

#[test]
fn additional_headers_are_the_named_variables_that_are_set() {
    let settings = read(&[
        (
            "ELASTICIO_ADDITIONAL_VARS_FOR_HEADERS",
            Some("ELASTICIO_FIRST_VAR, SECOND_ELASTICIO_ENV,,UNSET,EMPTY"),
        ),
        ("ELASTICIO_FIRST_VAR", Some("1")),
        ("SECOND_ELASTICIO_ENV", Some("2")),
        ("EMPTY", Some("")),
    ])
    .unwrap();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        settings.additional_headers,
        [
            header("firstVar", "1"),
            header("secondElasticioEnv", "2"),
            header("empty", "")
        ]
    );
}

#[test]
fn object_storage_needs_address_and_token() {
    const URI: (&str, Option<&str>) = ("ELASTICIO_OBJECT_STORAGE_URI", Some("http://storage/"));
    const TOKEN: (&str, Option<&str>) = ("ELASTICIO_OBJECT_STORAGE_TOKEN", Some("t"));
    for (variables, used, warnings) in [
        (vec![], false, 0),
        (vec![URI], false, 1),
        (vec![TOKEN], false, 1),
        (vec![URI, TOKEN], true, 0),
        (
            vec![("ELASTICIO_OBJECT_STORAGE_URI", Some("storage")), TOKEN],
            false,
            1,
        ),
        (
            vec![("ELASTICIO_EMIT_LIGHTWEIGHT_MESSAGE", Some("true"))],
            false,
            1,
        ),
    ] {
        let settings = read(&variables).unwrap();
        assert_eq!(settings.object_storage.is_some(), used, "{variables:?}");
        assert_eq!(settings.warnings.len(), warnings, "{variables:?}");
    }
}

#[test]
fn object_storage_limits_out_of_range_are_the_defaults() {
    for (retry, timeout, expected, warnings) in [
        ("", "", (None, 10_000), 0),
        ("4", "500", (Some(4), 500), 0),
        ("0", "499", (Some(2), 10_000), 2),
        ("5", "20001", (Some(2), 10_000), 2),
        ("many", "20000", (Some(2), 20_000), 1),
    ] {
        let settings = read(&[
            ("ELASTICIO_OBJECT_STORAGE_URI", Some("http://storage/")),
            ("ELASTICIO_OBJECT_STORAGE_TOKEN", Some("t")),
            ("REQUEST_MAX_RETRY", Some(retry)),
            ("REQUEST_TIMEOUT", Some(timeout)),
        ])
        .unwrap();
        assert_eq!(settings.warnings.len(), warnings, "{retry:?} {timeout:?}");
        let storage = settings.object_storage.unwrap();
        assert_eq!(
            (storage.retries, storage.timeout.as_millis()),
            expected,
            "{retry:?} {timeout:?}"
        );
    }
}

#[test]
fn tries_are_counted_where_a_variable_says_how_many() {
    let (attempts, delay) = (
        "ELASTICIO_API_REQUEST_RETRY_ATTEMPTS",
        "ELASTICIO_API_REQUEST_RETRY_DELAY",
    );
    for (variables, expected, warnings) in [
        (&[(attempts, Some(""))][..], (None, None), 0),
        (&[(attempts, Some("7"))], (Some(7), None), 0),
        (&[(delay, Some("50"))], (None, Some(50)), 0),
        (
            &[(attempts, Some("0")), (delay, Some("soon"))],
            (Some(3), Some(100)),
            2,
        ),
    ] {
        let settings = read(variables).unwrap();
        let api = (
            settings.api.attempts,
            settings.api.retry_delay.map(|delay| delay.as_millis()),
        );
        assert_eq!(
            (api, settings.warnings.len()),
            (expected, warnings),
            "{variables:?}"
        );
    }
}

#[test]
fn in_one_time_calls_there_are_few_tries() {
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
            panic!("the call is refused")
        };
        assert_eq!((target.attempts, settings.api.attempts), (api, Some(api)));
        assert_eq!(settings.api.retry_delay, Some(Duration::from_millis(100)));
        assert_eq!(settings.object_storage.unwrap().retries, Some(storage));
    }
}

#[test]
fn answers_are_read_up_to_what_the_variables_say() {
    let storage = [
        ("ELASTICIO_OBJECT_STORAGE_URI", Some("http://storage/")),
        ("ELASTICIO_OBJECT_STORAGE_TOKEN", Some("t")),
        ("ELASTICIO_CONFIGURATION_SIZE_LIMIT", Some("5000")),
        ("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT", Some("7000")),
    ];
    let settings = read(&storage).unwrap();
    assert_eq!(
        (
            settings.api.configuration_limit,
            settings.object_storage.unwrap().size_limit
        ),
        (5000, Some(7000))
    );
    let storage = read(&storage[..2]).unwrap().object_storage.unwrap();
    assert_eq!(storage.size_limit, None);
    assert!(share_of_one_body() > 0);
}

#[test]
fn the_components_folder_is_below_the_working_directory() {
    for (text, expected) in [
        (None, ""),
        (Some(""), ""),
        (Some("a/b"), "a/b"),
        (Some("/a"), "a"),
    ] {
        let path = component_path(|name| {
            (name == "ELASTICIO_COMPONENT_PATH")
                .then(|| text.map(str::to_owned))
                .flatten()
        });
        assert_eq!(path, PathBuf::from(expected), "{text:?}");
    }
}

#[test]
fn only_variables_with_the_prefix_are_the_platforms() {
    assert!(any_platform_variable(["HOME", "ELASTICIO_FLOW_ID"]));
    assert!(!any_platform_variable(["HOME", "MY_ELASTICIO_FLOW_ID"]));
}

#[test]
fn a_log_level_that_is_not_known_is_info_and_told() {
    use tracing::level_filters::LevelFilter;
    for (text, level, told) in [
        (None, LevelFilter::INFO, 0),
        (Some("DEBUG"), LevelFilter::DEBUG, 0),
        (Some("fatal"), LevelFilter::ERROR, 0),
        (Some("30"), LevelFilter::INFO, 1),
        (Some("loud"), LevelFilter::INFO, 1),
    ] {
        let log = LogSettings::read(|name| {
            (name == "LOG_LEVEL")
                .then(|| text.map(str::to_owned))
                .flatten()
        });
        assert_eq!((log.level, log.warnings.len()), (level, told), "{text:?}");
    }
}

#[test]
fn the_log_carries_the_context_variables_that_are_set() {
    let log = LogSettings::read(|name| match name {
        "ELASTICIO_FLOW_ID" => Some("flow1".into()),
        "ELASTICIO_STEP_ID" => Some(String::new()),
        "ELASTICIO_API_KEY" => Some("top-secret".into()),
        _ => None,
    });
    assert_eq!(
        log.context,
        [("ELASTICIO_FLOW_ID".to_owned(), "flow1".to_owned())]
    );
    assert_eq!(log.tag.as_deref(), Some("flow1"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text: String) {
        parse_int(&text);
        camel_case(&text);
        for name in ["ELASTICIO_REBOUND_LIMIT", "ELASTICIO_RABBITMQ_PREFETCH_SAILOR", "ELASTICIO_SHUTDOWN_TIMEOUT",
                     "ELASTICIO_ADDITIONAL_VARS_FOR_HEADERS", "ELASTICIO_API_URI", "REQUEST_TIMEOUT"] {
            let _ = read(&[(name, Some(&text))]);
        }
    }

    #[test]
    fn a_prefetch_up_to_65535_is_used_unchanged(n in 1..=u16::MAX) {
        let settings = read(&[("ELASTICIO_RABBITMQ_PREFETCH_SAILOR", Some(&n.to_string()))]).unwrap();
        prop_assert_eq!(run(settings).amqp.prefetch, n);
    }

    #[test]
    fn a_prefetch_above_65535_becomes_65535(n in 65_536_u64..) {
        let settings = read(&[("ELASTICIO_RABBITMQ_PREFETCH_SAILOR", Some(&n.to_string()))]).unwrap();
        prop_assert_eq!(settings.warnings.len(), 1);
        prop_assert_eq!(run(settings).amqp.prefetch, u16::MAX);
    }
}
