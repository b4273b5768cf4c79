//! A delivery: the part that the engine gets, and the part that is kept to settle or rebound it.

use super::{
    client::{Acker, Channel, Delivery as ClientDelivery},
    guard::Contents,
    intake::Room,
    pending_publish::delivery_mode,
    table,
};
use crate::{
    broker::transport::{Delivery, Generation, ReboundLimitExceeded, SettleOutcome, Verdict},
    codes,
    settings::AmqpSettings,
};
use bytes::Bytes;
use futures_util::FutureExt;
use lapin::{
    BasicProperties,
    options::{BasicAckOptions, BasicRejectOptions},
    protocol::basic::parse_properties,
    types::{AMQPValue, FieldTable},
};
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
    properties: BasicProperties,
    room: Room,
}

impl fmt::Debug for DeliveryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryHandle")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// Adds what went around the client.
pub(super) fn complete(delivery: &mut ClientDelivery, contents: Contents) {
    let Contents { body, properties } = contents;
    if !body.is_empty() {
        delivery.data = body;
    }
    let Some(properties) = properties else {
        return;
    };
    match parse_properties(properties.as_slice()) {
        Ok((_, properties)) => delivery.properties = properties,
        // The guard has repaired them, so this is a mistake of the guard.
        Err(_) => tracing::warn!(
            code = %codes::HEADERS_CUT,
            "The headers of a message cannot be read; it is processed without any."
        ),
    }
}

/// Converts a delivery to the engine's type. `channel` has delivered it, and `withheld` is the size of a body that is too
/// large to be read.
pub(super) fn receive(
    delivery: ClientDelivery,
    channel: &Arc<Channel>,
    generation: Arc<Generation>,
    room: Room,
    withheld: Option<usize>,
) -> Delivery<DeliveryHandle> {
    let headers = delivery.properties.headers().as_ref();
    Delivery {
        headers: headers.map(table::to_json).unwrap_or_default(),
        body: Bytes::from(delivery.data),
        withheld,
        redelivered: delivery.redelivered,
        generation,
        handle: DeliveryHandle {
            channel: Arc::downgrade(channel),
            tag: delivery.delivery_tag,
            properties: delivery.properties,
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

    /// Returns the properties of a rebounded message (wire-contract: Rebounds, wire-contract: Rebound expiration).
    /// `user` is the user name of this process at the broker.
    pub(super) fn rebound_properties(
        &self,
        settings: &AmqpSettings,
        user: &str,
        reason: &str,
    ) -> Result<BasicProperties, ReboundLimitExceeded> {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        let iteration = next_iteration(&headers);
        if iteration > i64::from(settings.rebound_limit) {
            return Err(ReboundLimitExceeded);
        }
        let reason = AMQPValue::LongString(truncated(reason).into());
        headers.insert("end".into(), table::integer(unix_millis()));
        headers.insert("reboundReason".into(), reason);
        headers.insert("reboundIteration".into(), table::integer(iteration));
        let expiration = expiration(settings.rebound_initial_expiration, iteration);
        Ok(without_other_user_id(&self.properties, user)
            .with_headers(headers)
            .with_expiration(expiration.to_string().into())
            .with_delivery_mode(delivery_mode(settings.persistent)))
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

fn next_iteration(headers: &FieldTable) -> i64 {
    headers
        .inner()
        .get("reboundIteration")
        .and_then(table::as_number)
        .map_or(1, |previous| previous.saturating_add(1))
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

/// Copies all properties, except for another user's `user-id`: the broker would close the channel because of it.
fn without_other_user_id(properties: &BasicProperties, user: &str) -> BasicProperties {
    let id = properties.user_id().as_ref();
    if id.is_none_or(|id| id.as_str() == user) {
        return properties.clone();
    }
    // lapin cannot remove a property, so all others are copied.
    let mut kept = BasicProperties::default();
    macro_rules! keep {
        ($($get:ident => $with:ident),*) => {
            $(if let Some(value) = properties.$get().clone() { kept = kept.$with(value); })*
        };
    }
    keep!(content_type => with_content_type, content_encoding => with_content_encoding, priority => with_priority,
        correlation_id => with_correlation_id, reply_to => with_reply_to, message_id => with_message_id,
        timestamp => with_timestamp, kind => with_type, app_id => with_app_id);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(next_iteration(&headers), expected, "{previous:?}");
        }
    }

    #[test]
    fn a_long_rebound_reason_is_truncated_at_a_character_boundary() {
        let reason = format!("{}ü", "x".repeat(MAX_REASON_LEN - 1));
        assert_eq!(truncated(&reason), "x".repeat(MAX_REASON_LEN - 1));
        assert_eq!(truncated("short"), "short");
    }

    #[test]
    fn a_rebound_drops_only_the_user_id_of_another_user() {
        let properties = BasicProperties::default()
            .with_user_id("somebody".into())
            .with_priority(3)
            .with_type("t".into())
            .with_reply_to("r".into());
        let kept = without_other_user_id(&properties, "me");
        assert_eq!(*kept.user_id(), None);
        assert_eq!(
            (
                *kept.priority(),
                kept.kind().clone(),
                kept.reply_to().clone()
            ),
            (Some(3), Some("t".into()), Some("r".into()))
        );
        assert_eq!(without_other_user_id(&properties, "somebody"), properties);
    }
}
