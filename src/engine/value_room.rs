//! The memory of JSON that modules read as [`Value`](serde_json::Value).
//!
//! A list of small objects takes up to a hundred times its text as values. So what it takes is estimated from the text
//! before it is parsed. A message waits until it fits, and is refused if it can never fit.

use crate::{
    component::module::Module,
    protocol::{Json, Object},
    settings::MemoryShares,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Shorter texts are not examined: what they take is small.
const LEAST_TEXT: usize = 4 * 1024;
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
        let Some(body) = message.get("body").filter(|_| module.reads_values()) else {
            return Ok(None);
        };
        if body.as_bytes().len() < LEAST_TEXT {
            return Ok(None);
        }
        // One copy is part of what every message takes.
        let needed = body.value_size().saturating_sub(body.as_bytes().len());
        anyhow::ensure!(needed / UNIT <= self.size / UNIT, "{}", self.refusal(body));
        let permits = u32::try_from(needed / UNIT).unwrap_or(u32::MAX);
        Ok(self.permits.acquire_many(permits).await.ok())
    }

    fn refusal(&self, body: &Json) -> String {
        const MIB: usize = 1 << 20;
        format!(
            "the body is {} bytes of JSON, which take about {} MB of memory as serde_json::Value; with a memory limit of {} \
             MB, values may take {} MB. Read the body into a type of your own, give the container more memory, or send \
             smaller messages",
            body.as_bytes().len(),
            body.value_size() / MIB,
            self.limit / MIB,
            self.size / MIB,
        )
    }
}
