//! Points in time as RFC 3339 text in UTC, as `tokenExpiryTime` holds them.

use jiff::Timestamp;
use std::time::SystemTime;

/// Writes a point in time as JavaScript does, such as `2030-01-31T23:59:59.000Z`. A time before 1970 becomes 1970.
pub(super) fn write(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    format!("{:.3}", time.max(Timestamp::UNIX_EPOCH))
}

/// Reads a point in time from 1970 on. Returns `None` for anything else, and for a time that is not in UTC.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let is_utc = text.ends_with(['Z', 'z']) || text.ends_with("+00:00");
    let time: Timestamp = text.parse().ok().filter(|_| is_utc)?;
    (time >= Timestamp::UNIX_EPOCH).then(|| time.into())
}
