//! Trigger "Poll for new and changed contacts".

use super::{
    changes::{Batch, Changes},
    emit::{emit, report},
    position::Position,
};
use crate::{graph, items::Contact};
use anyhow::Context as _;
use sailor::{
    prelude::*,
    snapshot::{Memory, Snapshot},
};
use serde_json::Value;

const PAGE_SIZE: u32 = 900;

/// Emits each contact that is new or has changed since the last poll.
#[derive(Default)]
pub struct GetContacts {
    memory: Memory<Position>,
}

impl Trigger for GetContacts {
    type Config = Value;
    type Snapshot = Snapshot<Position>;
    type Output = Contact;

    /// Saves the position after each page, and before an error, so that no contact is emitted twice.
    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Value, Contact>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let path = graph::path(&["me", "contacts"])?;
        let position = since.map(|since| self.memory.recall(since));
        let position = position.unwrap_or_default();
        let mut changes = Changes::new(cx.oauth(), path, PAGE_SIZE, position);
        while !cx.cancelled.is_cancelled()
            && let Some(batch) = changes.next().await.context("reading the contacts")?
        {
            let before = changes.position().clone();
            let emitted = emit_batch(&cx, &mut changes, batch).await;
            if *changes.position() != before {
                let snapshot = self.memory.save(changes.position().clone())?;
                cx.snapshot(&snapshot).await?;
            }
            emitted?;
        }
        Ok(None)
    }
}

/// Emits a page until the process stops. A contact counts as emitted when its message is confirmed.
async fn emit_batch(
    cx: &Context<Value, Contact>,
    changes: &mut Changes<'_>,
    batch: Batch,
) -> anyhow::Result<()> {
    report(cx, changes, batch.faults).await?;
    for mut change in batch.changes {
        if cx.cancelled.is_cancelled() {
            break;
        }
        let contact = Contact(std::mem::take(&mut change.item));
        emit(cx, changes, &change, contact).await?;
    }
    Ok(())
}
