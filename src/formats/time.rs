//! Points in time, in every notation that APIs use.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{Offset, TimeZone},
};
use serde_json::Value;
use std::{borrow::Cow, time::SystemTime};

/// The most decimals of a second that are read.
const MAX_DECIMALS: usize = 9;
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// The names of zones that RFC 2822 defines (section 4.3), with their hours from UTC.
const ZONES: [(&str, i8); 12] = [
    ("z", 0),
    ("ut", 0),
    ("utc", 0),
    ("gmt", 0),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
];

/// Reads a point in time. A time without an offset is in UTC, and a date is its midnight.
///
/// | notation | example |
/// |---|---|
/// | ISO 8601, RFC 3339, RFC 9557 | `2026-01-31T12:00:00.5+01:00`, `2026-01-31 12:00:00`, `20260131T120000Z`, `2026-01-31` |
/// | the same with a zone after it | `2026-01-31 12:00:00 +0100`, `2026-01-31 12:00:00 UTC`, `2026/01/31 12:00` |
/// | RFC 2822 and HTTP dates (RFC 9110, section 5.6.7) | `Sat, 31 Jan 2026 12:00:00 +0100`, `Saturday, 31-Jan-26 12:00:00 GMT` |
/// | ctime, with or without a zone | `Sat Jan 31 12:00:00 2026`, `Sat Jan 31 12:00:00 +0000 2026`, `Sat Jan 31 12:00:00 UTC 2026` |
/// | other texts with the name of a month | `31-Jan-2026 12:00`, `Jan 31, 2026 11:00 PM`, `Sat Jan 31 2026 12:00:00 GMT+0100` |
/// | German dates | `31.01.2026 12:00` |
/// | JSON dates of .NET | `/Date(1769860800000+0100)/` |
/// | seconds, milliseconds, microseconds or nanoseconds since 1970 | `1769860800`, `1769860800.5`, `1769860800000` |
///
/// The size of a number tells its unit: up to eleven digits are seconds, up to fourteen milliseconds, and up to seventeen
/// microseconds. So milliseconds before March 1973 are taken for seconds. 0 is a time too, although some APIs mean "none" by it.
/// A number of eight digits that is a date from 1900 to 2099 is that date, such as 20260131: as seconds it would be in 1970. One of
/// fourteen digits can be a date with a time of day in the same way.
///
/// Returns `None` for any other text. That includes `01/02/2026`, which is January or February.
///
/// ```
/// use sailor::{http::parse_time, jiff::Timestamp};
///
/// let noon: Timestamp = parse_time("2026-01-31T12:00:00Z").unwrap();
/// assert_eq!(noon.as_second(), 1_769_860_800);
/// assert_eq!(parse_time("Sat, 31 Jan 2026 13:00:00 +0100"), Some(noon));
/// assert_eq!(parse_time("1769860800000"), Some(noon));
/// assert_eq!(parse_time("yesterday"), None);
/// ```
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // Digits alone are read first: to ISO 8601, eight of them are always a date.
    since_1970(text)
        .or_else(|| iso(text))
        .or_else(|| dot_net(text))
        .or_else(|| Parts::read(text)?.timestamp())
}

/// Reads a point in time from JSON: a text as [`parse_time`] reads it, or a number as it reads its digits.
///
/// ```
/// use sailor::http::{parse_time, time_of};
///
/// let noon = parse_time("2026-01-31T12:00:00Z");
/// assert_eq!(time_of(&serde_json::json!(1_769_860_800)), noon);
/// assert_eq!(time_of(&serde_json::json!(null)), None);
/// ```
#[must_use]
pub fn time_of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => parse_time(text),
        Value::Number(number) => since_1970(&number.to_string()),
        _ => None,
    }
}

/// Returns whether a text is meant as a time, although [`parse_time`] may not read it: it has a time of day, the name of a
/// month beside digits, or a date in digits.
///
/// ```
/// use sailor::http::looks_like_time;
///
/// assert!(looks_like_time("31/01/2026 um 12 Uhr"));
/// assert!(!looks_like_time("v1.2.3"));
/// ```
#[must_use]
pub fn looks_like_time(text: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let has_clock = text.as_bytes().windows(4).any(|window| {
        matches!(window, [hour, b':', m, n] if [hour, m, n].iter().all(|byte| is_digit(byte)))
    });
    let digits: Vec<&str> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .collect();
    let is_date = digits.len() >= 3 && digits[..3].iter().any(|group| group.len() == 4);
    let has_month = text
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| month(word).is_some());
    has_clock || is_date || (has_month && !digits.is_empty())
}

