//! Trigger "Poll for new and changed contacts".

use super::{
    graph,
    items::Contact,
    poll::{Change, Changes, Position},
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde_json::Value;

const PER_PAGE: u32 = 900;

/// Emits each contact that is new or has changed since the last poll.
pub struct GetContacts;

impl Trigger for GetContacts {
    type Config = Value;
    type Snapshot = Position;
    type Output = Contact;

    /// The position is saved after each page, and when something fails: what was emitted is not emitted again.
    async fn poll(
        &self,
        since: Option<Position>,
        cx: Context<Value, Contact>,
    ) -> anyhow::Result<Option<Position>> {
        let path = graph::path(&["me", "contacts"])?;
        let mut changes = Changes::new(cx.oauth(), path, PER_PAGE, since.unwrap_or_default());
        while !cx.cancelled.is_cancelled()
            && let Some(page) = changes.next().await.context("reading the contacts")?
        {
            let before = changes.position().clone();
            let emitted = emit(&cx, &mut changes, page).await;
            if *changes.position() != before {
                cx.snapshot(changes.position()).await?;
            }
            emitted?;
        }
        Ok(None)
    }
}

/// Emits a page, as far as there is time; each contact counts as done when it is confirmed.
async fn emit(
    cx: &Context<Value, Contact>,
    changes: &mut Changes<'_>,
    page: Vec<Change>,
) -> anyhow::Result<()> {
    for mut change in page {
        if cx.cancelled.is_cancelled() {
            break;
        }
        cx.data(&Contact(std::mem::take(&mut change.item))).await?;
        changes.done(&change);
    }
    Ok(())
}
