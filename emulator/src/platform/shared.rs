//! What all requests share.

use super::{PlatformConfig, sends::PendingSend, state::State as PlatformState};
use http_double::Calls;
use serde_json::{Map, Value};
use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// A request to a flow's webhook address that waits for its response.
pub(crate) struct Webhook {
    /// The message that is made of it: `body`, `headers`, `method`, `originalUrl`, `url` and `query`.
    pub(crate) message: Value,
    /// Takes the response. Closed when the caller has gone away.
    pub(crate) respond: oneshot::Sender<WebhookResponse>,
}

/// The response to a request to a flow's webhook address.
pub(crate) struct WebhookResponse {
    pub(crate) status: u16,
    pub(crate) headers: Map<String, Value>,
    /// Sent as JSON, unless it is a text and the headers have another content type.
    pub(crate) body: Value,
}

impl WebhookResponse {
    /// A response with a JSON body.
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Map::new(),
            body,
        }
    }
}

/// The flow that has a webhook, and where its requests go.
pub(super) type Hooks = (String, mpsc::UnboundedSender<Webhook>);

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: PlatformConfig,
    pub(super) addr: SocketAddr,
    pub(super) state: Mutex<PlatformState>,
    pub(super) hooks: Mutex<Option<Hooks>>,
    pub(super) sends: Mutex<Option<mpsc::UnboundedSender<PendingSend>>>,
    pub(super) calls: Calls,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, PlatformState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hooks(&self) -> MutexGuard<'_, Option<Hooks>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sends(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<PendingSend>>> {
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
