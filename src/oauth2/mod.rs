//! OAuth2 credentials. Tokens are refreshed, saved in the account, and never printed.
//!
//! A component only calls `cx.oauth()`. Its requests carry the access token. When the token expires or is rejected, it
//! is refreshed and saved with updateKeys, and the request is sent once more. [`OAuth2`] and [`Profile`] configure what
//! component.json cannot express.
//!
//! The rules come from RFC 6749, 6750 and 7009, and from the known behaviour of providers. No type in here prints a
//! token, a code, a verifier or a client secret. This folder does not depend on the broker or the platform's API: the
//! credential's store and the lock between replicas are interfaces that others implement.

mod access;
mod client;
mod client_auth;
mod definition;
mod error;
mod exchange_error;
mod lock;
mod prepared_request;
mod profile;
mod resolve;
mod send;
mod session;
mod spans;
mod store;
mod token_endpoint;
mod token_record;
mod token_response;
mod token_status;

pub use client::{AuthorizedClient, AuthorizedRequest};
pub use definition::{Mode, OAuth2};
pub use error::Error;
pub use profile::{Profile, ProfileError};

pub(crate) use exchange_error::ExchangeError;
pub(crate) use lock::{LockError, LockGuard, RefreshLock};
pub(crate) use profile::ErrorClass;
pub(crate) use resolve::{ClientRegistration, ResolvedConfig};
pub(crate) use session::{Environment, Session, SessionConfig, SessionMetrics};
pub(crate) use store::{CredentialStore, CredentialWarning, StoreError, StoreErrorKind};
pub(crate) use token_endpoint::TokenEndpoint;
pub(crate) use token_record::{TokenRecord, TokenResponse, keys_with_record};
pub(crate) use token_status::TokenStatus;

/// Sessions without a component, for this project's own integration tests. It is not part of the public interface and can
/// change in any version.
#[doc(hidden)]
pub mod internals {
    pub use super::{
        lock::{LockError, LockGuard, RefreshLock},
        session::{Environment, Session, SessionConfig, SessionMetrics},
        store::{CredentialStore, CredentialWarning, StoreError, StoreErrorKind},
    };
}

#[cfg(test)]
mod tests;
