//! One line per module of component.json.

#[path = "api.rs"]
mod api;
#[path = "fields.rs"]
mod fields;
#[path = "limit.rs"]
mod limit;
#[path = "actions/make_request.rs"]
mod make_request;
#[path = "triggers/poll_items.rs"]
mod poll_items;
#[path = "triggers/receive_webhooks.rs"]
mod receive_webhooks;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use limit::Limits;
use sailor::prelude::*;
use std::sync::Arc;

/// The component, checked against its component.json.
pub fn component() -> anyhow::Result<Component> {
    let limits = Arc::new(Limits::default());
    Component::new(include_str!("../component.json"))?
        .action("makeRequest", make_request::MakeRequest(limits.clone()))
        .trigger("pollItems", poll_items::PollItems(limits))
        .trigger("receiveWebhooks", receive_webhooks::ReceiveWebhooks)
        .oauth2(api::oauth2())
        .verify_credentials(verify_credentials::verify)
        .check()
}
