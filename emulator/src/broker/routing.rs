//! Routing: from an exchange into queues, and from a queue to its dead-letter exchange.

use super::{
    error::{AmqpError, Outcome},
    exchange::Destination,
    message::{DeathReason, Event, Message},
    queue::{QueuedMessage, integer},
    state::State,
};
use amq_protocol::{
    protocol::BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// The result of a publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RouteResult {
    /// Every bound queue took it.
    Taken,
    /// No queue is bound.
    Nowhere,
    /// A full queue refused it.
    Refused,
}

impl State {
    /// Puts a published message into the queues that are bound for it.
    pub(super) fn publish(&mut self, message: &Arc<Message>) -> Outcome<RouteResult> {
        if self.exchange(&message.exchange)?.internal {
            let label = self.exchange_label(&message.exchange);
            return Err(AmqpError::access_refused(format!(
                "cannot publish to internal {label}"
            )));
        }
        let ttl = time_to_live(&message.properties)?;
        let queues = self.route(&message.exchange, &message.routing_key);
        self.emit(|| Event::Published {
            message: message.clone(),
            queues: queues.iter().map(ToString::to_string).collect(),
        });
        let mut routed = if queues.is_empty() {
            RouteResult::Nowhere
        } else {
            RouteResult::Taken
        };
        for queue in queues {
            if !self.enqueue(&queue, message.clone(), ttl) {
                routed = RouteResult::Refused;
            }
        }
        Ok(routed)
    }

    /// Removes expired messages from all queues, and returns when the next message expires.
    pub(super) fn expire_due(&mut self, now: Instant) -> Option<Instant> {
        let due = |state: &Self| {
            let due = |queue: &&super::queue::Queue| {
                queue.next_expiry().is_some_and(|expires| expires <= now)
            };
            state
                .queues
                .values()
                .find(due)
                .map(|queue| queue.name.clone())
        };
        while let Some(name) = due(self) {
            self.expire(&name, now);
        }
        self.queues
            .values()
            .filter_map(super::queue::Queue::next_expiry)
            .min()
    }

    /// Removes expired messages from one queue.
    pub(super) fn expire(&mut self, name: &str, now: Instant) {
        while let Some(entry) = self
            .queues
            .get_mut(name)
            .and_then(|queue| queue.pop_expired(now))
        {
            self.emit(|| Event::Expired {
                queue: name.to_owned(),
                message: entry.message.clone(),
            });
            self.dead_letter(name, &entry, DeathReason::Expired);
        }
    }

    /// Sends a message that has left its queue to the dead-letter exchange, or drops it when there is none.
    pub(super) fn dead_letter(&mut self, name: &str, entry: &QueuedMessage, reason: DeathReason) {
        self.notice_idle(name);
        let target = self.queues.get(name).and_then(|queue| {
            let exchange = queue.options.dead_letter_exchange.clone()?;
            Some((exchange, queue.options.dead_letter_routing_key.clone()))
        });
        let Some((exchange, key)) =
            target.filter(|(exchange, _)| self.exchanges.contains_key(exchange))
        else {
            return self.emit(|| Event::Dropped {
                queue: name.to_owned(),
                reason,
                message: entry.message.clone(),
            });
        };
        let was = &entry.message;
        let message = Arc::new(Message {
            properties: with_death(was, name, reason),
            routing_key: key.unwrap_or_else(|| was.routing_key.clone()),
            exchange: exchange.clone(),
            body: was.body.clone(),
            redelivered: false,
        });
        self.emit(|| Event::DeadLettered {
            queue: name.to_owned(),
            reason,
            exchange,
            message: message.clone(),
        });
        for queue in self.route(&message.exchange, &message.routing_key) {
            if reason != DeathReason::Rejected && is_cycle(&message.properties, &queue) {
                self.emit(|| Event::Dropped {
                    queue: name.to_owned(),
                    reason,
                    message: message.clone(),
                });
            } else {
                self.enqueue(&queue, message.clone(), None);
            }
        }
    }

    /// The queues that are bound for a message with this exchange and key, each once.
    fn route(&self, exchange: &str, key: &str) -> Vec<Arc<str>> {
        let mut queues: Vec<Arc<str>> = Vec::new();
        let mut seen = HashSet::from([exchange.to_owned()]);
        let mut open = vec![exchange.to_owned()];
        while let Some(name) = open.pop() {
            let mut matched = false;
            if name.is_empty() {
                if let Some(queue) = self
                    .queues
                    .get(key)
                    .filter(|queue| !queues.contains(&queue.name))
                {
                    queues.push(queue.name.clone());
                }
                continue;
            }
            let Some(exchange) = self.exchanges.get(&name) else {
                continue;
            };
            for destination in exchange.matching(key) {
                matched = true;
                match destination {
                    Destination::Queue(queue) if !queues.contains(queue) => {
                        queues.push(queue.clone());
                    }
                    Destination::Exchange(next) if seen.insert(next.clone()) => {
                        open.push(next.clone());
                    }
                    Destination::Queue(_) | Destination::Exchange(_) => {}
                }
            }
            if let Some(alternate) = exchange
                .alternate
                .as_ref()
                .filter(|name| !matched && seen.insert((*name).clone()))
            {
                open.push(alternate.clone());
            }
        }
        queues
    }

