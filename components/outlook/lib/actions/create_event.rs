//! Action "Create event": an event in one of the user's calendars.

use super::{
    fields, graph,
    graph::Item,
    items::CreatedEvent,
    time::{self, Time},
};
use anyhow::Context as _;
use jiff::{ToSpan, civil::DateTime, tz::TimeZone};
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

/// How the text of a mail or an event is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BodyType {
    #[default]
    Text,
    Html,
}

/// The event to create. Whatever else Graph knows of events, such as `attendees`, may stand beside these.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// Title of the event.
    #[serde(default)]
    subject: Option<String>,
    /// Description of the event.
    #[serde(default)]
    body: Option<EventBody>,
    /// When it begins.
    start: EventTime,
    /// When it ends; of an all-day event the last day.
    end: EventTime,
    /// Where it takes place.
    #[serde(default)]
    location: Option<Location>,
    /// How many minutes before its start the user is reminded.
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
    /// ISO 8601 or milliseconds since 1970. Without an offset it is local to the step's time zone, otherwise it is
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

/// Emits the event as Graph has created it, with the calendar's id.
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
    let mut fields = event.more;
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    set("subject", json!(event.subject));
    match (
        event
            .body
            .and_then(|body| body.content)
            .filter(|content| !content.is_empty()),
        config.body_content_type,
    ) {
        (Some(content), kind) => set(
            "body",
            json!({ "contentType": kind.unwrap_or_default(), "content": content }),
        ),
        (None, None) => {}
        (None, Some(_)) => anyhow::bail!(
            "`body.content` is empty, but the step has a body content type: give a text, or choose no content type"
        ),
    }
    set("start", start);
    set("end", end);
    set("location", json!(event.location));
    set(
        "reminderMinutesBeforeStart",
        json!(event.reminder_minutes_before_start),
    );
    set("importance", json!(config.importance));
    set("showAs", json!(config.show_as));
    set("sensitivity", json!(config.sensitivity));
    if config.is_all_day {
        set("isAllDay", true.into());
    }
    Ok(fields)
}

/// Begin and end as Graph takes them. Of an all-day event, midnight before the first and after the last day.
fn times(event: &NewEvent, name: &str, is_all_day: bool) -> anyhow::Result<(Value, Value)> {
    let zone = time::zone(name, "timeZone")?;
    let start = event.start.date_time.local("start.dateTime", &zone)?;
    let end = event.end.date_time.local("end.dateTime", &zone)?;
    // Where clocks are put back, a later time may look earlier.
    let points = event
        .start
        .date_time
        .exact()
        .zip(event.end.date_time.exact());
    anyhow::ensure!(
        points.map_or(end >= start, |(start, end)| end >= start),
        "`end.dateTime` ({end}) is before `start.dateTime` ({start}): give an end that is not before the start"
    );
    if is_all_day {
        let after = end.date().checked_add(1.day())?;
        return Ok((
            in_zone(start.date().at(0, 0, 0, 0), name),
            in_zone(after.at(0, 0, 0, 0), name),
        ));
    }
    // Of the hour that comes twice a local time means the first: what is in the second is told in UTC.
    let is_told = |time: &Time, local: DateTime| {
        time.exact().is_none_or(|point| {
            local
                .to_zoned(zone.clone())
                .is_ok_and(|zoned| zoned.timestamp() == point)
        })
    };
    if is_told(&event.start.date_time, start) && is_told(&event.end.date_time, end) {
        return Ok((in_zone(start, name), in_zone(end, name)));
    }
    let in_utc = |time: &Time, local: DateTime| {
        let point = time.exact().map_or_else(
            || local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()),
            Ok,
        )?;
        anyhow::Ok(in_zone(TimeZone::UTC.to_datetime(point), "UTC"))
    };
    Ok((
        in_utc(&event.start.date_time, start)?,
        in_utc(&event.end.date_time, end)?,
    ))
}

fn in_zone(local: DateTime, zone: &str) -> Value {
    json!({ "dateTime": local.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "timeZone": zone })
}
