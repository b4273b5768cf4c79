//! Action "Create event": creates an event in one of the user's calendars.

use crate::{
    fields,
    graph::{self, Item},
    items::CreatedEvent,
    time::{self, Time},
};
use anyhow::Context as _;
use jiff::{
    ToSpan,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::text")]
    calendar_id: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    time_zone: Option<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    importance: Option<Importance>,
    #[serde(default, deserialize_with = "fields::choice")]
    show_as: Option<ShowAs>,
    #[serde(default, deserialize_with = "fields::choice")]
    sensitivity: Option<Sensitivity>,
    #[serde(default, deserialize_with = "fields::choice")]
    body_content_type: Option<BodyType>,
    #[serde(default, deserialize_with = "fields::checked")]
    is_all_day: bool,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Importance {
    Low,
    Normal,
    High,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum ShowAs {
    Free,
    Tentative,
    Busy,
    Oof,
    WorkingElsewhere,
    Unknown,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Sensitivity {
    Normal,
    Personal,
    Private,
    Confidential,
}

/// The format of the text of a mail or an event.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BodyType {
    #[default]
    Text,
    Html,
}

/// The event to create. Other members that Graph accepts, such as `attendees`, are passed on.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// Title of the event.
    #[serde(default)]
    subject: Option<String>,
    /// Description of the event.
    #[serde(default)]
    body: Option<EventBody>,
    /// When the event begins.
    start: EventTime,
    /// When the event ends. For an all-day event: its last day.
    end: EventTime,
    /// Where the event takes place.
    #[serde(default)]
    location: Option<Location>,
    /// How many minutes before the start the user is reminded.
    #[serde(default, deserialize_with = "fields::whole")]
    reminder_minutes_before_start: Option<i32>,
    #[serde(flatten)]
    #[schemars(skip)]
    more: Map<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
struct EventBody {
    /// The text, in the step's body content type.
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EventTime {
    /// ISO 8601, or milliseconds since 1970. Without an offset it is local to the step's time zone; otherwise it is
    /// converted.
    date_time: Time,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Location {
    /// Name of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    #[serde(flatten)]
    #[schemars(skip)]
    more: Map<String, Value>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    street: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country_or_region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
}

/// Emits the event as Graph created it, and the calendar's id.
pub async fn create_event(
    message: Message<NewEvent>,
    cx: Context<Config, CreatedEvent>,
) -> anyhow::Result<()> {
    let config = &cx.config;
    let calendar = fields::required(
        config.calendar_id.as_ref(),
        "calendarId",
        "choose a calendar in the step",
    )?;
    let zone = fields::required(
        config.time_zone.as_ref(),
        "timeZone",
        "choose a time zone in the step",
    )?;
    let event = event(config, zone, message.body)?;
    let path = graph::path(&["me", "calendars", calendar, "events"])
        .context("the calendar (`calendarId` of the step)")?;
    let created = cx.oauth().post(path).json(&event).send_json::<Item>().await;
    let created =
        created.context("creating the event in the calendar (`calendarId` of the step)")?;
    let mut created = graph::without_annotations(created);
    created.insert("calendarId".to_owned(), calendar.into());
    cx.data(&CreatedEvent(created)).await
}

/// The event as Graph takes it.
fn event(config: &Config, zone: &str, event: NewEvent) -> anyhow::Result<Item> {
    let (start, end) = times(&event, zone, config.is_all_day)?;
    let content = event.body.and_then(|body| body.content);
    let members = [
        ("subject", json!(event.subject)),
        ("body", body(config.body_content_type, content)?),
        ("start", start),
        ("end", end),
        ("location", json!(event.location)),
        (
            "reminderMinutesBeforeStart",
            json!(event.reminder_minutes_before_start),
        ),
        ("importance", json!(config.importance)),
        ("showAs", json!(config.show_as)),
        ("sensitivity", json!(config.sensitivity)),
        ("isAllDay", json!(config.is_all_day.then_some(true))),
    ];
    let mut item = event.more;
    for (name, value) in members {
        if !value.is_null() {
            item.insert(name.to_owned(), value);
        }
    }
    Ok(item)
}

/// The event's text as Graph takes it; `null` if there is none.
fn body(content_type: Option<BodyType>, content: Option<String>) -> anyhow::Result<Value> {
    match content.filter(|content| !content.is_empty()) {
        Some(content) => Ok(json!({
            "contentType": content_type.unwrap_or_default(),
            "content": content,
        })),
        None if content_type.is_none() => Ok(Value::Null),
        None => anyhow::bail!(
            "`body.content` is empty, but the step has a body content type: give a text, or choose no content type"
        ),
    }
}

/// Start and end as Graph takes them. For an all-day event: midnight before the first and after the last day.
fn times(event: &NewEvent, name: &str, is_all_day: bool) -> anyhow::Result<(Value, Value)> {
    let zone = time::zone(name, "timeZone")?;
    let (from, until) = (&event.start.date_time, &event.end.date_time);
    let start = from.local("start.dateTime", &zone)?;
    let end = until.local("end.dateTime", &zone)?;
    // When clocks go back, a later time can have an earlier local time.
    let is_ordered = match from.instant().zip(until.instant()) {
        Some((from, until)) => until >= from,
        None => end >= start,
    };
    anyhow::ensure!(
        is_ordered,
        "`end.dateTime` ({end}) is before `start.dateTime` ({start}): give an end that is not before the start"
    );
    if is_all_day {
        let after = end.date().checked_add(1.day())?;
        let midnight = |date: Date| in_zone(date.at(0, 0, 0, 0), name);
        return Ok((midnight(start.date()), midnight(after)));
    }
    if is_unambiguous(from, start, &zone) && is_unambiguous(until, end, &zone) {
        return Ok((in_zone(start, name), in_zone(end, name)));
    }
    Ok((in_utc(from, start, &zone)?, in_utc(until, end, &zone)?))
}

/// Whether the local time says which instant is meant. In the hour that comes twice, a local time means the first one.
fn is_unambiguous(time: &Time, local: DateTime, zone: &TimeZone) -> bool {
    let Some(instant) = time.instant() else {
        return true;
    };
    let zoned = local.to_zoned(zone.clone());
    zoned.is_ok_and(|zoned| zoned.timestamp() == instant)
}

fn in_utc(time: &Time, local: DateTime, zone: &TimeZone) -> anyhow::Result<Value> {
    let instant = match time.instant() {
        Some(instant) => instant,
        None => local.to_zoned(zone.clone())?.timestamp(),
    };
    Ok(in_zone(TimeZone::UTC.to_datetime(instant), "UTC"))
}

fn in_zone(local: DateTime, zone: &str) -> Value {
    json!({ "dateTime": local.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "timeZone": zone })
}
