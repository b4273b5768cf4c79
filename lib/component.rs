//! One line per module of component.json.

#[path = "api.rs"]
mod api;
#[path = "actions/make_request.rs"]
mod make_request;
#[path = "triggers/poll_items.rs"]
mod poll_items;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::prelude::*;

/// The component, checked against its component.json.
pub fn component() -> anyhow::Result<Component> {
    Ok(Component::new(include_str!("../component.json"))?
        .action("makeRequest", make_request::make_request)
        .trigger("pollItems", poll_items::PollItems)
        .oauth2(api::oauth2())
        .verify_credentials(verify_credentials::verify)
        .check()?)
}
