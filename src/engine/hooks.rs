//! The module's hooks: init, startup, shutdown (wire-contract: Startup hook, wire-contract: Shutdown hook).

use crate::{
    clients::platform::Platform,
    codes::{self, Code, Coded},
    component::{context::ServiceContextParts, module::Module},
    protocol::Json,
};
use anyhow::Context as _;
use futures_util::FutureExt;
use serde_json::Value;
use std::{any::Any, panic::AssertUnwindSafe, time::Duration};
use tokio::time::timeout;

/// Runs the startup hook and stores what it returns; an empty result is stored as `{}`.
pub(super) async fn startup(
    module: &dyn Module,
    context: ServiceContextParts,
    platform: &Platform,
) -> anyhow::Result<()> {
    let running = catch_panic(async { module.startup(context).await });
    let state = warn_while_slow(
        codes::HOOK_SLOW,
        "The startup hook has been running for minutes",
        running,
    )
    .await
    .context(Coded::new(codes::HOOK_FAILED, "the startup hook failed"))?;
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

/// Runs the module's `init`.
pub(super) async fn init(module: &dyn Module, context: ServiceContextParts) -> anyhow::Result<()> {
    let running = catch_panic(async { module.init(context).await });
    warn_while_slow(
        codes::HOOK_SLOW,
        "The init hook has been running for minutes",
        running,
    )
    .await
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
    let running = catch_panic(async { module.shutdown(context, state).await });
    warn_while_slow(
        codes::HOOK_SLOW,
        "The shutdown hook has been running for minutes",
        running,
    )
    .await
    .context(Coded::new(codes::HOOK_FAILED, "the shutdown hook failed"))?;
    platform
        .delete_startup_data()
        .await
        .context("deleting what the startup hook stored")
}

/// Work that takes longer than this causes a warning: RabbitMQ takes a message back after 30 minutes.
const SLOW_WARNING: Duration = Duration::from_secs(300);

/// Does work that has no time limit, and logs `warning` with `code` each time it has taken five more minutes.
pub(super) async fn warn_while_slow<R>(
    code: Code,
    warning: &str,
    work: impl Future<Output = R>,
) -> R {
    tell_while_slow(|| (code, warning), work).await
}

/// Does work that has no time limit, and logs what `warning` returns each time it has taken five more minutes.
pub(super) async fn tell_while_slow<'a, R>(
    warning: impl Fn() -> (Code, &'a str),
    work: impl Future<Output = R>,
) -> R {
    let mut work = std::pin::pin!(work);
    let mut seconds = 0;
    loop {
        match timeout(SLOW_WARNING, &mut work).await {
            Ok(result) => break result,
            Err(_) => {
                seconds += SLOW_WARNING.as_secs();
                let (code, warning) = warning();
                tracing::warn!(%code, seconds, "{warning}");
            }
        }
    }
}

/// Runs the module's code, and turns a panic into an error. `work` has to contain the call of the module, because the
/// call can panic before it returns a future.
pub(super) async fn catch_panic<R>(
    work: impl Future<Output = anyhow::Result<R>>,
) -> anyhow::Result<R> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|panic| {
        let text = format!("the module panicked: {}", panic_text(&*panic));
        Err(Coded::new(codes::PANICKED, text).into())
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
