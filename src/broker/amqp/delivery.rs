//! A delivery: the part that the engine gets, and the part that is kept to settle or rebound it.

use super::{
    client::{Acker, Channel, Delivery as ClientDelivery},
    guard::Contents,
    intake::Room,
    properties::{self, Properties},
    table,
};
use crate::{
    broker::transport::{Delivery, Generation, ReboundLimitExceeded, SettleOutcome, Verdict},
    codes,
    protocol::Headers,
    settings::AmqpSettings,
};
use bytes::Bytes;
use futures_util::FutureExt;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// The longest reason of a rebound, in bytes: all headers must fit in one frame (wire-contract: Header frame size).
const MAX_REASON_LEN: usize = 1024;
/// How long the connection may take to take messages back.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest expiration that RabbitMQ accepts, in milliseconds.
const MAX_EXPIRATION: u128 = u32::MAX as u128;

/// The adapter's handle of a delivery: the channel to settle it on, the properties to rebound it with, and the memory that
/// its message takes.
pub(crate) struct DeliveryHandle {
    /// Belongs to the consuming task. A channel that is still held keeps its connection open.
    channel: Weak<Channel>,
    tag: u64,
    /// As AMQP writes them.
    properties: Bytes,
    room: Room,
}

impl fmt::Debug for DeliveryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryHandle")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// Converts a delivery to the engine's type. `channel` has delivered it, and `withheld` is the size of a body that is too
/// large to be read.
pub(super) fn receive(
    delivery: ClientDelivery,
    contents: Contents,
    channel: &Arc<Channel>,
    generation: Arc<Generation>,
    room: Room,
    withheld: Option<usize>,
) -> Delivery<DeliveryHandle> {
    let Contents { properties, body } = contents;
    Delivery {
        headers: properties::headers(&properties),
        // The guard leaves a body to the client if it has no memory for it.
        body: if body.is_empty() {
            delivery.data.into()
        } else {
            body
        },
        withheld,
        redelivered: delivery.redelivered,
        generation,
        handle: DeliveryHandle {
            channel: Arc::downgrade(channel),
            tag: delivery.delivery_tag,
            properties,
            room,
        },
    }
}

impl DeliveryHandle {
    /// Settles on the delivery's own channel. If that channel is lost, the verdict is lost too.
    ///
    /// The verdict is queued behind everything that the connection has still to send, and nothing waits until it is
    /// written. The client's acker would send it by way of two more tasks.
    pub(super) fn settle(&self, verdict: Verdict) -> SettleOutcome {
        self.room.release();
        let Some(channel) = self.channel.upgrade() else {
            return SettleOutcome::NotSent;
        };
        // The first poll queues the frame.
        let queued = match verdict {
            Verdict::Acknowledged => {
                let options = BasicAckOptions { multiple: false };
                channel.basic_ack(self.tag, options).now_or_never()
            }
            Verdict::Rejected => {
                let options = BasicRejectOptions { requeue: false };
                channel.basic_reject(self.tag, options).now_or_never()
            }
        };
        match queued {
            // A verdict that fails was not written as a whole.
            Some(Err(_)) => SettleOutcome::NotSent,
            Some(Ok(())) | None => SettleOutcome::Sent,
        }
    }

    /// Returns the properties of a rebounded message, as AMQP writes them (wire-contract: Rebounds, wire-contract: Rebound
    /// expiration). `user` is the user name of this process at the broker.
    pub(super) fn rebound_properties(
        &self,
        settings: &AmqpSettings,
        user: &str,
        reason: &str,
    ) -> Result<Vec<u8>, ReboundLimitExceeded> {
        let mut properties = Properties::read(&self.properties);
        let iteration = next_iteration(properties.headers());
        if iteration > i64::from(settings.rebound_limit) {
            return Err(ReboundLimitExceeded);
        }
        let added = Headers::from_iter([
            ("end".to_owned(), unix_millis().into()),
            ("reboundReason".to_owned(), truncated(reason).into()),
            ("reboundIteration".to_owned(), iteration.into()),
        ]);
        let headers = table::with(properties.headers(), &added);
        let expiration = expiration(settings.rebound_initial_expiration, iteration).to_string();
        let expiration = [&[expiration.len() as u8], expiration.as_bytes()].concat();
        properties.set_headers(&headers);
        properties.set_expiration(&expiration);
        properties.set_persistent(settings.persistent);
        properties.remove_other_user_id(user);
        Ok(properties.write())
    }
}

