//! Optional variables of a step.

use super::*;

#[test]
fn unbound_routing_keys_end_the_flow_by_default() {
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
            (amqp.unbound_is_error, warned),
            (is_error, warns),
            "{text:?}"
        );
        assert_eq!(amqp.binding_timeout, Duration::from_secs(30));
        assert_eq!(amqp.refusal_timeout, Duration::from_secs(60));
    }
}

#[test]
fn a_module_has_a_time_limit_only_if_it_is_set() {
    for (text, expected) in [
        (None, None),
        (Some("1500"), Some(1500)),
        (Some("0"), None),
        (Some("-1"), None),
        (Some("soon"), None),
    ] {
        let settings = read(&[("ELASTICIO_PROCESS_TIMEOUT", text)]).unwrap();
        let limit = run(settings).process_timeout;
        assert_eq!(limit, expected.map(Duration::from_millis), "{text:?}");
    }
}

#[test]
fn a_health_port_is_a_port_or_an_error() {
    for (text, expected) in [
        (None, Some(None)),
        (Some(""), Some(None)),
        (Some("9100"), Some(Some(9100))),
        (Some("65535"), Some(Some(65535))),
        (Some("0"), None),
        (Some("65536"), None),
        (Some("-1"), None),
        (Some("9100 "), None),
        (Some("0.0.0.0:9100"), None),
    ] {
        match read(&[("ELASTICIO_HEALTH_PORT", text)]) {
            Ok(settings) => assert_eq!(Some(run(settings).health_port), expected, "{text:?}"),
            Err(error) => {
                assert_eq!(expected, None, "{error}");
                let variable = &error.0[0].variable;
                assert_eq!(variable, "ELASTICIO_HEALTH_PORT", "{text:?}");
            }
        }
    }
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
fn the_oauth_lock_is_used_unless_it_is_off() {
    for (text, expected) in [
        (None, Some(true)),
        (Some(""), Some(true)),
        (Some("broker"), Some(true)),
        (Some("off"), Some(false)),
        (Some("Off"), None),
        (Some("true"), None),
        (Some("false"), None),
    ] {
        let read = read(&[("ELASTICIO_OAUTH_LOCK", text)])
            .ok()
            .map(|settings| run(settings).oauth_lock);
        assert_eq!(read, expected, "{text:?}");
    }
}

#[test]
fn the_input_format_is_read_in_any_letter_case() {
    for (text, is_error, warns) in [
        ("error", true, false),
        ("ERROR", true, false),
        ("default", false, false),
        ("x", false, true),
    ] {
        let settings = read(&[("ELASTICIO_INPUT_FORMAT", Some(text))]).unwrap();
        let warned = !settings.warnings.is_empty();
        assert_eq!(
            (run(settings).input_is_error, warned),
            (is_error, warns),
            "{text}"
        );
    }
}

#[test]
fn additional_headers_are_the_listed_variables_that_are_set() {
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
fn object_storage_needs_a_uri_and_a_token() {
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
fn attempts_are_limited_only_by_a_variable() {
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
fn size_limits_come_from_variables() {
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
    let limited = [&storage[..2], &[("ELASTICIO_MEMORY_LIMIT", Some("64"))]].concat();
    let storage = read(&limited).unwrap().object_storage.unwrap();
    let shares = MemoryShares::new(Some(64 << 20));
    assert_eq!(storage.size_limit, Some(shares.largest_body()));
}

#[test]
fn the_memory_limit_can_be_set() {
    for (text, limit) in [("64", 64 << 20), ("1 GiB", 1 << 30)] {
        let settings = read(&[("ELASTICIO_MEMORY_LIMIT", Some(text))]).unwrap();
        assert_eq!(
            run(settings).amqp.memory,
            MemoryShares::new(Some(limit)),
            "{text}"
        );
    }
    let settings = read(&[("ELASTICIO_MEMORY_LIMIT", Some("much"))]).unwrap();
    assert!(
        settings
            .warnings
            .iter()
            .any(|warning| warning.starts_with("ELASTICIO_MEMORY_LIMIT must be")),
        "{:?}",
        settings.warnings
    );
}
