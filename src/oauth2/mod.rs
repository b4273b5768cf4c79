//! OAuth2 credentials: kept alive, saved whole, and never shown.
//!
//! A component asks for nothing of this: `cx.oauth()` sends its requests with the access token, and when the token
//! expires or is rejected it is refreshed, saved with the account by updateKeys, and the request is sent once more. What
//! is behind it can be used on its own: a [`Session`] per credential, a [`Store`] where it is kept, a [`Profile`] with
//! a provider's ways.

mod client;
mod error;
mod lock;
mod session;
mod store;

pub use client::{AuthorizedClient, AuthorizedRequest};
pub use error::Error;
pub use lock::{Held, LockError, RefreshLock};
pub use session::{Counts, Environment, Session, Tools};
pub use store::{Store, StoreError, Trouble};
