//! One message as it came in: what the engine sees of it, and what settling and rebounding need.

use super::{
    publisher::{Outgoing, Purpose},
    table,
};
use crate::{
    broker::transport::{Delivery, Generation, ReboundLimitExceeded, SettleOutcome, Verdict},
    settings::AmqpSettings,
};
use bytes::Bytes;
use lapin::{
    Acker, BasicProperties,
    options::{BasicAckOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// The longest text of a rebound's reason: all headers have to fit one frame (wire-contract: Header frame size).
const REASON_LIMIT: usize = 1024;
/// The longest expiration that RabbitMQ takes, in milliseconds.
const EXPIRATION_LIMIT: u128 = u32::MAX as u128;

/// Where a delivery came from: its own channel, and everything that a rebound has to keep.
pub(crate) struct Origin {
    acker: Acker,
    properties: BasicProperties,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("usable", &self.acker.usable())
            .finish_non_exhaustive()
    }
}

/// What the engine gets.
pub(super) fn receive(
    delivery: lapin::message::Delivery,
    generation: Arc<Generation>,
) -> Delivery<Origin> {
    Delivery {
        headers: delivery
            .properties
            .headers()
            .as_ref()
            .map(table::to_json)
            .unwrap_or_default(),
        body: Bytes::from(delivery.data),
        redelivered: delivery.redelivered,
        generation,
        handle: Origin {
            acker: delivery.acker,
            properties: delivery.properties,
        },
    }
}

impl Origin {
    /// Settles on the delivery's own channel; when that is gone, the verdict is lost.
    pub(super) async fn settle(&self, verdict: Verdict, limit: Duration) -> SettleOutcome {
        let sent = async {
            match verdict {
                Verdict::Acknowledged => self.acker.ack(BasicAckOptions { multiple: false }).await,
                Verdict::Rejected => {
                    self.acker
                        .reject(BasicRejectOptions { requeue: false })
                        .await
                }
            }
        };
        // `Ok(false)` is lapin's way to say that nothing was sent.
        match timeout(limit, sent).await {
            Ok(Ok(true)) => SettleOutcome::Sent,
            Ok(Ok(false)) => SettleOutcome::NotSent,
            Ok(Err(_)) | Err(_) => SettleOutcome::Unknown,
        }
    }

    /// The message itself, to come again later (wire-contract: Rebounds, wire-contract: Rebound expiration). `user` is who we are to the broker.
    pub(super) fn rebound(
        &self,
        settings: &AmqpSettings,
        user: &str,
        body: Bytes,
        reason: &str,
    ) -> Result<Outgoing, ReboundLimitExceeded> {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        let iteration = next_iteration(&headers);
        if iteration > i64::from(settings.rebound_limit) {
            return Err(ReboundLimitExceeded);
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        headers.insert(
            "end".into(),
            table::integer(i64::try_from(now).unwrap_or(i64::MAX)),
        );
        headers.insert(
            "reboundReason".into(),
            AMQPValue::LongString(shortened(reason).into()),
        );
        headers.insert("reboundIteration".into(), table::integer(iteration));

        let expiration = expiration(settings.rebound_initial_expiration, iteration).to_string();
        let properties = without_foreign_user(&self.properties, user)
            .with_headers(headers)
            .with_expiration(expiration.into())
            .with_delivery_mode(super::publisher::delivery_mode(settings.persistent));
        Ok(Outgoing {
            purpose: Purpose::Rebound,
            routing_key: settings.rebound_key.clone(),
            properties,
            body,
        })
    }
}

fn next_iteration(headers: &FieldTable) -> i64 {
    headers
        .inner()
        .get("reboundIteration")
        .and_then(table::as_number)
        .map_or(1, |previous| previous.saturating_add(1))
}

/// `initial × 2^(iteration - 1)` milliseconds, as far as RabbitMQ takes it.
fn expiration(initial: Duration, iteration: i64) -> u128 {
    let doublings = u32::try_from(iteration.saturating_sub(1))
        .unwrap_or(0)
        .min(64);
    initial
        .as_millis()
        .saturating_mul(1 << doublings)
        .min(EXPIRATION_LIMIT)
}

fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_LIMIT)]
}

/// All properties, but the user's name only if it is ours: the broker closes the channel of who claims to be another.
fn without_foreign_user(properties: &BasicProperties, user: &str) -> BasicProperties {
    if properties
        .user_id()
        .as_ref()
        .is_none_or(|id| id.as_str() == user)
    {
        return properties.clone();
    }
    // There is no way to take a property back, so the others are set anew.
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
        let reason = format!("{}ü", "x".repeat(REASON_LIMIT - 1));
        assert_eq!(shortened(&reason), "x".repeat(REASON_LIMIT - 1));
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn a_rebound_drops_only_the_user_id_of_another_user() {
        let properties = BasicProperties::default()
            .with_user_id("somebody".into())
            .with_priority(3)
            .with_type("t".into())
            .with_reply_to("r".into());
        let kept = without_foreign_user(&properties, "me");
        assert_eq!(*kept.user_id(), None);
        assert_eq!(
            (
                *kept.priority(),
                kept.kind().clone(),
                kept.reply_to().clone()
            ),
            (Some(3), Some("t".into()), Some("r".into()))
        );
        assert_eq!(without_foreign_user(&properties, "somebody"), properties);
    }
}
