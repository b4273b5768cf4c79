//! The engine starts a step, processes its messages, and stops without losing any.
//!
//! `start` prepares the step, `run` takes each delivery to its verdict, `stop` ends the process in limited time.
//! `decode` and `bodies` read a message, `emit` and `error_event` publish its events, `in_flight` recognizes
//! redeliveries. The engine accesses the broker only through a [`Transport`], and the module only through a [`Module`].

mod account;
mod aging_map;
mod bodies;
mod decode;
mod deduplication;
mod emit;
mod ending;
mod error_event;
mod event_room;
mod hooks;
mod ids;
mod in_flight;
mod in_memory;
mod keys;
mod message_keys;
mod metrics;
mod original;
mod pending;
mod rate_limit;
mod run;
pub(crate) mod service;
mod spans;
mod start;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod untrusted;
mod value_room;

/// What this project's own benchmarks and fuzz targets use: a step without a broker and a platform, and the readers of bytes
/// from outside. It is not part of the public interface and can change in any version.
#[doc(hidden)]
pub mod internals {
    pub use super::{
        in_memory::InMemoryStep,
        untrusted::{read_challenges, read_error_event, read_message, read_token_response},
    };
}

pub(crate) use account::{AccountClient, AccountCredentials};
pub(crate) use bodies::check_message_size;
pub(crate) use keys::{KeyStore, update_keys};
pub(crate) use start::{platform_client, session_config, storage};
pub(crate) use step::Step;

use crate::{
    broker::transport::Transport,
    codes,
    component::{Component, context::Clients, module::Module},
    monitoring::Metrics,
    oauth2::Session,
    protocol::{Cipher, StepIdentity},
    settings::{Mode, RunSettings, Settings},
};
use bodies::BodyStorage;
use deduplication::Deduplication;
use event_room::EventRoom;
use in_flight::InFlight;
use rate_limit::RateLimiters;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use value_room::ValueRoom;

/// The two ways to stop a running step, in the order in which an operator uses them.
///
/// ```
/// use sailor::Shutdown;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let shutdown = Shutdown::default();
/// let graceful = shutdown.graceful.clone();
/// tokio::spawn(async move {
///     tokio::time::sleep(Duration::from_millis(10)).await;
///     graceful.cancel();
/// });
/// // `sailor::run(settings, &component, shutdown)` now ends after its messages.
/// shutdown.graceful.cancelled().await;
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Takes no new messages; running ones are finished within `SHUTDOWN_TIMEOUT`.
    pub graceful: CancellationToken,
    /// Stops at once; unsettled messages return to the queue.
    pub immediate: CancellationToken,
}

/// Runs a step until it is asked to stop. If the settings say so, runs its shutdown hook instead.
///
/// # Errors
/// Returns an error if the step cannot start, or if the broker refuses it permanently. A start error is also published
/// to the platform if possible. No message is lost: unsettled messages stay in the queue.
///
/// # Cancel safety
/// Dropping the future abandons the running messages. The broker delivers them again.
///
/// ```
/// use sailor::{Component, Shutdown, settings::{self, Settings}};
///
/// /// Runs a step until Ctrl-C is pressed.
/// async fn run_until_interrupted(component: &Component) -> anyhow::Result<()> {
///     let shutdown = Shutdown::default();
///     let graceful = shutdown.graceful.clone();
///     tokio::spawn(async move {
///         if tokio::signal::ctrl_c().await.is_ok() {
///             graceful.cancel();
///         }
///     });
///     sailor::run(Settings::read(settings::environment)?, component, shutdown).await
/// }
/// ```
pub async fn run(
    settings: Settings,
    component: &Component,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    run_with(settings, Ok(component), shutdown).await
}

/// Like [`run`], but also publishes the error if the component could not be created.
pub(crate) async fn run_with(
    mut settings: Settings,
    component: anyhow::Result<&Component>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Mode::Run(run) = std::mem::replace(&mut settings.mode, Mode::ShutdownHook) else {
        // Signals do not interrupt the hook: an incomplete hook must not look like a complete one (wire-contract:
        // Shutdown hook).
        return start::run_shutdown_hook(settings, component?).await;
    };
    let immediate = shutdown.immediate.clone();
    tokio::select! {
        biased;
        () = immediate.cancelled() => {
            tracing::warn!(code = %codes::STOPPED_AT_ONCE, "Stopping at once, as requested");
            Ok(())
        }
        result = start::run_step(settings, *run, component, shutdown) => result,
    }
}

/// A running step.
pub(crate) struct Engine<T: Transport> {
    transport: Arc<T>,
    module: Arc<dyn Module>,
    resolves_references: bool,
    step: Arc<Step>,
    cipher: Cipher,
    identity: StepIdentity,
    additional_headers: Vec<(String, String)>,
    settings: RunSettings,
    clients: Clients,
    account: AccountClient,
    session: Option<Session>,
    bodies: BodyStorage,
    rate_limiters: RateLimiters,
    event_room: Arc<EventRoom>,
    values: ValueRoom,
    in_flight: Arc<InFlight<T::Handle>>,
    deduplication: Option<Deduplication>,
    /// Events that were emitted after their message had finished.
    late_events: TaskTracker,
    /// Is cancelled when the process is asked to stop.
    stopping: CancellationToken,
    /// Is cancelled when nothing more is settled: unfinished messages return to the queue.
    abandoned: CancellationToken,
    /// What the step runs on.
    runtime: Handle,
    metrics: Arc<Metrics>,
}

/// Returns the current time in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
