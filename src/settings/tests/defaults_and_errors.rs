//! Defaults, required variables, and what must not be printed.

use super::*;
use secrecy::ExposeSecret;

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
    assert!(run.oauth_lock && !run.deduplicate);
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
fn the_shutdown_flag_decides_what_is_required() {
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
fn the_component_path_is_relative() {
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
fn platform_variables_have_the_prefix() {
    assert!(is_platform_variable("ELASTICIO_FLOW_ID"));
    assert!(!is_platform_variable("HOME"));
    assert!(!is_platform_variable("MY_ELASTICIO_FLOW_ID"));
}

#[test]
fn what_is_no_level_in_log_level_is_ignored_with_a_warning() {
    use tracing::level_filters::LevelFilter;
    for (text, level, warns) in [
        (None, LevelFilter::INFO, 0),
        (Some("DEBUG"), LevelFilter::DEBUG, 0),
        (Some("fatal"), LevelFilter::ERROR, 0),
        (Some("off"), LevelFilter::OFF, 0),
        (Some("30"), LevelFilter::INFO, 1),
        (Some("warn,loud,sailor="), LevelFilter::WARN, 2),
        (
            Some("debug,a b=info,c[span]=info,=info"),
            LevelFilter::DEBUG,
            3,
        ),
        (Some("warn,sailor::broker=trace,"), LevelFilter::WARN, 0),
        (Some("loud"), LevelFilter::INFO, 1),
    ] {
        let log = LogSettings::read(|name| {
            (name == "LOG_LEVEL")
                .then(|| text.map(str::to_owned))
                .flatten()
        });
        assert_eq!((log.level, log.warnings.len()), (level, warns), "{text:?}");
        for warning in log.warnings {
            assert!(
                warning.starts_with("LOG_LEVEL contains \"")
                    && warning.contains("info,sailor::broker=debug"),
                "{warning}"
            );
        }
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
