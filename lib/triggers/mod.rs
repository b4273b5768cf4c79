//! The triggers: one polls, one takes webhook requests.

mod changes;
mod order;
mod page_reader;
mod poll_config;
mod poll_items;
mod position;
mod receive_webhooks;
mod signature;
mod subscription;
mod webhook_config;

pub use poll_items::PollItems;
pub use receive_webhooks::ReceiveWebhooks;
