//! Trigger "Poll for new and changed contacts".

use super::{
    graph,
    items::Contact,
    poll::{Changes, Position},
};
use sailor::prelude::*;
use serde_json::Value;

const PER_PAGE: u32 = 900;

/// Emits each contact that is new or has changed since the last poll.
pub struct GetContacts;

impl Trigger for GetContacts {
    type Config = Value;
    type Snapshot = Position;
    type Output = Contact;

    /// The position is saved after each page, and when something fails, so that a long first poll is not begun anew.
    async fn poll(&self, since: Option<Position>, cx: &Context<Value, Contact>) -> anyhow::Result<Option<Position>> {
        let path = graph::path(&["me", "contacts"]);
        let mut changes = Changes::new(cx.oauth(), path, PER_PAGE, since.unwrap_or_default());
        while !cx.cancelled.is_cancelled()
            && let Some(page) = changes.next().await?
        {
            let mut emitted = Ok(());
            for mut change in page {
                let contact = Contact(std::mem::take(&mut change.item));
                emitted = cx.data(&contact).await;
                if emitted.is_err() {
                    break;
                }
                changes.done(&change);
            }
            cx.snapshot(changes.position()).await?;
            emitted?;
        }
        Ok(None)
    }
}
