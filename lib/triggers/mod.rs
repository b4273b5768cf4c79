//! The triggers: one polls, one takes webhook requests.

mod changes;
mod collected;
mod gaps;
mod handshake;
mod handshake_reply;
mod order;
mod page_reader;
mod pings;
mod poll_config;
mod poll_items;
mod position;
mod receive_webhooks;
mod refusals;
mod signature;
mod signed_text;
mod subscription;
mod webhook_config;
mod webhook_request;

pub use poll_items::PollItems;
pub use receive_webhooks::ReceiveWebhooks;
