//! Values that tell when an item changed: times as text, or numbers that grow. They are compared by what they mean, and
//! the moment just before one can be asked for, in the form that its API writes.

use anyhow::Context as _;
use serde_json::Value;
use std::{
    cmp::Ordering,
    time::{Duration, UNIX_EPOCH},
};

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// The order of two values of one field.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (Moment::of(a), Moment::of(b)) {
        (Moment::Time(a), Moment::Time(b)) => a.nanos.cmp(&b.nanos),
        (Moment::Integer(a), Moment::Integer(b)) => a.cmp(&b),
        (Moment::Number(a), Moment::Number(b)) => a.total_cmp(&b),
        (Moment::Number(a), Moment::Integer(b)) => a.total_cmp(&(b as f64)),
        (Moment::Integer(a), Moment::Number(b)) => (a as f64).total_cmp(&b),
        _ => text_of(a).cmp(&text_of(b)),
    }
}

/// The value a little earlier: what to ask an API for that leaves out what is not later than it was asked for. A text of
/// unknown form stays as it is.
pub fn just_before(value: &Value) -> Value {
    match Moment::of(value) {
        Moment::Time(time) => time.just_before().into(),
        Moment::Integer(number) => {
            let before = number.saturating_sub(1);
            match (value, i64::try_from(before)) {
                (Value::Number(_), Ok(before)) => before.into(),
                _ => before.to_string().into(),
            }
        }
        Moment::Number(number) => (number - 1.0).into(),
        Moment::Text => value.clone(),
    }
}

/// A value as a query or a header holds it.
pub fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time as HTTP writes it.
pub fn http_date(value: &Value) -> anyhow::Result<String> {
    let nanos = match Moment::of(value) {
        Moment::Time(time) => Some(time.nanos),
        _ => None,
    };
    let seconds = nanos.and_then(|nanos| u64::try_from(nanos / SECOND).ok());
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let time = time.context("If-Modified-Since needs times such as 2026-01-31T12:00:00Z in `changedField`")?;
    Ok(httpdate::fmt_http_date(time))
}

enum Moment<'a> {
    Time(Time<'a>),
    Integer(i128),
    Number(f64),
    Text,
}

impl<'a> Moment<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Number(number) => match number.as_i128() {
                Some(number) => Self::Integer(number),
                None => number.as_f64().map_or(Self::Text, Self::Number),
            },
            Value::String(text) => match (text.parse(), Time::read(text)) {
                (Ok(number), _) => Self::Integer(number),
                (_, Some(time)) => Self::Time(time),
                _ => Self::Text,
            },
            _ => Self::Text,
        }
    }
}

/// A date, or date and time, as ISO 8601 writes them; without an offset it is taken for UTC.
struct Time<'a> {
    /// Since 1970, in UTC.
    nanos: i128,
    offset: i128,
    /// Between date and time; none for a date alone.
    separator: Option<char>,
    digits: usize,
    zone: &'a str,
}

impl<'a> Time<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let date = text.get(..10)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let midnight = days_to(year, month, day) * DAY;
        let Some(separator) = text[10..].chars().next() else {
            return Some(Self { nanos: midnight, offset: 0, separator: None, digits: 0, zone: "" });
        };
        if !matches!(separator, 'T' | 't' | ' ') {
            return None;
        }
        let [hour, minute, second] = numbers(text.get(11..19)?, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let rest = &text[19..];
        let fraction: &str = match rest.strip_prefix('.') {
            Some(rest) => &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())],
            None => "",
        };
        let zone = &rest[if fraction.is_empty() { 0 } else { fraction.len() + 1 }..];
        if fraction.len() > 9 {
            return None;
        }
        let fraction_nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
        let offset = offset(zone)?;
        let local = midnight + (hour * 3600 + minute * 60 + second) * SECOND + fraction_nanos;
        Some(Self { nanos: local - offset, offset, separator: Some(separator), digits: fraction.len(), zone })
    }

    /// A millisecond, a second or a day earlier: the finest that the text tells.
    fn just_before(&self) -> String {
        let step = match (self.separator, self.digits) {
            (None, _) => DAY,
            (_, 0..=2) => SECOND,
            _ => SECOND / 1000,
        };
        let local = self.nanos + self.offset - step;
        let (days, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        let mut text = format!("{year:04}-{month:02}-{day:02}");
        if let Some(separator) = self.separator {
            let (seconds, nanos) = (rest / SECOND, rest % SECOND);
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            text += &format!("{separator}{hour:02}:{minute:02}:{second:02}");
            if self.digits > 0 {
                text += &format!(".{}", &format!("{nanos:09}")[..self.digits]);
            }
            text += self.zone;
        }
        text
    }
}

