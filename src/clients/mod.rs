//! HTTP clients for the platform's REST API and its object storage. The HTTP client, the TLS configuration and the
//! retry policy are used by the rest of the runtime too. A client handles URLs, time limits, retries and size limits.
//! It does not depend on modules, the broker or the meaning of messages.

pub(crate) mod http;
pub(crate) mod object_storage;
pub(crate) mod platform;
pub(crate) mod retry;
pub(crate) mod tls;
