//! What the simulated broker does with publishes: routing, returns and refusals.

use super::{
    frames::{Event, Publish},
    observed::{Observed, Outcome},
    queue::Message,
    rules::{ChannelId, Rules},
};
use crate::{broker::amqp::properties, protocol::Headers};

impl Rules {
    pub(super) fn publish(&mut self, id: ChannelId, publish: Publish) {
        let channel = self.channel(id);
        channel.published += 1;
        let number = channel.published;
        let (outcome, queues) = self.outcome(&publish);
        self.observed.push(Observed::Published {
            channel: id,
            number,
            key: publish.key.clone(),
            headers: headers_of(&publish),
            body: publish.body.clone(),
            outcome,
        });
        if outcome == Outcome::Refused {
            let (code, text) = self.refusal(&publish);
            return self.fail(id, code, text);
        }
        if outcome == Outcome::Returned && publish.mandatory {
            self.sent.push((id, Event::Return(publish.clone())));
        }
        let channel = self.channel(id);
        if channel.has_confirms {
            channel.unconfirmed.insert(number, outcome);
        }
        // A queue takes a message even if another one refuses it.
        for queue in queues {
            if !self.queues[&queue].refuses() {
                self.enqueue(&queue, &publish, Some(id));
                self.dispatch(&queue);
            }
        }
    }

    /// What becomes of a publish, and the queues that are bound.
    fn outcome(&self, publish: &Publish) -> (Outcome, Vec<String>) {
        if publish.body.len() > self.max_message || !self.has_exchange(&publish.exchange) {
            return (Outcome::Refused, Vec::new());
        }
        let queues = self.route(publish);
        let outcome = if queues.is_empty() {
            Outcome::Returned
        } else if queues.iter().any(|queue| self.queues[queue].refuses()) {
            Outcome::Nacked
        } else {
            Outcome::Taken
        };
        (outcome, queues)
    }

    fn has_exchange(&self, name: &str) -> bool {
        name.is_empty() || self.exchanges.contains(name)
    }

    /// Why the broker closes the channel of a publish.
    fn refusal(&self, publish: &Publish) -> (u16, String) {
        if !self.has_exchange(&publish.exchange) {
            let text = format!(
                "NOT_FOUND - no exchange '{}' in vhost '/'",
                publish.exchange
            );
            return (404, text);
        }
        let (size, max) = (publish.body.len(), self.max_message);
        let text = format!(
            "PRECONDITION_FAILED - message size {size} is larger than configured max size {max}"
        );
        (406, text)
    }

    fn route(&self, publish: &Publish) -> Vec<String> {
        if publish.exchange.is_empty() {
            let queue = self.queues.contains_key(&publish.key);
            return queue.then(|| publish.key.clone()).into_iter().collect();
        }
        let bound = self.bindings.iter().filter(|binding| {
            binding.exchange == publish.exchange
                && binding.key == publish.key
                && self.queues.contains_key(&binding.queue)
        });
        bound.map(|binding| binding.queue.clone()).collect()
    }

    pub(super) fn enqueue(&mut self, name: &str, publish: &Publish, from: Option<ChannelId>) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        self.last_message += 1;
        let message = Message::new(self.last_message, publish);
        self.observed.push(Observed::Enqueued {
            queue: name.to_owned(),
            number: self.last_message,
            from: from.map(|(connection, _)| connection),
            headers: headers_of(publish),
            body: publish.body.clone(),
        });
        let expiration = publish.properties.expiration().as_ref();
        let expiration = expiration.and_then(|text| text.as_str().parse().ok());
        let position = queue.add(message);
        if let Some(millis) = expiration {
            self.expiring.push((name.to_owned(), position, millis));
        }
    }
}

fn headers_of(publish: &Publish) -> Headers {
    properties::headers(&properties::of_client(&publish.properties))
}
