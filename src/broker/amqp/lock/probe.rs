//! How a process that waits learns that the queue of another process is gone.
//!
//! Whatever else a client does with the exclusive queue of another connection, the broker closes the client's channel
//! and logs an error. But everybody may publish to it through the default exchange. So an empty message is sent there: if
//! the queue is gone, the broker returns it. Otherwise the message stays in the queue for a second, and tells the owner
//! at the end that somebody waits.

use super::super::{
    client::{Channel, Connection},
    error::BrokerError,
};
use crate::clients::retry::RetryPolicy;
use lapin::{
    BasicProperties, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The delays between questions. A queue is known to be gone at the latest after the longest one, which is 250 ms with
/// jitter.
const DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(25), Duration::from_millis(125)).with_jitter();

/// The time limit for the broker's response to a question.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message stays in the queue.
const LIFETIME_MILLIS: &str = "1000";

/// Resolves when there is no queue of this name.
///
/// # Errors
/// Returns an error if the broker does not say whether there is one.
pub(super) async fn until_gone(
    connection: &Connection,
    queue: &ShortString,
) -> Result<(), BrokerError> {
    let channel = response(open(connection)).await?;
    let mut delays = DELAYS.delays();
    loop {
        sleep(delays.next().unwrap_or(DELAYS.max_delay)).await;
        if !response(exists(&channel, queue)).await? {
            return Ok(());
        }
    }
}

async fn open(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await?;
    Ok(channel)
}

async fn exists(channel: &Channel, queue: &ShortString) -> lapin::Result<bool> {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let properties = BasicProperties::default().with_expiration(LIFETIME_MILLIS.into());
    let default_exchange = ShortString::default();
    let confirm = channel
        .basic_publish(default_exchange, queue.clone(), mandatory, &[], properties)
        .await?;
    Ok(confirm.await? == Confirmation::Ack(None))
}

async fn response<T>(responding: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    let operation = "asking whether the lock is free";
    match timeout(RESPONSE_TIMEOUT, responding).await {
        Ok(response) => response.map_err(|error| BrokerError::new(operation, &error)),
        Err(_) => Err(BrokerError::no_response_within(RESPONSE_TIMEOUT, operation)),
    }
}
