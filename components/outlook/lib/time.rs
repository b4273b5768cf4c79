//! Times as users give them, and as Graph takes them.

use anyhow::Context as _;
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// A time in a message: ISO 8601, or milliseconds since 1970.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "no time, expected ISO 8601 or milliseconds since 1970"
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

impl Time {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    /// The local time in `zone`. What has an offset, or counts milliseconds, is a point in time and is converted; what
    /// has none is local already.
    ///
    /// # Errors
    /// When it is no time; names the field.
    pub fn local(&self, field: &str, zone: &TimeZone) -> anyhow::Result<DateTime> {
        match self.read(field, "local to the step's time zone")? {
            Read::Point(point) => Ok(zone.to_datetime(point)),
            Read::Local(local) => Ok(local),
        }
    }

    /// The point in time; without an offset it is taken for UTC.
    ///
    /// # Errors
    /// When it is no time; names the field.
    pub fn point(&self, field: &str) -> anyhow::Result<Timestamp> {
        match self.read(field, "in UTC")? {
            Read::Point(point) => Ok(point),
            Read::Local(local) => {
                let zoned = local.to_zoned(TimeZone::UTC);
                Ok(zoned
                    .with_context(|| format!("`{field}` is out of the range of times"))?
                    .timestamp())
            }
        }
    }

    /// The point in time that it says by itself; none without an offset.
    pub fn exact(&self) -> Option<Timestamp> {
        match self.read("", "") {
            Ok(Read::Point(point)) => Some(point),
            _ => None,
        }
    }

    /// `meant` is how a time without an offset is understood.
    fn read(&self, field: &str, meant: &str) -> anyhow::Result<Read> {
        let text = match self {
            Self::Millis(millis) => return from_millis(*millis, field),
            Self::Text(text) => text.trim(),
        };
        // Eight digits are a date, which has no hyphens.
        if !text.is_empty()
            && text.len() != 8
            && text
                .strip_prefix('-')
                .unwrap_or(text)
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        {
            return from_millis(text.parse().unwrap_or(i64::MAX), field);
        }
        if let Ok(point) = text.parse() {
            return Ok(Read::Point(point));
        }
        let local = text
            .parse()
            .ok()
            .or_else(|| text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)));
        local.map(Read::Local).with_context(|| {
            format!(
                "`{field}` is no time: give it as 2024-07-01T09:30:00 ({meant}), with an offset as \
                 2024-07-01T09:30:00+02:00 or …Z, or in milliseconds since 1970"
            )
        })
    }
}

enum Read {
    Point(Timestamp),
    Local(DateTime),
}

fn from_millis(millis: i64, field: &str) -> anyhow::Result<Read> {
    let point = Timestamp::from_millisecond(millis);
    point
        .map(Read::Point)
        .with_context(|| format!("`{field}` is no time: {millis} ms since 1970 is out of range"))
}

/// The zone of this IANA name.
///
/// # Errors
/// When there is none; names the field.
pub fn zone(name: &str, field: &str) -> anyhow::Result<TimeZone> {
    TimeZone::get(name).with_context(|| {
        format!(
            "`{field}` is {name:?}, which is no IANA time zone: choose one such as Europe/Berlin"
        )
    })
}

/// `2024-07-01T07:30:00Z`, with fractions where there are any.
pub fn written(point: Timestamp) -> String {
    point.to_string()
}
