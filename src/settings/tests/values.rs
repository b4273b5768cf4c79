//! How the texts of variables are read.

use super::{
    super::parse::{Integer, camel_case, parse_int},
    *,
};
use proptest::prelude::*;

#[test]
fn numbers_are_read_as_in_javascript() {
    let int = |value, has_trailing_text| {
        Some(Integer {
            value,
            has_trailing_text,
        })
    };
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
    for (text, expected, warns) in [
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
        let warned = settings
            .warnings
            .iter()
            .any(|w| w.starts_with("ELASTICIO_REBOUND_LIMIT "));
        assert_eq!(
            (run(settings).amqp.rebound_limit, warned),
            (expected, warns),
            "{text:?}"
        );
    }
}

#[test]
fn all_texts_except_empty_and_false_are_true() {
    for (text, expected, warns) in [
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
        let warned = settings
            .warnings
            .iter()
            .any(|w| w.starts_with("ELASTICIO_STARTUP_REQUIRED "));
        assert_eq!(
            (run(settings).startup_required, warned),
            (expected, warns),
            "{text:?}"
        );
    }
}

#[test]
fn header_names_are_camel_case_as_in_lodash() {
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
