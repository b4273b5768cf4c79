//! The platform's services over HTTP: its REST API, and its object storage.
//!
//! A client here knows addresses, time limits, retries and how much of an answer to read. It knows no messages, no
//! components and no broker.

pub(crate) mod http;
pub(crate) mod object_storage;
pub(crate) mod platform;
pub(crate) mod retry;
pub(crate) mod tls;
