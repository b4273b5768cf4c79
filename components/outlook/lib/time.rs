//! Times as users write them.

use anyhow::Context as _;
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    fmt::rfc2822,
    tz::TimeZone,
};
use sailor::{
    http::parse_time,
    prelude::{JsonSchema, schemars},
};
use serde::Deserialize;
use std::fmt;

/// A time in a message: ISO 8601, or milliseconds since 1970.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "not a time, expected ISO 8601 or milliseconds since 1970"
)]
#[schemars(with = "String")]
pub enum Time {
    /// ISO 8601, or milliseconds as text.
    Text(String),
    /// Milliseconds.
    Millis(i64),
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text.trim()),
            Self::Millis(millis) => write!(f, "{millis}"),
        }
    }
}

/// A time as its text says it.
enum ParsedTime {
    /// With an offset, or in milliseconds.
    Instant(Timestamp),
    /// Without an offset.
    Local(DateTime),
}

impl Time {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    /// The local time in `zone`. An instant is converted; a time without an offset is local already.
    ///
    /// # Errors
    /// Returns an error that names the field if the text is not a time.
    pub fn local(&self, field: &str, zone: &TimeZone) -> anyhow::Result<DateTime> {
        match self.parse(field, "local to the step's time zone")? {
            ParsedTime::Instant(instant) => Ok(zone.to_datetime(instant)),
            ParsedTime::Local(local) => Ok(local),
        }
    }

    /// The instant that is meant, in any notation that the runtime reads. A time without an offset is in UTC.
    ///
    /// # Errors
    /// Returns an error that names the field if the text is not a time.
    pub fn timestamp(&self, field: &str) -> anyhow::Result<Timestamp> {
        let error = match self.parse(field, "in UTC") {
            Ok(ParsedTime::Instant(instant)) => return Ok(instant),
            Ok(ParsedTime::Local(local)) => {
                let zoned = local.to_zoned(TimeZone::UTC);
                return Ok(zoned
                    .with_context(|| format!("`{field}` is out of the range of times"))?
                    .timestamp());
            }
            Err(error) => error,
        };
        // Numbers are milliseconds here, and nothing else.
        let is_text = |c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-');
        match self {
            Self::Text(text) if text.trim().contains(is_text) => parse_time(text).ok_or(error),
            _ => Err(error),
        }
    }

    /// The instant; none for a time without an offset.
    pub fn instant(&self) -> Option<Timestamp> {
        match self.parse("", "") {
            Ok(ParsedTime::Instant(instant)) => Some(instant),
            _ => None,
        }
    }

    /// `meaning` says how a time without an offset is understood.
    fn parse(&self, field: &str, meaning: &str) -> anyhow::Result<ParsedTime> {
        let text = match self {
            Self::Millis(millis) => return from_millis(*millis, field),
            Self::Text(text) => text.trim(),
        };
        // Eight digits are a date without hyphens.
        if is_whole_number(text) && text.len() != 8 {
            return from_millis(text.parse().unwrap_or(i64::MAX), field);
        }
        if let Ok(instant) = text.parse() {
            return Ok(ParsedTime::Instant(instant));
        }
        // It always has an offset.
        if let Ok(zoned) = rfc2822::parse(text) {
            return Ok(ParsedTime::Instant(zoned.timestamp()));
        }
        let midnight = |date: Date| date.at(0, 0, 0, 0);
        let local = text.parse().or_else(|_| text.parse::<Date>().map(midnight));
        local.map(ParsedTime::Local).map_err(|_| {
            anyhow::anyhow!(
                "`{field}` is not a time: give it as 2024-07-01T09:30:00 ({meaning}), with an offset as \
                 2024-07-01T09:30:00+02:00 or …Z, or in milliseconds since 1970"
            )
        })
    }
}

fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !text.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn from_millis(millis: i64, field: &str) -> anyhow::Result<ParsedTime> {
    Timestamp::from_millisecond(millis)
        .map(ParsedTime::Instant)
        .with_context(|| format!("`{field}` is not a time: {millis} ms since 1970 is out of range"))
}

/// The zone of this IANA name.
///
/// # Errors
/// Returns an error that names the field if there is none.
pub fn zone(name: &str, field: &str) -> anyhow::Result<TimeZone> {
    TimeZone::get(name).with_context(|| {
        format!(
            "`{field}` is {name:?}, which is not an IANA time zone: choose one such as Europe/Berlin"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time::Text(text.to_owned())
    }

    #[test]
    fn an_instant_is_read_in_many_notations() {
        let expected: Timestamp = "2024-05-01T10:00:02Z".parse().unwrap();
        for text in [
            "2024-05-01T10:00:02Z",
            " 2024-05-01T12:00:02+02:00 ",
            "2024-05-01T10:00:02",
            "2024-05-01 10:00:02",
            "1714557602000",
            "Wed, 01 May 2024 10:00:02 GMT",
            "Wed, 1 May 2024 12:00:02 +0200",
            "Wed May 01 2024 12:00:02 GMT+0200",
            "01.05.2024 10:00:02",
            "/Date(1714557602000)/",
        ] {
            assert_eq!(time(text).timestamp("x").unwrap(), expected, "{text}");
        }
        for text in [
            "tomorrow",
            "01/05/2024",
            "1714557602.5",
            "-",
            "",
            "2024-13-01",
        ] {
            let error = time(text).timestamp("x").unwrap_err().to_string();
            assert!(error.contains("`x` is not a time"), "{text}: {error}");
        }
    }

    #[test]
    fn a_local_time_has_no_offset_and_others_are_converted() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (text, local) in [
            ("2024-05-01T10:00:02", "2024-05-01T10:00:02"),
            ("2024-05-01T10:00:02Z", "2024-05-01T12:00:02"),
            ("Wed, 1 May 2024 10:00:02 +0000", "2024-05-01T12:00:02"),
        ] {
            let read = time(text).local("x", &zone).unwrap();
            assert_eq!(read, local.parse().unwrap(), "{text}");
        }
        // It does not say whether it is local.
        assert!(time("01.05.2024 10:00:02").local("x", &zone).is_err());
    }
}
