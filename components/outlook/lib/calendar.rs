//! When the user's default calendar is busy.
//!
//! The times come from Graph's calendar view, which lists every occurrence of a series. An event that is shown as free
//! or was cancelled does not count. The end of an event is free again.

use crate::graph;
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use sailor::oauth2::AuthorizedClient;
use serde::Deserialize;
use std::ops::Range;

/// How much of the calendar one search reads.
const WINDOW: SignedDuration = SignedDuration::from_hours(31 * 24);
/// How many windows a search reads: about a year.
const WINDOWS: usize = 12;

/// Whether no event covers this time.
pub async fn is_free(client: &AuthorizedClient, at: Timestamp) -> anyhow::Result<bool> {
    let busy = busy(client, at, SignedDuration::from_secs(1)).await?;
    Ok(!busy.iter().any(|span| span.contains(&at)))
}

/// The first time, not before `from`, that no event covers.
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

/// The events that overlap with the time from `from` on, in the order of their start.
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
    let path = graph::path(&["me", "calendarView"])?;
    let events: Vec<Event> = graph::all_items(client, &path, &query)
        .await
        .context("reading the calendar")?;
    let busy = events.iter().filter(|event| event.is_busy());
    let mut spans = busy.map(Event::span).collect::<anyhow::Result<Vec<_>>>()?;
    spans.sort_by_key(|span| span.start);
    Ok(spans)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    start: graph::ZonedTime,
    end: graph::ZonedTime,
    #[serde(default)]
    show_as: Option<String>,
    #[serde(default)]
    is_cancelled: Option<bool>,
}

impl Event {
    fn is_busy(&self) -> bool {
        self.show_as.as_deref() != Some("free") && self.is_cancelled != Some(true)
    }

    fn span(&self) -> anyhow::Result<Range<Timestamp>> {
        Ok(self.start.timestamp()?..self.end.timestamp()?)
    }
}
