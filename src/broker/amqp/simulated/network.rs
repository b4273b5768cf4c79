//! The network between simulated clients and their broker. Frames move one after the other, in each direction in order,
//! at times that the seed chooses. A connection can be cut between any two frames: what is on its way is lost, and both
//! ends learn of it later, each at its own time.

use super::{
    frames::{Event, Frame, Request},
    observed::Observed,
    rules::Rules,
    session::Session,
};
use lapin::Error;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::sleep,
};
use tokio_util::task::TaskTracker;

/// A mistake that a simulation makes on purpose: to show that its checks find it, or that the adapter copes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// An event counts as confirmed once it is sent.
    Confirm,
    /// Every delivery seems to be the first of its message.
    Redelivered,
    /// A returned event seems to be taken.
    Return,
    /// Nothing tells what became of the events of a lost connection.
    Forget,
}

/// What is told about everything that happens.
type Observer = Box<dyn FnMut(Observed) + Send>;

/// Chooses connections by user and name.
type Chosen = Box<dyn Fn(&str, &str) -> bool + Send>;

/// A broker in memory, with the network to it.
#[derive(Clone)]
pub(crate) struct SimulatedBroker {
    state: Arc<Mutex<State>>,
    pub(super) tasks: TaskTracker,
}

pub(super) struct State {
    pub(super) rules: Rules,
    rng: fastrand::Rng,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) last_connection: u64,
    pub(super) refuses: bool,
    holds_confirms: bool,
    /// The connections on which no frame moves.
    silent: Option<Chosen>,
    /// Users whose process has ended. They learn nothing more.
    dead: BTreeSet<String>,
    pub(super) observer: Observer,
    pub(super) sabotage: Option<Sabotage>,
}

/// One connection.
pub(super) struct Link {
    pub(super) user: String,
    name: String,
    pub(super) session: Session,
    to_broker: VecDeque<Frame>,
    to_client: VecDeque<(u16, Event)>,
    wake: Arc<Notify>,
    is_cut: bool,
    /// How many more frames pass before the connection is cut.
    cut_after: Option<u32>,
}

impl Link {
    pub(super) fn new(user: String, name: String) -> Self {
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
        let state = State {
            rules: Rules::new(max_message),
            rng: fastrand::Rng::with_seed(seed),
            links: BTreeMap::new(),
            last_connection: 0,
            refuses: false,
            holds_confirms: false,
            silent: None,
            dead: BTreeSet::new(),
            observer: Box::new(observer),
            sabotage,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            tasks: TaskTracker::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// From now on no frame moves on these connections, and connecting does not end: neither end learns of anything.
    pub(crate) fn silence(&self, chosen: impl Fn(&str, &str) -> bool + Send + 'static) {
        self.state().silent = Some(Box::new(chosen));
    }

    /// Frames move again. Who has waited meanwhile to be connected waits on.
    pub(crate) fn end_silence(&self) {
        let mut state = self.state();
        state.silent = None;
        state.links.values().for_each(|link| link.wake.notify_one());
    }

    /// Whether the client of a connection that is so called has learned nothing of its end.
    pub(crate) fn is_connected(&self, role: &str) -> bool {
        let state = self.state();
        let mut links = state.links.values();
        links.any(|link| link.name.ends_with(role) && link.session.is_open())
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

    /// Moves the frames of a connection until it is over.
    pub(super) async fn move_frames(self, id: u64) {
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
        self.tasks.spawn(async move {
            sleep(notice).await;
            broker.state().lose(id);
        });
    }

    /// The broker learns that a connection is gone: at once, or later.
    fn release_later(&self, state: &mut State, id: u64) {
        let notice = state.notice();
        let broker = self.clone();
        self.tasks.spawn(async move {
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
            self.tasks.spawn(async move {
                sleep(Duration::from_millis(millis)).await;
                broker.change(|rules| rules.expire(&queue, position));
            });
        }
    }
}

impl Link {
    pub(super) fn send(
        &mut self,
        channel: u16,
        request: Request,
        written: Option<oneshot::Sender<()>>,
    ) {
        self.to_broker.push_back(Frame {
            channel,
            request,
            written,
        });
        self.wake.notify_one();
    }
}

impl State {
    pub(super) fn is_dead(&self, user: &str) -> bool {
        self.dead.contains(user)
    }

    pub(super) fn is_silent(&self, user: &str, name: &str) -> bool {
        let silent = self.silent.as_ref();
        silent.is_some_and(|chosen| chosen(user, name))
    }

    pub(super) fn link(&mut self, id: u64) -> Result<&mut Link, Error> {
        self.links.get_mut(&id).ok_or_else(lost)
    }

    /// How long the next frames take. Most take no time, and a few take long.
    pub(super) fn pause(&mut self) -> Duration {
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
        if self.dead.contains(&link.user) || self.is_silent(&link.user, &link.name) {
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
        if self.sabotage == Some(Sabotage::Forget) {
            link.session.forget_confirms();
        }
        link.session.end(&lost());
        (self.observer)(Observed::Lost { connection: id });
    }
}

pub(super) fn lost() -> Error {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}
