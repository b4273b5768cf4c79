//! Times as users write them.

use anyhow::Context as _;
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use sailor::prelude::{JsonSchema, schemars};
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

    /// The instant that is meant. A time without an offset is in UTC.
    ///
    /// # Errors
    /// Returns an error that names the field if the text is not a time.
    pub fn timestamp(&self, field: &str) -> anyhow::Result<Timestamp> {
        match self.parse(field, "in UTC")? {
            ParsedTime::Instant(instant) => Ok(instant),
            ParsedTime::Local(local) => {
                let zoned = local.to_zoned(TimeZone::UTC);
                Ok(zoned
                    .with_context(|| format!("`{field}` is out of the range of times"))?
                    .timestamp())
            }
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