/// Writes a date of HTTP (RFC 9110, section 5.6.7). It has whole seconds.
///
/// ```
/// use sailor::http::{http_date, parse_time};
///
/// let time = parse_time("1994-11-06T08:49:37.9Z").unwrap();
/// assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[must_use]
pub fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Writes a point in time as JavaScript does, such as `2030-01-31T23:59:59.000Z`. A time before 1970 becomes 1970.
pub(crate) fn javascript_time(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    format!("{:.3}", time.max(Timestamp::UNIX_EPOCH))
}

/// Reads a point in time of RFC 3339 from 1970 on. Returns `None` for anything else, and for a time that is not in UTC:
/// no program has written it with [`javascript_time`].
pub(crate) fn parse_javascript_time(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let is_utc = text.ends_with(['Z', 'z']) || text.ends_with("+00:00");
    let time: Timestamp = text.parse().ok().filter(|_| is_utc)?;
    (time >= Timestamp::UNIX_EPOCH).then(|| time.into())
}

fn iso(text: &str) -> Option<Timestamp> {
    let text = with_max_decimals(text);
    let local = || {
        TimeZone::UTC
            .to_timestamp(text.parse::<DateTime>().ok()?)
            .ok()
    };
    // A number is an interval since 1970, unless it is a date without hyphens.
    let is_number = text.len() != 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        None
    } else {
        text.parse().ok().or_else(local)
    }
}

/// The text without the digits of a fraction that jiff does not read.
fn with_max_decimals(text: &str) -> Cow<'_, str> {
    let Some(point) = text.find(['.', ',']) else {
        return text.into();
    };
    let fraction = &text[point + 1..];
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= MAX_DECIMALS {
        return text.into();
    }
    let kept = &text[..=point + MAX_DECIMALS];
    format!("{kept}{}", &fraction[digits..]).into()
}

/// An interval since 1970. Its size tells its unit: as seconds, the smallest milliseconds would be in the year 5138.
/// Fourteen digits are a time without separators if they can be one.
fn since_1970(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction: String = fraction.chars().take(MAX_DECIMALS).collect();
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: i128 = format!("{fraction:0<MAX_DECIMALS$}")
        .parse()
        .ok()
        .filter(|_| is_number)?;
    let number: i128 = whole.parse::<i64>().ok()?.into();
    if whole.len() == 8
        && let Ok(date) = Date::strptime("%Y%m%d", whole)
        && (1900..2100).contains(&date.year())
    {
        return TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok();
    }
    if whole.len() == 14
        && let Ok(time) = DateTime::strptime("%Y%m%d%H%M%S", whole)
    {
        return TimeZone::UTC.to_timestamp(time).ok();
    }
    let unit = match number.unsigned_abs() {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let fraction = if text.starts_with('-') {
        -fraction
    } else {
        fraction
    };
    Timestamp::from_nanosecond(number * unit + fraction * unit / 1_000_000_000).ok()
}

/// A JSON date of .NET. Its offset says only how to show it.
fn dot_net(text: &str) -> Option<Timestamp> {
    let text = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let end = text
        .get(1..)?
        .find(['+', '-'])
        .map_or(text.len(), |at| at + 1);
    Timestamp::from_millisecond(text[..end].parse().ok()?).ok()
}

/// The parts of a time that were found in a text, in any order.
#[derive(Default)]
struct Parts {
    /// The numbers that are a year or a day, in their order.
    numbers: Vec<i16>,
    date: Option<Date>,
    month: Option<i8>,
    weekday: Option<Weekday>,
    clock: Option<Time>,
    is_afternoon: Option<bool>,
    offset: Option<Offset>,
}

impl Parts {
    /// Returns `None` if a part is not understood, or if there are two of a kind.
    fn read(text: &str) -> Option<Self> {
        // A comment, such as the name of a zone in parentheses, says nothing new.
        let text = text.split('(').next().unwrap_or_default();
        let mut parts = Self::default();
        for part in text.split([' ', ',', '\t']).filter(|part| !part.is_empty()) {
            parts.take(part)?;
        }
        Some(parts)
    }

    fn take(&mut self, part: &str) -> Option<()> {
        let word = part.to_ascii_lowercase();
        match word.split_once(':') {
            // A date and a time of ISO 8601, whose zone is another part.
            Some((before, _))
                if before.contains('t') && !before.starts_with(char::is_alphabetic) =>
            {
                let (date, clock) = word.split_once('t')?;
                self.take_date(date)?;
                return self.take_clock(clock);
            }
            Some(_) => return self.take_clock(&word),
            None => {}
        }
        if let Some(offset) = offset(&word) {
            // Some texts name their zone twice, such as `+0000 UTC`.
            return (*self.offset.get_or_insert(offset) == offset).then_some(());
        }
        match &*word {
            "am" | "pm" => set(&mut self.is_afternoon, word == "pm"),
            "at" => Some(()),
            _ if number_of(&word, &WEEKDAYS).is_some() => {
                let number = number_of(&word, &WEEKDAYS)?;
                set(
                    &mut self.weekday,
                    Weekday::from_monday_one_offset(number).ok()?,
                )
            }
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => self.take_date(&word),
            _ => set(&mut self.month, month(&word)?),
        }
    }

    /// Takes a date such as `2026/01/31`, `31.01.2026` or `31-jan-26`, a year, or a day.
    fn take_date(&mut self, word: &str) -> Option<()> {
        let separator = word
            .find(['/', '.', '-'])
            .and_then(|at| word[at..].chars().next());
        let parts: Vec<&str> = word.split(separator.unwrap_or(' ')).collect();
        let number = |text: &str| text.parse::<i16>().ok();
        match parts[..] {
            [day, name, year] if month(name).is_some() => {
                self.numbers.extend([number(day)?, number(year)?]);
                set(&mut self.month, month(name)?)
            }
            [year, month, day] if year.len() == 4 => set_date(&mut self.date, [year, month, day]),
            [day, month, year] if separator == Some('.') && year.len() == 4 => {
                set_date(&mut self.date, [year, month, day])
            }
            [day] | [day, ""] => {
                let day = ["st", "nd", "rd", "th"]
                    .iter()
                    .find_map(|suffix| day.strip_suffix(suffix))
                    .unwrap_or(day);
                self.numbers.push(number(day)?);
                Some(())
            }
            _ => None,
        }
    }

    /// Takes a time of day, with `am`, `pm` or an offset directly after it.
    fn take_clock(&mut self, word: &str) -> Option<()> {
        if word.starts_with(['+', '-']) || word.starts_with("gmt") || word.starts_with("utc") {
            return set(&mut self.offset, offset(word)?);
        }
        let end = word
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))
            .unwrap_or(word.len());
        let (clock, rest) = word.split_at(end);
        let clock = with_max_decimals(clock);
        let clock: String = match clock.split_once(':') {
            Some((hour, _)) if hour.len() == 1 => format!("0{clock}"),
            _ => clock.into_owned(),
        };
        set(&mut self.clock, clock.parse().ok()?)?;
        if rest.is_empty() {
            Some(())
        } else {
            self.take(rest)
        }
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let date = match (self.date, self.month, &self.numbers[..]) {
            (Some(date), None, []) => date,
            (None, Some(month), [first, second]) => {
                let (year, day) = if *first > 31 {
                    (*first, *second)
                } else {
                    (*second, *first)
                };
                // POSIX reads years of two digits so.
                let year = match year {
                    0..69 => year + 2000,
                    69..100 => year + 1900,
                    year => year,
                };
                Date::new(year, month, day.try_into().ok()?).ok()?
            }
            _ => return None,
        };
        if self
            .weekday
            .is_some_and(|weekday| weekday != date.weekday())
        {
            return None;
        }
        let clock = self.clock.unwrap_or_default();
        let clock = match (self.is_afternoon, clock.hour()) {
            (None, _) | (Some(true), 12) => clock,
            (Some(false), 12) => clock.with().hour(0).build().ok()?,
            (Some(false), _) => clock,
            (Some(true), hour) => clock.with().hour(hour + 12).build().ok()?,
        };
        let offset = self.offset.unwrap_or(Offset::UTC);
        offset.to_timestamp(date.to_datetime(clock)).ok()
    }
}

