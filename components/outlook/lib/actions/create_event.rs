//! Action "Create event": an event in one of the user's calendars.

use super::{
    fields, graph,
    graph::Item,
    items::CreatedEvent,
    time::{self, Time},
};
use jiff::{ToSpan, civil::DateTime};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    calendar_id: String,
    time_zone: String,
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
    #[serde(default)]
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
pub async fn create_event(message: Message<NewEvent>, cx: Context<Config, CreatedEvent>) -> anyhow::Result<()> {
    let config = &cx.config;
    let event = event(config, message.body)?;
    let path = graph::path(&["me", "calendars", &config.calendar_id, "events"]);
    let created: Item = cx.oauth().post(path).json(&event).send_json().await?;
    let mut created = graph::without_annotations(created);
    created.insert("calendarId".to_owned(), config.calendar_id.clone().into());
    cx.data(&CreatedEvent(created)).await
}

/// The event as Graph takes it.
fn event(config: &Config, event: NewEvent) -> anyhow::Result<Item> {
    anyhow::ensure!(!config.calendar_id.is_empty(), "`calendarId` is empty: choose a calendar in the step");
    let (start, end) = times(config, &event)?;
    let mut fields = event.more;
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    set("subject", json!(event.subject));
    match (event.body.and_then(|body| body.content).filter(|content| !content.is_empty()), config.body_content_type) {
        (Some(content), kind) => set("body", json!({ "contentType": kind.unwrap_or_default(), "content": content })),
        (None, None) => {}
        (None, Some(_)) => anyhow::bail!(
            "`body.content` is empty, but the step has a body content type: give a text, or choose no content type"
        ),
    }
    set("start", in_zone(start, &config.time_zone));
    set("end", in_zone(end, &config.time_zone));
    set("location", json!(event.location));
    set("reminderMinutesBeforeStart", json!(event.reminder_minutes_before_start));
    set("importance", json!(config.importance));
    set("showAs", json!(config.show_as));
    set("sensitivity", json!(config.sensitivity));
    if config.is_all_day {
        set("isAllDay", true.into());
    }
    Ok(fields)
}

/// Begin and end, local to the step's time zone. Of an all-day event, midnight before the first and after the last day.
fn times(config: &Config, event: &NewEvent) -> anyhow::Result<(DateTime, DateTime)> {
    anyhow::ensure!(!config.time_zone.trim().is_empty(), "`timeZone` is empty: choose a time zone in the step");
    let zone = time::zone(&config.time_zone, "timeZone")?;
    let start = event.start.date_time.local("start.dateTime", &zone)?;
    let end = event.end.date_time.local("end.dateTime", &zone)?;
    anyhow::ensure!(end >= start, "`end.dateTime` ({end}) is before `start.dateTime` ({start})");
    if !config.is_all_day {
        return Ok((start, end));
    }
    Ok((start.date().at(0, 0, 0, 0), end.date().checked_add(1.day())?.at(0, 0, 0, 0)))
}

fn in_zone(local: DateTime, zone: &str) -> Value {
    json!({ "dateTime": local.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "timeZone": zone })
}
