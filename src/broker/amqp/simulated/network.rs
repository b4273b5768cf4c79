//! The network between simulated clients and their broker. Frames move one after the other, in each direction in order,
//! at times that the seed chooses. A connection can be cut between any two frames: what is on its way is lost, and both
//! ends learn of it later, each at its own time.

use super::{
    frames::{Answer, Event, Frame, Publish, Request},
    observed::Observed,
    rules::{ChannelId, Rules},
    session::Session,
};
use lapin::Error;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};

/// A mistake that a simulation makes on purpose, to show that its checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// An event counts as confirmed once it is sent.
    Confirm,
    /// Every delivery seems to be the first of its message.
    Redelivered,
    /// A returned event seems to be taken.
    Return,
}

/// What is told about everything that happens.
type Observer = Box<dyn FnMut(Observed) + Send>;

/// A broker in memory, with the network to it.
#[derive(Clone)]
pub(crate) struct SimulatedBroker(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) rules: Rules,
    rng: fastrand::Rng,
    links: BTreeMap<u64, Link>,
    last_connection: u64,
    refuses: bool,
    holds_confirms: bool,
    /// Users whose process has ended. They learn nothing more.
    dead: BTreeSet<String>,
    observer: Observer,
    sabotage: Option<Sabotage>,
}

/// One connection.
struct Link {
    user: String,
    name: String,
    session: Session,
    to_broker: VecDeque<Frame>,
    to_client: VecDeque<(u16, Event)>,
    wake: Arc<Notify>,
    is_cut: bool,
    /// How many more frames pass before the connection is cut.
    cut_after: Option<u32>,
}

impl Link {
    fn new(user: String, name: String) -> Self {
        Self {
            user,
            name,
            session: Session::new(),
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            wake: Arc::default(),
            is_cut: false,
            cut_after: None,
        }
    }
}

