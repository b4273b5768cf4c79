//! One publish and the broker's answer to it; who is meant by a returned message.

use super::table;
use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation, Error, ErrorKind,
    message::BasicReturnMessage,
    options::BasicPublishOptions,
    types::{AMQPValue, ShortString},
};
use std::collections::BTreeMap;

/// What lapin says about one publish.
pub(super) enum Answer {
    Ack(Option<Box<BasicReturnMessage>>),
    Nack(Option<Box<BasicReturnMessage>>),
    /// The channel was closed already.
    NotSent(Error),
    /// The channel broke before an answer came.
    Lost(Error),
}

/// What became of one publish.
#[derive(Debug)]
pub(super) enum Fate {
    Confirmed,
    Nacked,
    Unroutable,
    NotSent(Error),
    Unconfirmed(Error),
}

/// Publishes and waits for the answer. The frames are queued by the first poll.
pub(super) async fn publish(
    channel: &Channel,
    exchange: ShortString,
    mark: Mark,
    properties: BasicProperties,
) -> Answer {
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    match channel
        .basic_publish(exchange, mark.routing_key, options, &mark.body, properties)
        .await
    {
        Ok(confirm) => match confirm.await {
            Ok(Confirmation::Ack(returned)) => Answer::Ack(returned.map(Box::new)),
            Ok(Confirmation::Nack(returned)) => Answer::Nack(returned.map(Box::new)),
            Ok(Confirmation::NotRequested) => Answer::Nack(None),
            Err(error) => Answer::Lost(error),
        },
        Err(error) => match error.kind() {
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => {
                Answer::NotSent(error)
            }
            _ => Answer::Lost(error),
        },
    }
}

/// What a message is recognised by when the broker returns it.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) routing_key: ShortString,
    pub(super) message_id: String,
    pub(super) body: Bytes,
}

impl Mark {
    fn fits(&self, returned: &BasicReturnMessage) -> bool {
        self.routing_key == returned.routing_key
            && self.body == returned.data
            && self.message_id == message_id(&returned.properties)
    }
}

/// The header `messageId`, empty when there is none.
pub(super) fn message_id(properties: &BasicProperties) -> String {
    match properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get("messageId"))
    {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        Some(value) => table::as_number(value)
            .map(|number| number.to_string())
            .unwrap_or_default(),
        None => String::new(),
    }
}

/// The publishes under way, in their order.
///
/// A message that no queue gets comes back and is acknowledged all the same. lapin hands it to whichever confirm comes
/// in next, which is another message's as soon as several are under way: the broker sends the return at once, the
/// confirms later and in groups. So returns are attributed here, by what is in them.
pub(super) struct Ledger<J> {
    entries: BTreeMap<u64, Entry<J>>,
}

struct Entry<J> {
    mark: Mark,
    returned: bool,
    job: J,
}

impl<J> Ledger<J> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, number: u64, mark: Mark, job: J) {
        self.entries.insert(
            number,
            Entry {
                mark,
                returned: false,
                job,
            },
        );
    }

    /// Takes out the jobs that are answered. `answers` has to hold whole frames of the broker's: one frame may answer many
    /// messages, and lapin hands the returns of these to them in any order.
    pub(super) fn settle(&mut self, answers: Vec<(u64, Answer)>) -> Vec<(J, Fate)> {
        for (number, answer) in &answers {
            if let Answer::Ack(Some(returned)) | Answer::Nack(Some(returned)) = answer {
                self.mark_returned(*number, returned);
            }
        }
        let mut answers = answers;
        answers.sort_unstable_by_key(|(number, _)| *number);
        let fates = answers.into_iter().filter_map(|(number, answer)| {
            let entry = self.entries.remove(&number)?;
            let fate = match answer {
                Answer::Ack(_) if entry.returned => Fate::Unroutable,
                Answer::Ack(_) => Fate::Confirmed,
                Answer::Nack(_) => Fate::Nacked,
                Answer::NotSent(error) => Fate::NotSent(error),
                Answer::Lost(error) => Fate::Unconfirmed(error),
            };
            Some((entry.job, fate))
        });
        fates.collect()
    }

    pub(super) fn jobs_mut(&mut self) -> impl Iterator<Item = &mut J> {
        self.entries.values_mut().map(|entry| &mut entry.job)
    }

    /// All jobs that have no answer, in their order.
    pub(super) fn into_jobs(self) -> impl Iterator<Item = J> {
        self.entries.into_values().map(|entry| entry.job)
    }

    fn mark_returned(&mut self, bearer: u64, returned: &BasicReturnMessage) {
        let owner = self
            .entries
            .values_mut()
            .find(|entry| !entry.returned && entry.mark.fits(returned));
        if let Some(owner) = owner {
            owner.returned = true;
        } else if let Some(bearer) = self.entries.get_mut(&bearer) {
            // Nobody's: better to send one message again than to lose one.
            bearer.returned = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::{message::Delivery, types::FieldTable};

    fn mark(key: &str, id: &str) -> Mark {
        Mark {
            routing_key: key.into(),
            message_id: id.into(),
            body: Bytes::from_static(b"body"),
        }
    }

    fn returned(key: &str, id: &str) -> Option<Box<BasicReturnMessage>> {
        let mut delivery = Delivery::mock(0, "x".into(), key.into(), false, b"body".to_vec());
        let mut headers = FieldTable::default();
        headers.insert("messageId".into(), AMQPValue::LongString(id.into()));
        delivery.properties = BasicProperties::default().with_headers(headers);
        Some(Box::new(BasicReturnMessage {
            delivery,
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
        }))
    }

    fn ledger() -> Ledger<&'static str> {
        let mut ledger = Ledger::new();
        ledger.insert(1, mark("data", "a"), "a");
        ledger.insert(2, mark("nowhere", "b"), "b");
        ledger.insert(3, mark("data", "c"), "c");
        ledger
    }

    fn names(fates: Vec<(&'static str, Fate)>) -> Vec<String> {
        fates
            .into_iter()
            .map(|(job, fate)| format!("{job} {fate:?}"))
            .collect()
    }

    #[test]
    fn a_return_on_another_confirm_counts_for_its_own_message() {
        let mut ledger = ledger();
        let fates = ledger.settle(vec![
            (3, Answer::Ack(returned("nowhere", "b"))),
            (1, Answer::Ack(None)),
            (2, Answer::Ack(None)),
        ]);
        assert_eq!(names(fates), ["a Confirmed", "b Unroutable", "c Confirmed"]);
    }

    #[test]
    fn a_return_before_its_confirm_is_remembered() {
        let mut ledger = ledger();
        assert_eq!(
            names(ledger.settle(vec![(1, Answer::Nack(returned("nowhere", "b")))])),
            ["a Nacked"]
        );
        assert_eq!(
            names(ledger.settle(vec![(2, Answer::Ack(None))])),
            ["b Unroutable"]
        );
        assert_eq!(ledger.into_jobs().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn an_unmatched_return_counts_for_the_confirm_that_carries_it() {
        let mut ledger = ledger();
        assert_eq!(
            names(ledger.settle(vec![(1, Answer::Ack(returned("other", "z")))])),
            ["a Unroutable"]
        );
    }
}
