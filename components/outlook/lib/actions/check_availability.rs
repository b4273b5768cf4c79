//! Action "Check availability": whether the calendar has no event at a time.

use crate::{calendar, time::Time};
use jiff::Timestamp;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The time to check.
#[derive(Deserialize, JsonSchema)]
pub struct At {
    /// ISO 8601, or milliseconds since 1970. Without an offset it is UTC. The default is now.
    #[serde(default)]
    time: Option<Time>,
}

impl At {
    /// The time of the message; none for now.
    pub fn time(self) -> Option<Time> {
        self.time.filter(|time| !time.is_empty())
    }
}

/// Whether the user is available.
#[derive(Serialize, JsonSchema)]
pub struct Availability {
    /// True if no event covers this time.
    available: bool,
}

/// Checks the user's default calendar.
pub async fn check_availability(
    message: Message<At>,
    cx: Context<Value, Availability>,
) -> anyhow::Result<()> {
    let at = match message.body.time() {
        Some(time) => time.timestamp("time")?,
        None => Timestamp::now(),
    };
    let available = calendar::is_free(cx.oauth(), at).await?;
    cx.data(&Availability { available }).await
}
