//! HTTP test doubles: what the emulator's platform, its OAuth2 provider and the stand-ins for APIs have in common.
//!
//! A double listens on loopback ([`Listener`], [`Server`]), records its [`Calls`], and injects the [`Fault`]s that a test
//! asks for. A double that records more than calls keeps its own [`Log`]. A double of an API behind access tokens is a
//! [`Service`], run by a [`ServiceDouble`]; it asks a [`TokenIssuer`] which tokens are valid. For tests of HTTP clients there
//! is a [`ScriptedDouble`], which responds as the test says. [`Trouble`] lets a double behave as badly as real services.
//!
//! The crate knows nothing about the services that it is used for. It speaks HTTP/1.1 without TLS, on 127.0.0.1 only.

mod call;
mod calls;
mod disconnect;
mod error;
mod fault;
mod log;
mod rules;
mod scripted;
mod scripts;
mod server;
mod service;
mod trouble;
mod url;

pub use call::{RecordedCall, authorization_text, read_call, read_request};
pub use calls::Calls;
pub use disconnect::Disconnect;
pub use error::{ErrorFormat, json_response};
pub use fault::Fault;
pub use log::{EntryId, Log};
pub use rules::{Rules, pattern};
pub use scripted::ScriptedDouble;
pub use scripts::{PreparedResponse, Scripts};
pub use server::{Listener, OpenCalls, Server, choose_cryptography};
pub use service::{Service, ServiceDouble, ServiceRequest, TokenIssuer};
pub use trouble::{
    BrokenBody, EmptyList, Encoding, Limit, LimitStyle, RandomTrouble, SlowBody, Trouble,
    Troublemaker,
};
pub use url::{percent_decoded, percent_encoded};
