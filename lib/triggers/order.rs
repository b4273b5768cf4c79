//! The values that say when an item changed: times in any notation, or numbers that grow.
//!
//! They are compared by their meaning: APIs omit zeros and use different time zones. Other texts are compared as
//! texts.

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan};
use sailor::http;
use serde_json::Value;
use std::cmp::Ordering;

/// A second in nanoseconds. A number is counted in billionths as well, so this is also the number 1.
const ONE: i128 = 1_000_000_000;

/// What a value is. Only values of one kind have an order among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Time,
    Text,
}

impl Kind {
    pub fn of(value: &Value) -> Self {
        match (number(value), http::time_of(value)) {
            (Some(_), _) => Self::Number,
            (None, Some(_)) => Self::Time,
            (None, None) => Self::Text,
        }
    }
}

/// The order of two values of one kind, or of a time and the number for one.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a.cmp(&b);
    }
    match (http::time_of(a), http::time_of(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => text_of(a).cmp(&text_of(b)),
    }
}

/// Returns whether a value can be ordered: texts that are meant as times must be readable, or they would be ordered by
/// their letters.
pub fn is_readable(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            number(value).is_some()
                || !http::looks_like_time(text)
                || http::time_of(value).is_some()
        }
        Value::Number(_) => true,
        _ => false,
    }
}

/// A value as text for a query or a header.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time for `If-Modified-Since`: one second before the value, because the header has whole seconds, and the API
/// returns only changes after it.
pub fn http_date(value: &Value) -> anyhow::Result<String> {
    let since = http::time_of(value).and_then(|time| time.checked_sub(1.second()).ok());
    let since = since
        .filter(|since| *since >= Timestamp::UNIX_EPOCH)
        .context("If-Modified-Since needs times such as 2026-01-31T12:00:00Z in `changedField`")?;
    Ok(http::http_date(since))
}

/// A number in billionths; `None` for other texts.
fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => match number.as_i128() {
            Some(whole) => whole.checked_mul(ONE),
            None => number.as_f64().map(|number| (number * ONE as f64) as i128),
        },
        Value::String(text) => decimal(text),
        _ => None,
    }
}

/// A number as text, to nine decimals.
fn decimal(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanos: i128 = format!("{fraction:0<9.9}")
        .parse()
        .ok()
        .filter(|_| is_fraction)?;
    let whole: i64 = whole.parse().ok()?;
    Some(i128::from(whole) * ONE + if text.starts_with('-') { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::Strategy as _;
    use serde_json::json;

    #[test]
    fn values_are_ordered_by_their_meaning() {
        for (earlier, later) in [
            (
                json!("2026-01-31T12:00:00Z"),
                json!("2026-01-31T12:00:00.500Z"),
            ),
            (
                json!("2026-01-31T12:00:00+02:00"),
                json!("2026-01-31T11:00:00Z"),
            ),
            (
                json!("2026-01-31T12:00:00.000+0000"),
                json!("2026-01-31T12:00:00.001+0000"),
            ),
            (json!("2026-01-31"), json!("2026-02-01")),
            (json!("2024-02-29"), json!("2024-03-01")),
            (json!("2025-12-31T23:59:59"), json!("2026-01-01 00:00:00")),
            (json!("1969-12-31"), json!("1970-01-01")),
            (
                json!("2026-01-31t12:00:00z"),
                json!("2026-01-31 12:00:00,5-0730"),
            ),
            (
                json!("2026-01-31T12:00:00.1234567890123Z"),
                json!("2026-01-31T12:00:00.124-00:00"),
            ),
            (
                json!("Saturday, 31-Jan-26 12:00:00 GMT"),
                json!("Sat, 31 Jan 2026 12:00:01 GMT"),
            ),
            (
                json!("Sat Jan 31 12:00:00 2026"),
                json!("2026-01-31T12:00:01Z"),
            ),
            (json!(9), json!(10)),
            (json!(1), json!(1.5)),
            (json!("9"), json!("10")),
            (
                json!(9_007_199_254_740_992_u64),
                json!(9_007_199_254_740_993_u64),
            ),
            (json!("etag-a"), json!("etag-b")),
        ] {
            assert_eq!(
                compare(&earlier, &later),
                Ordering::Less,
                "{earlier} {later}"
            );
            assert_eq!(
                compare(&later, &earlier),
                Ordering::Greater,
                "{earlier} {later}"
            );
        }
        assert_eq!(
            compare(
                &json!("2026-01-31T12:00:00Z"),
                &json!("2026-01-31T13:00:00.000+01:00")
            ),
            Ordering::Equal
        );
    }

    #[test]
    fn http_dates_are_rounded_down_one_second() {
        assert_eq!(
            http_date(&json!("1994-11-06T08:49:37.900Z")).unwrap(),
            "Sun, 06 Nov 1994 08:49:36 GMT"
        );
        for none in [
            json!("yesterday"),
            json!("1960-01-01"),
            json!(u64::MAX),
            json!(null),
        ] {
            assert!(http_date(&none).is_err(), "{none}");
        }
    }

    #[test]
    fn parsing_any_text_as_a_time_never_panics() {
        proptest::proptest!(|(text in "[0-9T:.Zé+ -]{0,32}")| {
            let value = Value::String(text);
            compare(&value, &json!("2026-01-01"));
            let _ = http_date(&value);
        });
    }

    #[test]
    fn values_of_one_kind_have_a_total_order() {
        let value = proptest::prop_oneof![
            "[0-9]{1,3}(\\.[0-9]{1,2})?".prop_map(Value::from),
            (-50..50_i64).prop_map(Value::from),
            "[0-9a-f]{1,3}".prop_map(Value::from),
            "2026-0[1-9]-0[1-9]T0[0-9]:00:00(Z|\\+0[1-9]:00)".prop_map(Value::from),
            "(Sat|Sun), 0[1-9] Jan 2026 0[0-9]:00:00 [+-]0100".prop_map(Value::from),
        ];
        proptest::proptest!(|(values in proptest::collection::vec(value, 0..60))| {
            for kind in [Kind::Number, Kind::Time, Kind::Text] {
                let mut values: Vec<_> = values.iter().filter(|value| Kind::of(value) == kind).collect();
                // Panics if it finds no total order.
                values.sort_by(|a, b| compare(a, b));
                for (at, earlier) in values.iter().enumerate() {
                    for later in &values[at..] {
                        assert_ne!(compare(earlier, later), Ordering::Greater, "{earlier} {later}");
                        assert_eq!(compare(later, earlier), compare(earlier, later).reverse());
                    }
                }
            }
        });
    }
}