    /// Puts a message into a queue and delivers it when a consumer has room; false when the queue refuses it.
    fn enqueue(&mut self, name: &str, message: Arc<Message>, ttl: Option<Duration>) -> bool {
        let Some(queue) = self.queues.get_mut(name) else {
            return true;
        };
        if queue.refuses(message.body.len()) {
            return false;
        }
        queue.push(message, ttl);
        self.dispatch(name);
        while let Some(entry) = self
            .queues
            .get_mut(name)
            .and_then(super::queue::Queue::pop_excess)
        {
            self.dead_letter(name, &entry, DeathReason::MaxLength);
        }
        if self
            .queues
            .get(name)
            .is_some_and(|queue| queue.next_expiry().is_some())
        {
            self.timer.notify_one();
        }
        true
    }
}

/// The time to live in a message's `expiration` property.
fn time_to_live(properties: &BasicProperties) -> Outcome<Option<Duration>> {
    let Some(expiration) = properties.expiration() else {
        return Ok(None);
    };
    match expiration.as_str().parse::<u32>() {
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds.into()))),
        Err(why) => Err(AmqpError::precondition(format!(
            "invalid expiration '{expiration}': {why}"
        ))),
    }
}

/// The properties of a dead-lettered message: `x-death` counts per queue and reason, the latest first. The expiration is
/// removed, or the message would expire again.
fn with_death(message: &Message, queue: &str, reason: DeathReason) -> BasicProperties {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = message.properties.headers().clone().unwrap_or_default();
    let (matching, others): (Vec<_>, Vec<_>) = deaths(&headers)
        .iter()
        .cloned()
        .partition(|death| is_death(death, queue, Some(reason)));
    let latest = match matching.into_iter().next() {
        Some(AMQPValue::FieldTable(mut death)) => {
            let count = death.inner().get("count").and_then(integer).unwrap_or(0);
            death.insert("count".into(), AMQPValue::LongLongInt(count + 1));
            death
        }
        _ => {
            let seconds = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            let mut death = FieldTable::default();
            death.insert("count".into(), AMQPValue::LongLongInt(1));
            death.insert("reason".into(), text(reason.as_str()));
            death.insert("queue".into(), text(queue));
            death.insert("time".into(), AMQPValue::Timestamp(seconds));
            death.insert("exchange".into(), text(&message.exchange));
            let keys = FieldArray::from(vec![text(&message.routing_key)]);
            death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
            if let Some(expiration) = message.properties.expiration() {
                death.insert("original-expiration".into(), text(expiration.as_str()));
            }
            death
        }
    };
    if !headers.contains_key("x-first-death-reason") {
        headers.insert("x-first-death-reason".into(), text(reason.as_str()));
        headers.insert("x-first-death-queue".into(), text(queue));
        headers.insert("x-first-death-exchange".into(), text(&message.exchange));
    }
    let all: Vec<_> = std::iter::once(AMQPValue::FieldTable(latest))
        .chain(others)
        .collect();
    headers.insert("x-death".into(), AMQPValue::FieldArray(all.into()));
    without_expiration(&message.properties).with_headers(headers)
}

/// Whether a message returns to a queue and no consumer has rejected it on the way.
fn is_cycle(properties: &BasicProperties, queue: &str) -> bool {
    let headers = properties.headers().clone().unwrap_or_default();
    let deaths = deaths(&headers);
    match deaths.iter().position(|death| is_death(death, queue, None)) {
        None => false,
        Some(last) => !deaths[..=last]
            .iter()
            .any(|death| reason_of(death) == Some(DeathReason::Rejected.as_str().into())),
    }
}

fn deaths(headers: &FieldTable) -> &[AMQPValue] {
    headers
        .inner()
        .get("x-death")
        .and_then(AMQPValue::as_array)
        .map_or(&[], FieldArray::as_slice)
}

fn is_death(death: &AMQPValue, queue: &str, reason: Option<DeathReason>) -> bool {
    let field = |name: &str| {
        death
            .as_field_table()?
            .inner()
            .get(name)?
            .as_long_string()
            .map(ToString::to_string)
    };
    field("queue").as_deref() == Some(queue)
        && reason.is_none_or(|reason| field("reason").as_deref() == Some(reason.as_str()))
}

fn reason_of(death: &AMQPValue) -> Option<String> {
    death
        .as_field_table()?
        .inner()
        .get("reason")?
        .as_long_string()
        .map(ToString::to_string)
}

/// A copy without the `expiration`: the type of amq-protocol cannot unset a property.
fn without_expiration(properties: &BasicProperties) -> BasicProperties {
    type With<T> = fn(BasicProperties, T) -> BasicProperties;
    fn copy<T: Clone>(to: BasicProperties, value: &Option<T>, with: With<T>) -> BasicProperties {
        match value {
            Some(value) => with(to, value.clone()),
            None => to,
        }
    }
    let texts: [(&Option<ShortString>, With<ShortString>); 9] = [
        (
            properties.content_type(),
            BasicProperties::with_content_type,
        ),
        (
            properties.content_encoding(),
            BasicProperties::with_content_encoding,
        ),
        (
            properties.correlation_id(),
            BasicProperties::with_correlation_id,
        ),
        (properties.reply_to(), BasicProperties::with_reply_to),
        (properties.message_id(), BasicProperties::with_message_id),
        (properties.kind(), BasicProperties::with_type),
        (properties.user_id(), BasicProperties::with_user_id),
        (properties.app_id(), BasicProperties::with_app_id),
        (properties.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let copied = texts
        .into_iter()
        .fold(BasicProperties::default(), |to, (value, with)| {
            copy(to, value, with)
        });
    let copied = copy(copied, properties.headers(), BasicProperties::with_headers);
    let copied = copy(
        copied,
        properties.delivery_mode(),
        BasicProperties::with_delivery_mode,
    );
    let copied = copy(
        copied,
        properties.priority(),
        BasicProperties::with_priority,
    );
    copy(
        copied,
        properties.timestamp(),
        BasicProperties::with_timestamp,
    )
}
