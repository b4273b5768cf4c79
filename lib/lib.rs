//! The reference component: one action and two triggers for any REST API.

mod actions;
mod api;
mod fields;
mod triggers;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::{http::RateLimiter, prelude::*};
use std::sync::Arc;

/// The component: one line for each function of component.json.
///
/// # Errors
/// Returns an error if component.json and the functions do not match.
pub fn component() -> anyhow::Result<Component> {
    let limiter = Arc::new(RateLimiter::default());
    Component::new(include_str!("../component.json"))?
        .oauth2(api::oauth2())
        .verify_credentials(verify_credentials::verify)
        .action("makeRequest", actions::MakeRequest(limiter.clone()))
        .trigger("pollItems", triggers::PollItems::new(limiter))
        .trigger("receiveWebhooks", triggers::ReceiveWebhooks)
        .check()
}