/// A delivery whose body was left out, because it does not fit beside other messages.
pub(super) struct NoRoom {
    pub(super) acker: Acker,
    /// The size of the body in bytes.
    pub(super) size: usize,
}

/// Returns messages to the queue. Returns false if the connection does not take them in time; then its end returns them.
pub(super) async fn give_back(messages: Vec<NoRoom>) -> bool {
    let returning = async {
        for message in messages {
            let rejected = message.acker.reject(BasicRejectOptions { requeue: true });
            // If the channel is lost, the broker returns the message itself.
            let _ = rejected.await;
        }
    };
    let is_done = timeout(GIVE_BACK_TIMEOUT, returning).await.is_ok();
    if !is_done {
        tracing::warn!(
            code = %codes::SETTLE_TIMEOUT,
            seconds = GIVE_BACK_TIMEOUT.as_secs(),
            "The connection did not take messages back for which there is no memory."
        );
    }
    is_done
}

fn unix_millis() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn next_iteration(headers: &[u8]) -> i64 {
    let previous = table::get_number(headers, "reboundIteration");
    previous.map_or(1, |previous| previous.saturating_add(1))
}

/// `initial × 2^(iteration - 1)` milliseconds, at most what RabbitMQ accepts.
///
/// It is computed by hand and not by the retry policy, because the platform fixes this formula to the millisecond.
fn expiration(initial: Duration, iteration: i64) -> u128 {
    let doublings = u32::try_from(iteration.saturating_sub(1))
        .unwrap_or(0)
        .min(64);
    initial
        .as_millis()
        .saturating_mul(1 << doublings)
        .min(MAX_EXPIRATION)
}

fn truncated(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_LEN)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::{
        BasicProperties,
        types::{AMQPValue, FieldTable},
    };

    #[test]
    fn rebound_expiration_doubles_up_to_the_broker_limit() {
        for (initial, iteration, expected) in [
            (15_000, 1, 15_000),
            (15_000, 2, 30_000),
            (15_000, 5, 240_000),
            (15_000, 19, 3_932_160_000),
            (15_000, 20, 4_294_967_295),
            (15_000, 1_000_000, 4_294_967_295),
            (0, 3, 0),
            (100, -5, 100),
        ] {
            assert_eq!(
                expiration(Duration::from_millis(initial), iteration),
                expected,
                "{initial} {iteration}"
            );
        }
    }

    #[test]
    fn any_numeric_rebound_iteration_counts_and_text_does_not() {
        for (previous, expected) in [
            (None, 1),
            (Some(AMQPValue::ShortShortInt(1)), 2),
            (Some(AMQPValue::LongUInt(7)), 8),
            (Some(AMQPValue::Double(2.0)), 3),
            (Some(AMQPValue::LongString("4".into())), 1),
        ] {
            let mut headers = FieldTable::default();
            if let Some(previous) = previous.clone() {
                headers.insert("reboundIteration".into(), previous);
            }
            let properties = BasicProperties::default().with_headers(headers);
            let properties = properties::of_client(&properties);
            let headers = Properties::read(&properties).headers();
            assert_eq!(next_iteration(headers), expected, "{previous:?}");
        }
    }

    #[test]
    fn a_long_rebound_reason_is_truncated_at_a_character_boundary() {
        let reason = format!("{}ü", "x".repeat(MAX_REASON_LEN - 1));
        assert_eq!(truncated(&reason), "x".repeat(MAX_REASON_LEN - 1));
        assert_eq!(truncated("short"), "short");
    }
}
