//! Action "Find next available time": the first gap in the calendar.

use super::check_availability::At;
use crate::calendar;
use jiff::Timestamp;
use sailor::prelude::*;
use serde::Serialize;
use serde_json::Value;

/// When the user is available.
#[derive(Serialize, JsonSchema)]
pub struct NextTime {
    /// The time of the message if it is free, otherwise the end of the events that follow it without a gap.
    time: String,
}

/// Searches the user's default calendar.
pub async fn find_next_available_time(
    message: Message<At>,
    cx: Context<Value, NextTime>,
) -> anyhow::Result<()> {
    let given = message.body.time();
    let from = match &given {
        Some(time) => time.timestamp("time")?,
        None => Timestamp::now(),
    };
    let free = calendar::next_free(cx.oauth(), from).await?;
    let time = match given {
        Some(given) if free == from => given.to_string(),
        _ => free.to_string(),
    };
    cx.data(&NextTime { time }).await
}