impl SimulatedBroker {
    /// Creates a broker whose largest message has `max_message` bytes.
    pub(crate) fn new(
        seed: u64,
        max_message: usize,
        sabotage: Option<Sabotage>,
        observer: impl FnMut(Observed) + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            rules: Rules::new(max_message),
            rng: fastrand::Rng::with_seed(seed),
            links: BTreeMap::new(),
            last_connection: 0,
            refuses: false,
            holds_confirms: false,
            dead: BTreeSet::new(),
            observer: Box::new(observer),
            sabotage,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the broker, and sends what follows from that.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state.rules);
        self.flush(&mut state);
        changed
    }

    /// Whether attempts to connect fail.
    pub(crate) fn refuse_connections(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// Whether the broker keeps its confirms back.
    pub(crate) fn hold_confirms(&self, holds: bool) {
        let mut state = self.state();
        state.holds_confirms = holds;
        state.links.values().for_each(|link| link.wake.notify_one());
    }

    /// Cuts the connections that are chosen by user and name, after some more frames. Both ends learn of it later. Returns
    /// how many connections are chosen.
    pub(crate) fn cut(&self, chosen: impl Fn(&str, &str) -> bool, frames: u32) -> usize {
        let mut state = self.state();
        let mut count = 0;
        for link in state.links.values_mut() {
            if chosen(&link.user, &link.name) && !link.is_cut && link.session.is_open() {
                link.cut_after = Some(frames);
                count += 1;
                link.wake.notify_one();
            }
        }
        let due: Vec<u64> = state
            .links
            .iter()
            .filter(|(_, link)| link.cut_after == Some(0))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.cut_now(&mut state, id);
        }
        count
    }

    /// Ends the process of a user at once: nothing that it has not sent arrives, and it learns nothing more.
    pub(crate) fn kill(&self, user: &str) {
        let mut state = self.state();
        state.dead.insert(user.to_owned());
        let ids: Vec<u64> = state
            .links
            .iter()
            .filter(|(_, link)| link.user == user)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let State { links, rng, .. } = &mut *state;
            let Some(link) = links.get_mut(&id) else {
                continue;
            };
            // The system still sends a part of what the process has written.
            let arrives = if link.is_cut {
                0
            } else {
                rng.usize(0..=link.to_broker.len())
            };
            let frames: Vec<Frame> = link.to_broker.drain(..).take(arrives).collect();
            link.is_cut = true;
            for frame in frames {
                state.rules.receive(id, frame);
            }
            self.release_later(&mut state, id);
        }
        self.flush(&mut state);
    }

    /// Connects as a user. `name` says what the connection is for.
    pub(super) async fn connect(&self, user: String, name: String) -> Result<u64, Error> {
        let pause = self.state().pause();
        sleep(pause).await;
        let is_dead = self.state().dead.contains(&user);
        if is_dead {
            pending::<()>().await;
        }
        let mut state = self.state();
        if state.refuses {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        state.last_connection += 1;
        let id = state.last_connection;
        (state.observer)(Observed::Connected {
            connection: id,
            user: user.clone(),
            name: name.clone(),
        });
        state.links.insert(id, Link::new(user, name));
        drop(state);
        tokio::spawn(self.clone().move_frames(id));
        Ok(id)
    }

    /// Sends a request, and waits for its answer.
    pub(super) async fn ask(&self, id: ChannelId, request: Request) -> Result<Answer, Error> {
        let answer = {
            let mut state = self.state();
            let link = state.link(id.0)?;
            let answer = link.session.ask(id.1)?;
            link.send(id.1, request, None);
            answer
        };
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Opens a channel, and returns its number.
    pub(super) async fn open_channel(&self, connection: u64) -> Result<u16, Error> {
        let number = self.state().link(connection)?.session.open_channel()?;
        self.ask((connection, number), Request::OpenChannel).await?;
        Ok(number)
    }

    /// Sends a publish. Returns what resolves with its confirm.
    pub(super) async fn publish(
        &self,
        id: ChannelId,
        publish: Publish,
    ) -> Result<super::session::ConfirmationReceiver, Error> {
        let (written, sent) = oneshot::channel();
        let confirm = {
            let mut state = self.state();
            let sabotage = state.sabotage;
            let link = state.link(id.0)?;
            let confirm = link.session.publish(id.1)?;
            link.send(id.1, Request::Publish(publish), Some(written));
            if sabotage == Some(Sabotage::Confirm) {
                link.session.confirm_last(id.1);
            }
            confirm
        };
        sent.await.map_err(|_| lost())?;
        Ok(confirm)
    }

    /// Sends a verdict. Returns false if the channel is closed.
    pub(super) async fn settle(
        &self,
        id: ChannelId,
        delivery: u64,
        settlement: super::frames::Settlement,
    ) -> Result<bool, Error> {
        let (written, sent) = oneshot::channel();
        {
            let mut state = self.state();
            let State {
                links,
                observer,
                dead,
                ..
            } = &mut *state;
            let Some(link) = links.get_mut(&id.0) else {
                return Ok(false);
            };
            if !link.session.is_channel_open(id.1) {
                return Ok(false);
            }
            if !dead.contains(&link.user) {
                observer(Observed::SettlementSent {
                    channel: id,
                    delivery,
                });
            }
            link.send(id.1, Request::Settle(delivery, settlement), Some(written));
        }
        sent.await.map_err(|_| lost())?;
        Ok(true)
    }

    pub(super) fn add_consumer(
        &self,
        id: ChannelId,
        tag: String,
    ) -> mpsc::UnboundedReceiver<Result<super::frames::Delivered, Error>> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        if let Some(link) = self.state().links.get_mut(&id.0) {
            link.session.add_consumer(id.1, tag, sender);
        }
        deliveries
    }

    pub(super) fn is_open(&self, connection: u64) -> bool {
        let state = self.state();
        let link = state.links.get(&connection);
        link.is_some_and(|link| link.session.is_open())
    }

    pub(super) fn is_channel_open(&self, id: ChannelId) -> bool {
        let state = self.state();
        let link = state.links.get(&id.0);
        link.is_some_and(|link| link.session.is_channel_open(id.1))
    }

    pub(super) fn listen(&self, connection: u64) -> mpsc::UnboundedReceiver<lapin::Event> {
        match self.state().links.get_mut(&connection) {
            Some(link) => link.session.listen(),
            None => mpsc::unbounded_channel().1,
        }
    }

    /// Nobody holds the connection any more: it is closed, and nobody waits for that.
    pub(super) fn abandon(&self, connection: u64) {
        if let Some(link) = self.state().links.get_mut(&connection)
            && link.session.is_open()
        {
            link.send(0, Request::CloseConnection, None);
            link.session.end(&lost());
        }
    }

    /// The client closes the connection.
    pub(super) async fn close(&self, connection: u64) -> Result<(), Error> {
        let closed = self.ask((connection, 0), Request::CloseConnection).await;
        if let Some(link) = self.state().links.get_mut(&connection) {
            link.session.end(&lost());
        }
        closed.map(|_| ())
    }

    /// Moves the frames of a connection until it is over.
    async fn move_frames(self, id: u64) {
        loop {
            let (pause, wake) = {
                let mut state = self.state();
                let has_work = state.has_work(id);
                let pause = has_work.then(|| state.pause());
                let Some(link) = state.links.get(&id) else {
                    return;
                };
                (pause, link.wake.clone())
            };
            match pause {
                None => wake.notified().await,
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(pause) => sleep(pause).await,
            }
            let mut state = self.state();
            if state.has_work(id) {
                self.move_some(&mut state, id);
            }
        }
    }

    /// Moves up to four frames in one direction.
    fn move_some(&self, state: &mut State, id: u64) {
        state.send_confirms(id);
        let Some(link) = state.links.get(&id) else {
            return;
        };
        let can_choose = !link.to_broker.is_empty() && !link.to_client.is_empty();
        let to_broker = if can_choose {
            state.rng.bool()
        } else {
            !link.to_broker.is_empty()
        };
        for _ in 0..state.rng.u32(1..=4) {
            let Some(link) = state.links.get_mut(&id) else {
                break;
            };
            if link.cut_after == Some(0) {
                self.cut_now(state, id);
                break;
            }
            link.cut_after = link.cut_after.map(|left| left - 1);
            if to_broker {
                let Some(mut frame) = link.to_broker.pop_front() else {
                    break;
                };
                if let Some(written) = frame.written.take() {
                    let _ = written.send(());
                }
                if !link.is_cut {
                    state.rules.receive(id, frame);
                }
            } else if let Some((channel, event)) = link.to_client.pop_front() {
                state.receive(id, channel, event);
            }
        }
        self.flush(state);
    }

    /// No more frames pass. Both ends learn of that later.
    fn cut_now(&self, state: &mut State, id: u64) {
        let Some(link) = state.links.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut link.is_cut, true) {
            return;
        }
        link.cut_after = None;
        link.to_client.clear();
        (state.observer)(Observed::Cut { connection: id });
        self.release_later(state, id);
        let notice = state.notice();
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(notice).await;
            broker.state().lose(id);
        });
    }

    /// The broker learns that a connection is gone: at once, or later.
    fn release_later(&self, state: &mut State, id: u64) {
        let notice = state.notice();
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(notice).await;
            broker.change(|rules| rules.release(id));
        });
    }

    /// Sends what the broker has to send, and tells what has happened.
    fn flush(&self, state: &mut State) {
        for ((connection, channel), event) in std::mem::take(&mut state.rules.sent) {
            if let Some(link) = state.links.get_mut(&connection)
                && !link.is_cut
            {
                link.to_client.push_back((channel, event));
                link.wake.notify_one();
            }
        }
        for observed in std::mem::take(&mut state.rules.observed) {
            if let Observed::Published { channel, .. } = &observed
                && let Some(link) = state.links.get(&channel.0)
            {
                link.wake.notify_one();
            }
            (state.observer)(observed);
        }
        for (queue, position, millis) in std::mem::take(&mut state.rules.expiring) {
            let broker = self.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(millis)).await;
                broker.change(|rules| rules.expire(&queue, position));
            });
        }
    }
}

