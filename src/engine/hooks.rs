//! The module's hooks: init, startup, shutdown (wire-contract: Startup hook, wire-contract: Shutdown hook).

use crate::{
    clients::platform::Platform,
    component::{context::ServiceContextParts, module::Module},
    protocol::Json,
};
use anyhow::Context as _;
use futures_util::FutureExt;
use serde_json::Value;
use std::{any::Any, panic::AssertUnwindSafe};

/// Runs the startup hook and stores what it returns; an empty result is stored as `{}`.
pub(super) async fn startup(
    module: &dyn Module,
    context: ServiceContextParts,
    platform: &Platform,
) -> anyhow::Result<()> {
    let state = catch_panic(async { module.startup(context).await })
        .await
        .context("the startup hook failed")?;
    let state = if Json::from(&state).is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        state
    };
    platform
        .store_startup_data(&state)
        .await
        .context("storing what the startup hook returned")
}

/// Runs the shutdown hook with what the startup hook stored, and deletes the stored result.
pub(super) async fn shutdown(
    module: &dyn Module,
    context: ServiceContextParts,
    platform: &Platform,
) -> anyhow::Result<()> {
    let state = platform
        .startup_data()
        .await
        .context("reading what the startup hook stored")?;
    catch_panic(async { module.shutdown(context, state).await })
        .await
        .context("the shutdown hook failed")?;
    platform
        .delete_startup_data()
        .await
        .context("deleting what the startup hook stored")
}

/// Runs the module's code, and turns a panic into an error. `work` has to contain the call of the module, because the
/// call can panic before it returns a future.
pub(super) async fn catch_panic<R>(
    work: impl Future<Output = anyhow::Result<R>>,
) -> anyhow::Result<R> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|panic| {
        Err(anyhow::anyhow!(
            "the module panicked: {}",
            panic_text(&*panic)
        ))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
