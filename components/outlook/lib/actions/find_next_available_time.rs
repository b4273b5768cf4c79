//! Action "Find next available time": the first gap in the calendar.

use super::{calendar, check_availability::Moment, time};
use jiff::Timestamp;
use sailor::prelude::*;
use serde::Serialize;
use serde_json::Value;

/// When the user is available.
#[derive(Serialize, JsonSchema)]
pub struct NextTime {
    /// The time that was asked for when it is free, otherwise the end of the events that follow it without a gap.
    time: String,
}

/// Looks into the user's default calendar.
pub async fn find_next_available_time(
    message: Message<Moment>,
    cx: Context<Value, NextTime>,
) -> anyhow::Result<()> {
    let given = message.body.given();
    let from = given
        .as_ref()
        .map_or_else(|| Ok(Timestamp::now()), |time| time.point("time"))?;
    let free = calendar::next_free(cx.oauth(), from).await?;
    let time = match given {
        Some(given) if free == from => given.to_string(),
        _ => time::written(free),
    };
    cx.data(&NextTime { time }).await
}
