//! New component: one action and one trigger for an API behind OAuth2. README.md says how to run and change it.

mod api;
mod create_item;
mod poll_records;
#[cfg(test)]
mod tests;

use sailor::prelude::*;
use std::process::ExitCode;

/// One line for each function of component.json.
fn component() -> anyhow::Result<Component> {
    Component::new(include_str!("../component.json"))?
        .oauth2(api::oauth2())
        .verify_credentials(api::verify)
        .select_model("getItems", api::get_items)
        .action("createItem", create_item::create_item)
        .trigger("pollRecords", poll_records::PollRecords::default())
        .check()
}

fn main() -> ExitCode {
    sailor::main(component)
}
