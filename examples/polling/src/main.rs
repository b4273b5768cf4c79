//! A trigger that polls an API for what has changed since the last poll. To run it on the emulator:
//!
//!     cargo run -p elasticio-emulator -- run --function changedItems --config examples/polling/config.json -- cargo run -q -p polling

#[cfg(test)]
mod tests;

use sailor::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Config {
    url: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Item {
    id: String,
    updated_at: String,
}

struct ChangedItems;

impl Trigger for ChangedItems {
    type Config = Config;
    type Output = Item;
    /// The last item. The next poll begins after it.
    type Snapshot = Item;

    async fn poll(
        &self,
        last: Option<Item>,
        cx: Context<Config, Item>,
    ) -> anyhow::Result<Option<Item>> {
        let since = last.map_or("2000-01-01".into(), |item| item.updated_at);
        let request = cx.http().get(&cx.config.url);
        let response = request.query(&[("updated_since", since)]).send().await?;
        let mut page: Page = response.error_for_status()?.json().await?;
        for item in &page.items {
            cx.data(item).await?;
        }
        Ok(page.items.pop())
    }
}

fn component() -> anyhow::Result<Component> {
    let component = Component::new(include_str!("../component.json"))?;
    component.trigger("changedItems", ChangedItems).check()
}

fn main() -> std::process::ExitCode {
    sailor::main(component)
}
