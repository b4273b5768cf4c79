//! Calendars and events. The calendar view has only events whose times are in UTC, and no series.

use super::{
    error::ErrorResponse,
    mail::list,
    response::{GraphResult, created, json},
    state::{Item, State, instant},
};
use http_double::ServiceRequest;
use serde_json::Value;

pub(super) fn calendars(state: &State, request: &ServiceRequest) -> GraphResult {
    list(state, state.calendars.iter().collect(), request)
}

/// The events of the default calendar that overlap with a time window.
pub(super) fn view(state: &State, request: &ServiceRequest) -> GraphResult {
    let time = |name: &str| {
        let text = request.query.get(name).ok_or_else(|| {
            ErrorResponse::new(
                400,
                "ErrorInvalidParameter",
                format!("This request requires a time window: {name} is missing."),
            )
        })?;
        instant(text).ok_or_else(|| ErrorResponse::bad_request(format!("{name} is not a time.")))
    };
    let (from, until) = (time("startDateTime")?, time("endDateTime")?);
    let default = state
        .events
        .iter()
        .filter(|event| event.within == "calendar-id=");
    if let Some(other) = default
        .clone()
        .find(|event| event.fields["start"]["timeZone"] != "UTC")
    {
        return Err(ErrorResponse::not_here(format!(
            "calendar view with events in {}",
            other.fields["start"]["timeZone"]
        )));
    }
    let within = |event: &&Item| {
        let (start, end) = (event.time("start/dateTime"), event.time("end/dateTime"));
        start.is_some_and(|start| start < until) && end.is_some_and(|end| end > from)
    };
    list(state, default.filter(within).collect(), request)
}

/// The members of an event that have a fixed set of values.
const CHOICES: [(&str, &[&str]); 3] = [
    ("importance", &["low", "normal", "high"]),
    (
        "showAs",
        &[
            "free",
            "tentative",
            "busy",
            "oof",
            "workingElsewhere",
            "unknown",
        ],
    ),
    (
        "sensitivity",
        &["normal", "personal", "private", "confidential"],
    ),
];

pub(super) fn create(state: &mut State, calendar: &str, request: &ServiceRequest) -> GraphResult {
    if !state.calendars.iter().any(|known| known.id == calendar) {
        return Err(ErrorResponse::no_item());
    }
    let event = json(request)?;
    check_event(&event)?;
    let id = state.new_id("event");
    let event = state.item(&id, calendar, event);
    let mut shown = event.shown();
    shown["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#event".into();
    state.events.push(event);
    created(shown)
}

fn check_event(event: &Value) -> Result<(), ErrorResponse> {
    let all_day = event["isAllDay"] == Value::Bool(true);
    for name in ["start", "end"] {
        check_time(name, &event[name], all_day)?;
    }
    if event["end"]["dateTime"].as_str() < event["start"]["dateTime"].as_str() {
        return Err(ErrorResponse::new(
            400,
            "ErrorPropertyValidationFailure",
            "At least one property failed validation.",
        ));
    }
    for (name, choices) in CHOICES {
        if let Some(value) = event.get(name)
            && !choices.iter().any(|choice| value == choice)
        {
            return Err(ErrorResponse::bad_request(format!(
                "Requested value '{value}' was not found for {name}."
            )));
        }
    }
    if let Some(kind) = event["body"].get("contentType")
        && !["text", "html"].iter().any(|known| kind == known)
    {
        return Err(ErrorResponse::bad_request(format!(
            "Requested value '{kind}' was not found for contentType."
        )));
    }
    Ok(())
}

fn check_time(name: &str, time: &Value, all_day: bool) -> Result<(), ErrorResponse> {
    let (local, zone) = (time["dateTime"].as_str(), time["timeZone"].as_str());
    let (Some(local), Some(zone)) = (local, zone) else {
        return Err(ErrorResponse::bad_request(format!(
            "{name} must have dateTime and timeZone."
        )));
    };
    if zone.is_empty() || local.ends_with('Z') || instant(local).is_none() {
        return Err(ErrorResponse::new(
            400,
            "TimeZoneNotSupportedException",
            format!("{name} is not a local time in a time zone."),
        ));
    }
    if all_day && !local.ends_with("T00:00:00") {
        let message =
            "The Event.Start and Event.End properties of an all-day event must be set to midnight.";
        return Err(ErrorResponse::new(400, "ErrorInvalidRequest", message));
    }
    Ok(())
}