/// The nanoseconds that a zone such as `Z`, `+01:00` or `-0730` is ahead of UTC.
fn offset(zone: &str) -> Option<i128> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let ahead = if zone.starts_with('+') { 1 } else { -1 };
    let digits = zone.strip_prefix(['+', '-'])?.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i128, i128) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    Some(ahead * (hours * 3600 + minutes * 60) * SECOND)
}

fn numbers(text: &str, separator: char, lengths: [usize; 3]) -> Option<[i128; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970 to a date. Years begin in March here, so that a leap day is the last of its year.
fn days_to(year: i128, month: i128, day: i128) -> i128 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a day since 1970.
fn date_of(days: i128) -> (i128, i128, i128) {
    let (era, day) = ((days + 719_468).div_euclid(146_097), (days + 719_468).rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn given_values_of_one_kind_then_they_are_ordered_by_what_they_mean() {
        for (earlier, later) in [
            (json!("2026-01-31T12:00:00Z"), json!("2026-01-31T12:00:00.500Z")),
            (json!("2026-01-31T12:00:00+02:00"), json!("2026-01-31T11:00:00Z")),
            (json!("2026-01-31T12:00:00.000+0000"), json!("2026-01-31T12:00:00.001+0000")),
            (json!("2026-01-31"), json!("2026-02-01")),
            (json!("2025-12-31T23:59:59"), json!("2026-01-01 00:00:00")),
            (json!(9), json!(10)),
            (json!(1.5), json!(2)),
            (json!("9"), json!("10")),
            (json!("etag-a"), json!("etag-b")),
        ] {
            assert_eq!(compare(&earlier, &later), Ordering::Less, "{earlier} {later}");
            assert_eq!(compare(&later, &earlier), Ordering::Greater, "{earlier} {later}");
        }
        assert_eq!(compare(&json!("2026-01-31T12:00:00Z"), &json!("2026-01-31T13:00:00.000+01:00")), Ordering::Equal);
    }

    #[test]
    fn given_a_value_then_the_one_just_before_has_the_same_form() {
        for (value, before) in [
            (json!("2026-03-01T00:00:00Z"), json!("2026-02-28T23:59:59Z")),
            (json!("2024-03-01T00:00:00.000Z"), json!("2024-02-29T23:59:59.999Z")),
            (json!("2026-01-01T00:30:00.000000+01:00"), json!("2026-01-01T00:29:59.999000+01:00")),
            (json!("2026-01-01T00:00:00.0"), json!("2025-12-31T23:59:59.0")),
            (json!("2026-01-01"), json!("2025-12-31")),
            (json!(1_700_000_000), json!(1_699_999_999)),
            (json!("42"), json!("41")),
            (json!("opaque"), json!("opaque")),
        ] {
            assert_eq!(just_before(&value), before, "{value}");
        }
    }

    #[test]
    fn given_a_time_then_http_can_write_it_and_nothing_else() {
        let date = http_date(&json!("1994-11-06T08:49:37.900Z")).unwrap();
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(http_date(&json!("yesterday")).is_err());
    }

    #[test]
    fn given_any_text_then_reading_it_as_a_time_never_panics() {
        proptest::proptest!(|(text in "[0-9T:.Zé+ -]{0,32}")| {
            let value = Value::String(text);
            just_before(&value);
            compare(&value, &json!("2026-01-01"));
        });
    }
}
