//! OAuth2 credentials that stay alive: kept, saved whole, and never shown.
//!
//! A component asks for nothing of this: `cx.oauth()` sends its requests with the access token, and when the token
//! expires or is rejected it is refreshed, saved with the account by updateKeys, and the request is sent once more. What
//! is behind it can be used on its own: a [`Session`] per credential, a [`CredentialStore`] where it is kept, a [`Profile`] with
//! a provider's ways.
//!
//! The rules come from RFC 6749, 6750 and 7009 and from what providers do beside them. No type in here prints a token, a
//! code, a verifier or a client secret.

mod answer;
mod challenge;
mod client;
mod definition;
mod endpoint;
mod error;
mod iso_time;
mod lock;
mod profile;
mod refusal;
mod resolve;
mod sending;
mod session;
mod store;
mod template;
mod token;

pub use answer::{TokenResponse, TokenResponseError};
pub use challenge::TokenStatus;
pub use client::{AuthorizedClient, AuthorizedRequest};
pub use definition::{ConfigError, Mode, OAuth2};
pub use error::Error;
pub use lock::{LockError, LockGuard, RefreshLock};
pub use profile::{
    AnswerRule, BodyFormat, ClientAuth, ErrorClass, ErrorRule, ExpiresUnit, HeaderRule, Profile,
    ProfileError, ScopePolicy, TokenHeader,
};
pub use refusal::ExchangeError;
pub use session::{Counts, Environment, Session, SessionConfig};
pub use store::{CredentialStore, CredentialWarning, StoreError};
pub use token::{TokenRecord, keys_for, normalised};

pub(crate) use endpoint::TokenEndpoint;
pub(crate) use resolve::{Client, ResolvedConfig};

#[cfg(test)]
mod tests;
