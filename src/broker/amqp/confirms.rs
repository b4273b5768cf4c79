//! One attempt to publish a message, and the matching of returns to messages.
//!
//! Returns are matched here, because lapin can match them to the wrong message. The broker returns a message that no
//! queue is bound for, and still confirms it. The return carries no number, and lapin hands it to the next confirm that
//! arrives. With several messages in flight that is often the confirm of another message: the broker sends a return at
//! once, and confirms later and in groups. So a return is matched by its contents. A wrong match would lose one event
//! and send another one twice.

use super::{
    attempt_error::AttemptError,
    client::Channel,
    guard::{Contents, Outbox},
    pending_publish::PendingPublish,
    properties,
};
use bytes::Bytes;
use lapin::{
    BasicProperties, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions,
    types::ShortString,
};
use std::collections::BTreeMap;

/// Publishes a message and waits until lapin reports the end of this attempt. The first poll queues the frames. Properties and
/// body go around lapin, by way of the `outbox`.
pub(super) fn attempt<'a>(
    channel: &'a Channel,
    outbox: &'a Outbox,
    exchange: ShortString,
    pending: &PendingPublish,
    properties: Bytes,
) -> impl Future<Output = Result<Confirmation, AttemptError>> + Send + use<'a> {
    let routing_key = pending.routing_key.clone();
    let contents = Contents {
        properties,
        body: pending.body.clone(),
    };
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    async move {
        let ticket = outbox.deposit(contents);
        let properties = BasicProperties::default();
        let publish = channel.basic_publish(exchange, routing_key, options, &ticket, properties);
        let sent = publish.await;
        if sent.is_err() {
            outbox.withdraw(&ticket);
        }
        let confirm = sent.map_err(AttemptError::from_publish)?;
        confirm.await.map_err(AttemptError::from_confirm)
    }
}

/// An attempt that has ended: its number in the order of its channel, and what lapin reports. A return that comes with
/// the confirm can belong to another message.
pub(super) type EndedAttempt = (u64, Result<Confirmation, AttemptError>);

/// The messages that were sent on one channel and are not confirmed, by the number of the attempt.
#[derive(Default)]
pub(super) struct UnconfirmedPublishes(BTreeMap<u64, Box<PendingPublish>>);

impl UnconfirmedPublishes {
    pub(super) fn insert(&mut self, number: u64, pending: Box<PendingPublish>) {
        self.0.insert(number, pending);
    }

    /// Takes out the publishes whose attempts have ended, in the order in which they were sent, with their results.
    ///
    /// `ended` must cover whole frames of the broker. One frame can confirm many messages, and lapin hands the returns
    /// among these to any of their confirms.
    pub(super) fn confirm(
        &mut self,
        mut ended: Vec<EndedAttempt>,
    ) -> Vec<(Box<PendingPublish>, Result<(), AttemptError>)> {
        for (number, result) in &ended {
            if let Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) =
                result
            {
                self.attribute_return(*number, returned);
            }
        }
        ended.sort_unstable_by_key(|(number, _)| *number);
        let confirmed = ended.into_iter().filter_map(|(number, result)| {
            let pending = self.0.remove(&number)?;
            let result = match result {
                Ok(Confirmation::Ack(_)) if pending.returned => Err(AttemptError::Unroutable),
                Ok(Confirmation::Ack(_)) => Ok(()),
                Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => Err(AttemptError::Nacked),
                Err(error) => Err(error),
            };
            Some((pending, result))
        });
        confirmed.collect()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Box<PendingPublish>> {
        self.0.values_mut()
    }

    /// Takes out all unconfirmed messages, in the order in which they were sent.
    pub(super) fn into_all(self) -> impl Iterator<Item = Box<PendingPublish>> {
        self.0.into_values()
    }

