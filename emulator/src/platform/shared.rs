//! What all requests share.

use super::{PlatformConfig, calls::Calls, faults::Faults, state::State as PlatformState};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A request to a flow's webhook address, waiting for its answer.
pub(crate) struct Webhook {
    /// The message that it makes: `body`, `headers`, `method`, `originalUrl`, `url` and `query`.
    pub(crate) message: Value,
    /// Where the answer goes. Closed when the caller has gone away.
    pub(crate) answer: oneshot::Sender<(u16, Value)>,
}

/// The flow that has a webhook, and who takes its requests.
pub(super) type Hooks = (String, mpsc::UnboundedSender<Webhook>);

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: PlatformConfig,
    pub(super) addr: SocketAddr,
    pub(super) calls: Calls,
    pub(super) faults: Faults,
    pub(super) state: Mutex<PlatformState>,
    pub(super) hooks: Mutex<Option<Hooks>>,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, PlatformState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hooks(&self) -> MutexGuard<'_, Option<Hooks>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
