//! Values that tell when an item changed: times as ISO 8601 writes them, or numbers that grow. They are compared by what
//! they mean, since APIs leave out zeros and write their own time zone; other texts are compared as texts.

use anyhow::Context as _;
use serde_json::Value;
use std::{
    cmp::Ordering,
    time::{Duration, UNIX_EPOCH},
};

/// What a second and one of a number are counted as.
const ONE: i128 = 1_000_000_000;
/// The end of the year 9999: HTTP has four digits for a year.
const LAST_SECOND: i128 = 253_402_300_799;

/// The order of two values of one field.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (measure(a), measure(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => text_of(a).cmp(&text_of(b)),
    }
}

/// A value as a query or a header holds it.
pub fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A time for `If-Modified-Since`. It counts whole seconds and asks for later ones, so it is the second before.
pub fn http_date(value: &Value) -> anyhow::Result<String> {
    let seconds = measure(value)
        .map(|nanos| nanos / ONE - 1)
        .filter(|seconds| *seconds <= LAST_SECOND);
    let since = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    let since = since
        .context("If-Modified-Since needs times such as 2026-01-31T12:00:00Z in `changedField`")?;
    Ok(httpdate::fmt_http_date(UNIX_EPOCH + since))
}

/// What a value comes to; none for texts that are neither times nor numbers.
fn measure(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => match number.as_i128() {
            Some(whole) => whole.checked_mul(ONE),
            None => number.as_f64().map(|number| (number * ONE as f64) as i128),
        },
        Value::String(text) => decimal(text)
            .or_else(|| time(text))
            .or_else(|| http_time(text)),
        _ => None,
    }
}

/// A number as texts have it, to nine decimals.
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

/// `Sat, 31 Jan 2026 12:00:00 GMT`, whose order as a text is that of the weekdays.
fn http_time(text: &str) -> Option<i128> {
    let since = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(UNIX_EPOCH)
        .ok()?;
    Some(i128::from(since.as_secs()) * ONE)
}

/// Nanoseconds since 1970 of a date, or date and time; without an offset it is taken for UTC.
fn time(text: &str) -> Option<i128> {
    let midnight = days_to(numbers(text.get(..10)?, '-')?) * 86_400;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(midnight * ONE);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let [hour, minute, second] = numbers(rest.get(..8)?, ':')?;
    let rest = &rest[8..];
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => rest.split_at(
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len()),
        ),
        None => ("", rest),
    };
    let nanos: i128 = format!("{fraction:0<9.9}").parse().ok()?;
    Some((midnight + hour * 3600 + minute * 60 + second - offset(zone)?) * ONE + nanos)
}

/// The seconds that a zone such as `Z`, `+01:00` or `-0730` is ahead of UTC.
fn offset(zone: &str) -> Option<i128> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let ahead = if zone.starts_with('+') { 1 } else { -1 };
    let digits = zone.strip_prefix(['+', '-'])?.replacen(':', "", 1);
    let number: i128 = digits
        .parse()
        .ok()
        .filter(|_| digits.len() == 4 && digits.is_ascii())?;
    Some(ahead * (number / 100 * 3600 + number % 100 * 60))
}

/// Three numbers with a separator between them.
fn numbers(text: &str, separator: char) -> Option<[i128; 3]> {
    let is_digits =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text
        .split(separator)
        .map(|part| Some(part).filter(is_digits)?.parse().ok());
    parts.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Days from 1970 to a date. Years begin in March here, so that a leap day is the last of its year.
fn days_to([year, month, day]: [i128; 3]) -> i128 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
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
            json!(1_700_000_000_000_u64),
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
}