/// Sets a part that may be given once.
fn set<T>(part: &mut Option<T>, value: T) -> Option<()> {
    part.replace(value).is_none().then_some(())
}

fn set_date(date: &mut Option<Date>, [year, month, day]: [&str; 3]) -> Option<()> {
    let parsed = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    set(date, parsed.ok()?)
}

/// The number of a month, from 1.
fn month(word: &str) -> Option<i8> {
    number_of(&word.to_lowercase(), &MONTHS)
}

/// The number, from 1, of the name that a word in lower case is, or begins: at least three letters of it.
fn number_of(word: &str, names: &[&str]) -> Option<i8> {
    let word = word.trim_end_matches('.');
    let at = names
        .iter()
        .position(|name| word.len() >= 3 && name.starts_with(word))?;
    i8::try_from(at + 1).ok()
}

/// An offset such as `z`, `est`, `+01:00`, `-0700`, `gmt+0100`.
fn offset(word: &str) -> Option<Offset> {
    if let Some((_, hours)) = ZONES.iter().find(|(name, _)| *name == word) {
        return Offset::from_hours(*hours).ok();
    }
    let word = word
        .strip_prefix("gmt")
        .or_else(|| word.strip_prefix("utc"))
        .unwrap_or(word);
    let sign = match word.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits = word[1..].replace(':', "");
    let number: i32 = digits.parse().ok().filter(|_| digits.len() <= 4)?;
    let minutes = match digits.len() {
        1 | 2 => number * 60,
        _ => number / 100 * 60 + number % 100,
    };
    Offset::from_seconds(sign * minutes * 60).ok()
}

#[cfg(test)]
mod tests;
