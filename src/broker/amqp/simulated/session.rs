//! The client's side of a simulated connection: what lapin keeps of channels, consumers and confirms.

use super::{
    frames::{Answer, Delivered, Event, Publish},
    network::Sabotage,
};
use lapin::{
    ChannelState, Confirmation, ConnectionState, Error, ErrorKind,
    message::{BasicReturnMessage, Delivery},
};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::{mpsc, oneshot};

pub(super) type AnswerSender = oneshot::Sender<Result<Answer, Error>>;
pub(super) type ConfirmationReceiver = oneshot::Receiver<Result<Confirmation, Error>>;
pub(super) type ConsumerSender = mpsc::UnboundedSender<Result<Delivered, Error>>;

/// The client's side of a connection.
pub(super) struct Session {
    /// Why the connection is no longer usable.
    error: Option<Error>,
    channels: BTreeMap<u16, Channel>,
    last_channel: u16,
    listener: Option<mpsc::UnboundedSender<lapin::Event>>,
}

/// The client's side of a channel.
#[derive(Default)]
struct Channel {
    error: Option<Error>,
    /// The requests that wait for an answer, the oldest first.
    waiting: VecDeque<AnswerSender>,
    has_confirms: bool,
    published: u64,
    unconfirmed: BTreeMap<u64, oneshot::Sender<Result<Confirmation, Error>>>,
    /// The confirms of which nothing is told any more.
    forgotten: Vec<oneshot::Sender<Result<Confirmation, Error>>>,
    /// Returns that the next confirms carry.
    returns: VecDeque<Publish>,
    consumers: BTreeMap<String, ConsumerSender>,
}

/// A publish that a confirm has ended, and whether it was positive.
pub(super) type Confirmed = (u64, bool);

