//! Action "Check availability": is there an event in the calendar at a time?

use super::{calendar, time::Time};
use jiff::Timestamp;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The time to look at.
#[derive(Deserialize, JsonSchema)]
pub struct Moment {
    /// ISO 8601 or milliseconds since 1970; now, when left out. Without an offset it is UTC.
    #[serde(default)]
    pub time: Option<Time>,
}

impl Moment {
    /// The time that is given; none for now.
    pub fn given(self) -> Option<Time> {
        self.time.filter(|time| !time.is_empty())
    }
}

/// Whether the user is available.
#[derive(Serialize, JsonSchema)]
pub struct Availability {
    /// True when no event covers this time.
    available: bool,
}

/// Looks into the user's default calendar.
pub async fn check_availability(
    message: Message<Moment>,
    cx: Context<Value, Availability>,
) -> anyhow::Result<()> {
    let at = message
        .body
        .given()
        .map_or_else(|| Ok(Timestamp::now()), |time| time.point("time"))?;
    cx.data(&Availability {
        available: calendar::is_free(cx.oauth(), at).await?,
    })
    .await
}
