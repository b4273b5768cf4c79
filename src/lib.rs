//! A sailor for elastic.io-style integration platforms: the process inside a component's container.
//!
//! It reads encrypted messages from the platform's broker, hands each to the component's action or trigger, and
//! publishes what the action or trigger emits. A component is a component.json, and a module for each function in it:
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
//! struct Config {
//!     #[serde(default, deserialize_with = "sailor::fields::number")]
//!     vat: Option<f64>,
//! }
//!
//! async fn price(message: Message<Order>, cx: Context<Config, Priced>) -> anyhow::Result<()> {
//!     let vat = cx.config.vat.unwrap_or(0.2);
//!     cx.data(&Priced { gross: message.body.amount * (1.0 + vat) }).await
//! }
//!
//! fn component() -> anyhow::Result<Component> {
//!     let component_json = r#"{"title": "Prices", "actions": {"price": {"main": "./lib/price.rs"}}}"#;
//!     Component::new(component_json)?.action("price", price).check()
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! # let component = component()?;
//! # let harness = sailor::testing::Harness::new(&component, "price").config(serde_json::json!({"vat": "0.25"}));
//! # assert_eq!(harness.run(serde_json::json!({"amount": 4})).await?.data::<serde_json::Value>()[0]["gross"], 5.0);
//! # Ok(()) }
//! ```
//!
//! The component's `main` function calls [`main`]. [`testing::Harness`] runs a module in memory, for tests. [`protocol`] is
//! the wire format, for programs that talk to the platform themselves.
//!
//! The [`prelude`] has the derive of `JsonSchema` and what it needs: a component does not depend on the crate `schemars`.
//! Without the prelude, name the crate at the type: `#[schemars(crate = "sailor::schemars")]`.

// The crate's own tests are linked with the emulator, and thus with this crate once more.
#[cfg(all(feature = "jemalloc", target_os = "linux", not(test)))]
mod allocator;
#[cfg(test)]
mod captured_log;
#[cfg(doctest)]
mod documentation;

// From the bottom up: a folder uses only the folders that are listed above it.
mod codes;

pub mod protocol;

mod formats;

pub mod settings;

mod monitoring;

mod clients;

pub mod oauth2;

mod broker;

mod component;

pub mod http;

mod engine;

pub mod testing;

mod cli;

#[doc(hidden)]
pub use cli::command_line;
pub use cli::main;
pub use clients::{
    object_storage::{ObjectStorage, StoredFile},
    platform::Platform,
};
pub use component::{
    Component, Mismatch, Verified, bounds as check,
    context::{Context, HookContext, ServiceContext},
    emitter::{Emitter, NotEmitted},
    error::{Rebound, ReboundExt},
    fields,
    message::{Attachment, Attachments, HttpReply, Message, NoBody},
    module::{Action, FnAction, IntoAction, IntoTrigger, Metadata, RegisteredModule, Trigger},
    snapshot,
};
#[doc(hidden)]
pub use engine::internals;
pub use engine::{Shutdown, run};
/// The crate whose `Timestamp` stands in signatures, such as that of [`http::parse_time`]. serde reads and writes its types.
pub use jiff;
/// The crate of [`Context::http`], and of the requests, bodies and responses of [`Context::oauth`].
pub use reqwest;
pub use schemars;
pub use settings::{descriptor, lint};

/// What most modules use.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
///
/// #[derive(Debug, PartialEq, serde::Deserialize, serde::Serialize, JsonSchema)]
/// struct Pet { name: String }
///
/// async fn adopt(message: Message<Pet>, cx: Context<serde_json::Value, Pet>) -> anyhow::Result<()> {
///     cx.data(&message.body).await
/// }
/// let component = Component::new(r#"{"actions": {"adopt": {"main": "./adopt.rs"}}}"#)?.action("adopt", adopt);
/// let metadata = component.metadata_of("adopt").unwrap();
/// assert_eq!(metadata.output["properties"]["name"]["required"], true);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub mod prelude {
    pub use crate::{
        Action, Attachment, Component, Context, Emitter, HookContext, HttpReply, Message, NoBody,
        Rebound, ReboundExt, ServiceContext, Trigger, Verified,
    };
    // `derive(JsonSchema)` expands to paths that begin with `schemars`.
    pub use schemars::{self, JsonSchema};
}