impl Session {
    pub(super) fn new() -> Self {
        Self {
            error: None,
            // Channel 0 is the connection's own.
            channels: BTreeMap::from([(0, Channel::default())]),
            last_channel: 0,
            listener: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.error.is_none()
    }

    pub(super) fn is_channel_open(&self, number: u16) -> bool {
        let channel = self.channels.get(&number);
        self.is_open() && channel.is_some_and(|channel| channel.error.is_none())
    }

    /// The events of the connection from now on.
    pub(super) fn listen(&mut self) -> mpsc::UnboundedReceiver<lapin::Event> {
        let (sender, events) = mpsc::unbounded_channel();
        self.listener = Some(sender);
        events
    }

    /// Allocates a channel.
    pub(super) fn open_channel(&mut self) -> Result<u16, Error> {
        if !self.is_open() {
            return Err(ErrorKind::InvalidConnectionState(ConnectionState::Error).into());
        }
        self.last_channel += 1;
        self.channels.insert(self.last_channel, Channel::default());
        Ok(self.last_channel)
    }

    fn open(&mut self, number: u16) -> Result<&mut Channel, Error> {
        let is_open = self.is_channel_open(number);
        match self.channels.get_mut(&number) {
            Some(channel) if is_open => Ok(channel),
            _ => Err(ErrorKind::InvalidChannelState(ChannelState::Closed, "simulated").into()),
        }
    }

    /// Notes a request, and returns where its answer arrives.
    pub(super) fn ask(
        &mut self,
        number: u16,
    ) -> Result<oneshot::Receiver<Result<Answer, Error>>, Error> {
        let (sender, answer) = oneshot::channel();
        self.open(number)?.waiting.push_back(sender);
        Ok(answer)
    }

    /// From now on the broker confirms publishes of this channel.
    pub(super) fn select_confirms(&mut self, number: u16) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.has_confirms = true;
        }
    }

    /// Notes a publish, and returns where its confirm arrives.
    pub(super) fn publish(&mut self, number: u16) -> Result<ConfirmationReceiver, Error> {
        let channel = self.open(number)?;
        let (sender, confirm) = oneshot::channel();
        channel.published += 1;
        if channel.has_confirms {
            channel.unconfirmed.insert(channel.published, sender);
        } else {
            let _ = sender.send(Ok(Confirmation::NotRequested));
        }
        Ok(confirm)
    }

    /// Confirms the last publish of a channel, although the broker has not.
    pub(super) fn confirm_last(&mut self, number: u16) {
        if let Some(channel) = self.channels.get_mut(&number)
            && let Some((_, sender)) = channel.unconfirmed.pop_last()
        {
            let _ = sender.send(Ok(Confirmation::Ack(None)));
        }
    }

    /// From now on nothing tells what became of the publishes that are not confirmed.
    pub(super) fn forget_confirms(&mut self) {
        for channel in self.channels.values_mut() {
            let unconfirmed = std::mem::take(&mut channel.unconfirmed);
            channel.forgotten.extend(unconfirmed.into_values());
        }
    }

    pub(super) fn add_consumer(&mut self, number: u16, tag: String, sender: ConsumerSender) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.consumers.insert(tag, sender);
        }
    }

    pub(super) fn remove_consumer(&mut self, number: u16, tag: &str) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.consumers.remove(tag);
        }
    }

    /// Handles what the broker sends. Returns the publishes that are confirmed by it.
    pub(super) fn receive(
        &mut self,
        number: u16,
        event: Event,
        rng: &mut fastrand::Rng,
        sabotage: Option<Sabotage>,
    ) -> Vec<Confirmed> {
        let Some(channel) = self.channels.get_mut(&number) else {
            return Vec::new();
        };
        match event {
            Event::Answer(answer) => {
                if let Some(waiting) = channel.waiting.pop_front() {
                    let _ = waiting.send(Ok(answer));
                }
            }
            Event::Deliver { tag, mut delivery } => {
                if sabotage == Some(Sabotage::Redelivered) {
                    delivery.redelivered = false;
                }
                if let Some(consumer) = channel.consumers.get(&tag) {
                    let _ = consumer.send(Ok(delivery));
                }
            }
            Event::Return(_) if sabotage == Some(Sabotage::Return) => {}
            Event::Return(returned) => channel.returns.push_back(returned),
            Event::Confirm {
                number,
                multiple,
                ack,
            } => return channel.confirm(number, multiple, ack, rng),
            Event::CancelConsumer(tag) => drop(channel.consumers.remove(&tag)),
            Event::CloseChannel(error) => {
                channel.fail(&error);
                self.tell(error);
            }
        }
        Vec::new()
    }

    /// The connection is lost, or closed: nothing is usable any more.
    pub(super) fn end(&mut self, error: &Error) {
        if self.error.is_some() {
            return;
        }
        self.error = Some(error.clone());
        for channel in self.channels.values_mut() {
            channel.fail(error);
        }
        self.tell(error.clone());
    }

    fn tell(&self, error: Error) {
        if let Some(listener) = &self.listener {
            let _ = listener.send(lapin::Event::Error(error));
        }
    }
}

impl Channel {
    fn fail(&mut self, error: &Error) {
        self.error.get_or_insert_with(|| error.clone());
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(error.clone()));
        }
        for (_, unconfirmed) in std::mem::take(&mut self.unconfirmed) {
            let _ = unconfirmed.send(Err(error.clone()));
        }
        for (_, consumer) in std::mem::take(&mut self.consumers) {
            let _ = consumer.send(Err(error.clone()));
        }
    }

    /// One frame confirms one publish or many. As in lapin, the confirms of one frame come in any order, and each takes
    /// the oldest return, even if that belongs to another publish.
    fn confirm(
        &mut self,
        number: u64,
        multiple: bool,
        ack: bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<Confirmed> {
        let first = if multiple { 0 } else { number };
        let confirmed = self.unconfirmed.range(first..=number);
        let mut confirmed: Vec<u64> = confirmed.map(|(number, _)| *number).collect();
        rng.shuffle(&mut confirmed);
        for number in &confirmed {
            let returned = self.returns.pop_front().map(returned_message);
            let confirmation = if ack {
                Confirmation::Ack(returned)
            } else {
                Confirmation::Nack(returned)
            };
            if let Some(sender) = self.unconfirmed.remove(number) {
                let _ = sender.send(Ok(confirmation));
            }
        }
        confirmed.into_iter().map(|number| (number, ack)).collect()
    }
}

fn returned_message(publish: Publish) -> BasicReturnMessage {
    let (exchange, key) = (publish.exchange.into(), publish.key.into());
    let mut delivery = Delivery::mock(0, exchange, key, false, publish.body.to_vec());
    delivery.properties = publish.properties;
    BasicReturnMessage {
        delivery,
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
    }
}
