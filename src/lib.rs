//! A sailor for elastic.io-style integration platforms: the process inside a component's container.
//!
//! It reads encrypted messages from the platform's broker, hands each to the component's action or trigger, and
//! publishes what that emits. A component is a descriptor, and a module per function:
//!
//! ```
//! use sailor::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Order { amount: f64 }
//! #[derive(Serialize, JsonSchema)]
//! struct Priced { gross: f64 }
//! #[derive(Deserialize)]
//! struct Config { vat: f64 }
//!
//! async fn price(message: Message<Order>, cx: Context<Config, Priced>) -> anyhow::Result<()> {
//!     cx.data(&Priced { gross: message.body.amount * (1.0 + cx.config.vat) }).await
//! }
//!
//! fn component() -> anyhow::Result<Component> {
//!     let component_json = r#"{"title": "Prices", "actions": {"price": {"main": "./lib/price.rs"}}}"#;
//!     Ok(Component::new(component_json)?.action("price", price).check()?)
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! # let component = component()?;
//! # let harness = sailor::testing::Harness::new(&component, "price").config(serde_json::json!({"vat": 0.25}));
//! # assert_eq!(harness.run(serde_json::json!({"amount": 4})).await?.data::<serde_json::Value>()[0]["gross"], 5.0);
//! # Ok(()) }
//! ```
//!
//! Its `main` function is [`main`]; [`testing::Harness`] runs it in memory. The wire format stands in [`protocol`],
//! for anyone who wants to speak to the platform.

// From the bottom up: a folder uses only what stands above it here.
pub mod protocol;
pub mod settings;

mod clients;

pub mod oauth2;

mod broker;

mod component;

mod engine;

pub mod testing;

mod cli;

pub use cli::main;
pub use clients::{object_storage::ObjectStorage, platform::Platform};
pub use component::{
    Component, Mismatch, Verified,
    context::{Context, ServiceContext},
    emitter::Emitter,
    error::{Rebound, ReboundExt},
    fields, http,
    message::{Attachment, Attachments, HttpReply, Message, NoBody},
    module::{Action, FnAction, IntoAction, IntoTrigger, Metadata, RegisteredModule, Trigger},
};
pub use engine::{Shutdown, run};
pub use settings::descriptor;

/// What most modules use.
pub mod prelude {
    pub use crate::{
        Action, Attachment, Component, Context, Emitter, HttpReply, Message, NoBody, Rebound,
        ReboundExt, ServiceContext, Trigger, Verified,
    };
    pub use schemars::JsonSchema;
}
