//! OAuth2 credentials: kept alive, saved whole, and never shown.

mod lock;

pub use lock::*;
