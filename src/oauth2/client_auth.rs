//! How the client authenticates at the token endpoint, and the way that a provider has accepted.

use reqwest::Url;
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a client authenticates at the token endpoint (RFC 6749 section 2.3): always in exactly one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// `client_id` and `client_secret` among the parameters.
    #[default]
    Post,
    /// HTTP Basic, both parts form-encoded first (RFC 6749 section 2.3.1).
    Basic,
    /// HTTP Basic without that encoding, for providers that do not decode.
    BasicRaw,
    /// `client_id` among the parameters and no secret: a public client.
    None,
}

impl ClientAuth {
    /// Reads the platform's names and those of RFC 8414.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "basic" | "client_secret_basic" => Some(Self::Basic),
            "basic_raw" => Some(Self::BasicRaw),
            "post" | "body" | "client_secret_post" => Some(Self::Post),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// Returns the way that sends the secret in the other place.
    pub(super) fn other(self) -> Option<Self> {
        match self {
            Self::Post => Some(Self::Basic),
            Self::Basic | Self::BasicRaw => Some(Self::Post),
            Self::None => None,
        }
    }
}

/// The way that a token endpoint accepted after it had refused the configured one. Clones share it, so that it is known
/// as long as the process runs. Only the latest is kept: a process hardly ever has two such endpoints.
#[derive(Clone, Default)]
pub(crate) struct AcceptedAuth(Arc<Mutex<Option<(Url, String, ClientAuth)>>>);

impl AcceptedAuth {
    pub(super) fn get(&self, token_url: &Url, client_id: &str) -> Option<ClientAuth> {
        match &*self.lock() {
            Some((url, id, auth)) if url == token_url && id == client_id => Some(*auth),
            _ => None,
        }
    }

    pub(super) fn set(&self, token_url: Url, client_id: String, auth: ClientAuth) {
        *self.lock() = Some((token_url, client_id, auth));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Url, String, ClientAuth)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