impl Link {
    fn send(&mut self, channel: u16, request: Request, written: Option<oneshot::Sender<()>>) {
        self.to_broker.push_back(Frame {
            channel,
            request,
            written,
        });
        self.wake.notify_one();
    }
}

impl State {
    fn link(&mut self, id: u64) -> Result<&mut Link, Error> {
        self.links.get_mut(&id).ok_or_else(lost)
    }

    /// How long the next frames take. Most take no time, and a few take long.
    fn pause(&mut self) -> Duration {
        Duration::from_millis(match self.rng.u32(0..20) {
            0..12 => 0,
            12..19 => self.rng.u64(0..4),
            _ => self.rng.u64(4..60),
        })
    }

    /// How long an end takes to learn that the connection is cut: nothing, or up to some heartbeats.
    fn notice(&mut self) -> Duration {
        Duration::from_millis(match self.rng.u32(0..10) {
            0..5 => 0,
            5..9 => self.rng.u64(0..500),
            _ => self.rng.u64(500..20_000),
        })
    }

    fn has_work(&self, id: u64) -> bool {
        let Some(link) = self.links.get(&id) else {
            return false;
        };
        if self.dead.contains(&link.user) {
            return false;
        }
        let owes_confirms = || {
            let channels = self.rules.channels_of(id);
            let owed = channels
                .iter()
                .any(|id| !self.rules.unconfirmed(*id).is_empty());
            owed && !self.holds_confirms && !link.is_cut
        };
        !link.to_broker.is_empty()
            || !link.to_client.is_empty()
            || link.cut_after == Some(0)
            || owes_confirms()
    }

    /// The broker sends some of the confirms that it owes, in any order.
    fn send_confirms(&mut self, id: u64) {
        if self.holds_confirms {
            return;
        }
        for channel in self.rules.channels_of(id) {
            let owed = self.rules.unconfirmed(channel);
            if owed.is_empty() || self.rng.bool() {
                continue;
            }
            let number = owed[self.rng.usize(0..owed.len())];
            let with_earlier = self.rng.bool();
            self.rules.confirm(channel, number, with_earlier);
        }
    }

    fn receive(&mut self, id: u64, channel: u16, event: Event) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match &event {
            Event::Deliver { delivery, .. } => (self.observer)(Observed::Received {
                channel: (id, channel),
                delivery: delivery.number,
            }),
            Event::Return(returned) => (self.observer)(Observed::ReturnReceived {
                channel: (id, channel),
                key: returned.key.clone(),
                body: returned.body.clone(),
            }),
            _ => {}
        }
        let confirmed = link
            .session
            .receive(channel, event, &mut self.rng, self.sabotage);
        for (number, ack) in confirmed {
            (self.observer)(Observed::Confirmed {
                channel: (id, channel),
                number,
                ack,
            });
        }
    }

    /// The client learns that its connection is lost.
    fn lose(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if self.dead.contains(&link.user) {
            return;
        }
        link.to_broker.clear();
        link.to_client.clear();
        link.session.end(&lost());
        (self.observer)(Observed::Lost { connection: id });
    }
}

pub(super) fn lost() -> Error {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}