    /// Finds the message of a return. `carrier` is the number of the attempt whose confirm came with the return.
    fn attribute_return(&mut self, carrier: u64, returned: &BasicReturnMessage) {
        let id = properties::message_id(&properties::of_client(&returned.properties));
        let waiting = || self.0.iter().filter(|(_, pending)| !pending.returned);
        let exact = waiting().find(|(_, it)| it.message_id == id && has_contents(it, returned));
        // The guard may have cut a long id.
        let owner = exact.or_else(|| waiting().find(|(_, it)| has_contents(it, returned)));
        // If it matches no message: sending one message twice is better than losing one.
        let owner = owner.map_or(carrier, |(number, _)| *number);
        if let Some(pending) = self.0.get_mut(&owner) {
            pending.returned = true;
        }
    }
}

fn has_contents(pending: &PendingPublish, returned: &BasicReturnMessage) -> bool {
    pending.routing_key == returned.routing_key && pending.body == returned.data
}

#[cfg(test)]
mod tests {
    use super::{super::pending_publish::EventKind, *};
    use crate::broker::transport::ConfirmSender;
    use lapin::{
        message::Delivery,
        types::{AMQPValue, FieldTable},
    };

    fn properties(id: &str) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("messageId".into(), AMQPValue::LongString(id.into()));
        BasicProperties::default().with_headers(headers)
    }

    fn pending(key: &str, id: &str) -> Box<PendingPublish> {
        let body = Bytes::from_static(b"body");
        let properties = properties::of_client(&properties(id));
        let confirm = ConfirmSender::calling(drop);
        PendingPublish::new(EventKind::Data, key.into(), properties, body, confirm)
    }

    fn returned(key: &str, id: &str) -> Option<BasicReturnMessage> {
        let mut delivery = Delivery::mock(0, "x".into(), key.into(), false, b"body".to_vec());
        delivery.properties = properties(id);
        Some(BasicReturnMessage {
            delivery,
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
        })
    }

    fn ack(number: u64, returned: Option<BasicReturnMessage>) -> EndedAttempt {
        (number, Ok(Confirmation::Ack(returned)))
    }

    /// Three messages in flight; no queue is bound for the second one.
    fn unconfirmed() -> UnconfirmedPublishes {
        let mut unconfirmed = UnconfirmedPublishes::default();
        unconfirmed.insert(1, pending("data", "a"));
        unconfirmed.insert(2, pending("nowhere", "b"));
        unconfirmed.insert(3, pending("data", "c"));
        unconfirmed
    }

    fn texts(ended: Vec<(Box<PendingPublish>, Result<(), AttemptError>)>) -> Vec<String> {
        let text = |(pending, result): (Box<PendingPublish>, _)| {
            format!("{} {result:?}", pending.message_id)
        };
        ended.into_iter().map(text).collect()
    }

    #[test]
    fn a_return_on_another_confirm_counts_for_its_own_message() {
        let attempts = vec![ack(3, returned("nowhere", "b")), ack(1, None), ack(2, None)];
        assert_eq!(
            texts(unconfirmed().confirm(attempts)),
            ["a Ok(())", "b Err(Unroutable)", "c Ok(())"]
        );
    }

    #[test]
    fn a_return_before_its_confirm_is_remembered() {
        let mut unconfirmed = unconfirmed();
        let nack = (1, Ok(Confirmation::Nack(returned("nowhere", "b"))));
        assert_eq!(texts(unconfirmed.confirm(vec![nack])), ["a Err(Nacked)"]);
        assert_eq!(
            texts(unconfirmed.confirm(vec![ack(2, None)])),
            ["b Err(Unroutable)"]
        );
        let left: Vec<_> = unconfirmed.into_all().map(|left| left.message_id).collect();
        assert_eq!(left, ["c"]);
    }

    #[test]
    fn a_return_whose_id_is_cut_counts_for_the_message_with_its_contents() {
        let attempts = vec![
            ack(3, returned("nowhere", "[cut]")),
            ack(1, None),
            ack(2, None),
        ];
        assert_eq!(
            texts(unconfirmed().confirm(attempts)),
            ["a Ok(())", "b Err(Unroutable)", "c Ok(())"]
        );
    }

    #[test]
    fn an_unmatched_return_counts_for_the_confirm_that_carries_it() {
        let attempts = vec![ack(1, returned("other", "z"))];
        assert_eq!(
            texts(unconfirmed().confirm(attempts)),
            ["a Err(Unroutable)"]
        );
    }
}
