//! The action: it processes one message.

mod body;
mod make_request;
mod multipart;
mod response;

pub use make_request::MakeRequest;
