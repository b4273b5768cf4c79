//! The bytes on the wire, as pure functions: for anyone who wants to speak to the platform.
//!
//! Nothing here does I/O. The rules are those of the platform's existing sailors, so that messages, error reports and
//! header tables are the same byte for byte whichever sailor made them.

pub mod cipher;
pub mod envelope;
pub mod error_report;
pub mod headers;
mod text;

pub use cipher::{Cipher, CipherError, Encoding};
pub use envelope::{EnvelopeError, Json, Object};
pub use error_report::{ErrorReport, error_body};
pub use headers::{Headers, Incoming, StepIdentity};
pub(crate) use text::read_value;
