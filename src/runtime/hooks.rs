//! The module's hooks: init, startup, shutdown (contract §2.3, §2.4).

use crate::{context::ServiceRun, module::Module, platform::Platform, protocol::Json};
use anyhow::Context as _;
use serde_json::Value;

/// Runs the startup hook and stores what it returns; an empty result is stored as `{}`.
pub(super) async fn startup(module: &dyn Module, run: ServiceRun, platform: &Platform) -> anyhow::Result<()> {
    let state = module.startup(run).await.context("the startup hook failed")?;
    let state = if Json::from(&state).is_empty() { Value::Object(serde_json::Map::new()) } else { state };
    platform.store_startup_data(&state).await.context("storing what the startup hook returned")
}

/// Runs the shutdown hook with what the startup hook stored, and forgets that.
pub(super) async fn shutdown(module: &dyn Module, run: ServiceRun, platform: &Platform) -> anyhow::Result<()> {
    let state = platform.startup_data().await.context("reading what the startup hook stored")?;
    module.shutdown(run, state).await.context("the shutdown hook failed")?;
    platform.delete_startup_data().await.context("deleting what the startup hook stored")
}
