//! When the user's default calendar is busy.
//!
//! Asked of the calendar view, which has every occurrence of a series, not only its first. An event that is shown as
//! free, or was cancelled, keeps nobody busy; an event's end is free again.

use super::graph;
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use sailor::oauth2::AuthorizedClient;
use serde::Deserialize;
use std::ops::Range;

/// How much of the calendar is asked for at once when looking for a gap.
const WINDOW: SignedDuration = SignedDuration::from_hours(31 * 24);
/// How often: about a year in all.
const WINDOWS: usize = 12;

/// Whether no event covers this moment.
pub async fn is_free(client: &AuthorizedClient, at: Timestamp) -> anyhow::Result<bool> {
    let busy = busy(client, at, SignedDuration::from_secs(1)).await?;
    Ok(!busy.iter().any(|span| span.contains(&at)))
}

/// The first moment from `from` on that no event covers.
pub async fn next_free(client: &AuthorizedClient, from: Timestamp) -> anyhow::Result<Timestamp> {
    let mut free = from;
    for _ in 0..WINDOWS {
        let end = free.checked_add(WINDOW)?;
        for span in busy(client, free, WINDOW).await? {
            if span.start > free {
                return Ok(free);
            }
            free = free.max(span.end);
        }
        if free < end {
            return Ok(free);
        }
    }
    anyhow::bail!(
        "the calendar has no free time in the year after {from} (`time`): give a later time"
    )
}

/// The events that overlap with the time from `from` on, by their beginning.
async fn busy(
    client: &AuthorizedClient,
    from: Timestamp,
    length: SignedDuration,
) -> anyhow::Result<Vec<Range<Timestamp>>> {
    let until = from
        .checked_add(length)
        .context("the time is out of the range of calendars")?;
    let query = [
        ("startDateTime", from.to_string()),
        ("endDateTime", until.to_string()),
        ("$select", "start,end,showAs,isCancelled".to_owned()),
        ("$orderby", "start/dateTime".to_owned()),
        ("$top", "100".to_owned()),
    ];
    let events =
        graph::all::<Event, _>(client, &graph::path(&["me", "calendarView"])?, &query).await;
    let events = events.context("reading the calendar")?;
    let busy = events.iter().filter(|event| event.is_busy());
    let mut spans = busy
        .map(|event| Ok(event.start.point()?..event.end.point()?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    spans.sort_by_key(|span| span.start);
    Ok(spans)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    start: Moment,
    end: Moment,
    #[serde(default)]
    show_as: Option<String>,
    #[serde(default)]
    is_cancelled: Option<bool>,
}

impl Event {
    fn is_busy(&self) -> bool {
        self.show_as.as_deref() != Some("free") && self.is_cancelled != Some(true)
    }
}

/// A time as Graph has it: local, and the zone beside it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Moment {
    date_time: String,
    time_zone: String,
}

impl Moment {
    fn point(&self) -> anyhow::Result<Timestamp> {
        let local: DateTime = self
            .date_time
            .parse()
            .context("Graph gave an event with a time that is none")?;
        let zone = match self.time_zone.as_str() {
            "UTC" | "" => TimeZone::UTC,
            // Only when Graph does not keep to the zone it was asked for.
            name => TimeZone::get(name)
                .context("Graph gave an event in a time zone that is not known here")?,
        };
        Ok(local.to_zoned(zone)?.timestamp())
    }
}
