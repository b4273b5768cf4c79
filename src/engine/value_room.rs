//! The memory of JSON that modules parse.
//!
//! A list of small objects takes up to 150 times its text as [`Value`](serde_json::Value), and several times in a type of
//! the component's own. So what it takes is estimated from the text before it is parsed. A message waits until it fits, and is
//! refused if it can never fit.

use crate::{
    codes::{self, Coded},
    component::module::{InputKind, Module},
    protocol::Object,
    settings::MemoryShares,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Shorter texts are not examined: what they take is small.
const LEAST_TEXT: usize = 4 * 1024;
/// What a type takes, as a part of what a `Value` takes: it has the same texts and lists, but no trees.
const TYPE_PART: usize = 3;
/// The most that a text can take as a `Value`, as a multiple of its length: objects in objects, with one member each.
const WORST: usize = 150;
/// A text is not examined if its worst case fits into this part of what is free. So most messages of a large container are
/// not, and those that are not leave room for others.
const FREE_PART: usize = 8;
/// The unit of the permits, in bytes.
const UNIT: usize = 1024;

/// The room for the values of all messages of a step.
pub(super) struct ValueRoom {
    size: usize,
    limit: usize,
    permits: Semaphore,
}

impl ValueRoom {
    pub(super) fn new(memory: &MemoryShares) -> Self {
        Self {
            size: memory.values,
            limit: memory.limit,
            permits: Semaphore::new(memory.values / UNIT),
        }
    }

    /// Waits for the memory that the body of a message takes beyond that of its text. Messages get it in order.
    ///
    /// # Errors
    /// Returns an error if it can never fit.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(super) async fn room_for(
        &self,
        message: &Object,
        module: &dyn Module,
    ) -> anyhow::Result<Option<SemaphorePermit<'_>>> {
        let kind = module.input_kind();
        let Some(body) = message.get("body").filter(|_| kind != InputKind::Nothing) else {
            return Ok(None);
        };
        let length = body.as_bytes().len();
        if length < LEAST_TEXT {
            return Ok(None);
        }
        let worst = length.saturating_mul(WORST);
        let free = self.permits.available_permits() * UNIT;
        let as_value = if worst <= free / FREE_PART {
            worst
        } else {
            body.value_size()
        };
        let size = match kind {
            InputKind::Value => as_value,
            InputKind::Type | InputKind::Nothing => as_value / TYPE_PART,
        };
        // One copy is part of what every message takes.
        let needed = size.saturating_sub(length);
        if needed / UNIT > self.size / UNIT {
            return Err(self.refusal(kind, length, size));
        }
        let permits = u32::try_from(needed / UNIT).unwrap_or(u32::MAX);
        Ok(self.permits.acquire_many(permits).await.ok())
    }

    fn refusal(&self, kind: InputKind, length: usize, size: usize) -> anyhow::Error {
        const MIB: usize = 1 << 20;
        let (form, remedy) = match kind {
            InputKind::Value => (
                " as serde_json::Value",
                "Read the body into a type of your own, give",
            ),
            InputKind::Type | InputKind::Nothing => (" when they are parsed", "Give"),
        };
        let text = format!(
            "the body is {length} bytes of JSON, which take about {} MB of memory{form}; with a memory limit of {} MB, \
             parsed bodies may take {} MB. {remedy} the container more memory, or send smaller messages",
            size / MIB,
            self.limit / MIB,
            self.size / MIB,
        );
        Coded::new(codes::MESSAGE_TOO_LARGE, text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Json;

    #[test]
    fn no_text_takes_more_than_the_worst_case() {
        let nested = |levels: usize| format!("{}0{}", r#"{"":"#.repeat(levels), "}".repeat(levels));
        for item in [
            nested(1),
            nested(3),
            nested(100),
            "[0]".into(),
            "[[]]".into(),
            "\"\"".into(),
        ] {
            let text = format!("[{}0]", format!("{item},").repeat(1000));
            let length = text.len();
            let size = Json::from_text(text.into()).unwrap().value_size();
            assert!(size <= WORST * length, "{item}: {size} of {length}");
        }
    }
}
