//! The platform's services over HTTP: its REST API and its object storage, with the HTTP client, the TLS configuration and
//! the retry policy that the rest of the runtime uses too. A client knows URLs, time limits, retries and size limits. It
//! knows no messages' meaning, no modules and no broker.

pub(crate) mod http;
pub(crate) mod object_storage;
pub(crate) mod platform;
pub(crate) mod retry;
pub(crate) mod tls;
