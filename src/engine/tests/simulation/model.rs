//! What may happen. The model is told everything that the broker, the clients and the module do, and notes what breaks a
//! promise of docs/guarantees.md.

mod publishes;
mod verdicts;

use super::contents::{Contents, EventId};
use crate::broker::amqp::simulated::Observed;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// The model, as all parts of a simulation share it.
#[derive(Clone)]
pub(super) struct SharedModel(Arc<Mutex<Model>>);

impl SharedModel {
    pub(super) fn new(model: Model) -> Self {
        Self(Arc::new(Mutex::new(model)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel: its connection, and its number.
type ChannelId = (u64, u16);

/// What the verdict needs of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emission {
    /// The message is acknowledged only after this event.
    Required,
    /// The module waits for it, and fails with it.
    Awaited,
    /// It fails, so the message is rejected.
    Fails,
    /// It is emitted after the module's end.
    Late,
}

/// How a module has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    Rebounded,
}

/// One call of the module.
struct Run {
    process: usize,
    class: u32,
    emitted: Vec<(EventId, Emission)>,
    end: Option<End>,
    /// It has settled a message.
    is_used: bool,
}

/// What became of an event so far.
#[derive(Default)]
struct EventState {
    taken: u32,
    is_confirmed: bool,
    /// It was returned, and the process did not know of a binding.
    may_end_flow: bool,
}

/// A message in the step's queue.
struct InputMessage {
    class: u32,
    /// All headers and the body.
    content: String,
    has_id: bool,
    is_redelivered: bool,
    /// The processes that have received it.
    received_by: BTreeSet<usize>,
    /// The connections on which each process has sent a verdict.
    verdicts: BTreeMap<usize, BTreeSet<u64>>,
    /// The connection whose verdict has arrived.
    settled_on: Option<u64>,
}

impl InputMessage {
    fn is_settled(&self) -> bool {
        self.settled_on.is_some()
    }

    /// How many verdicts of a process have not arrived.
    fn lost_verdicts(&self, process: usize) -> usize {
        let sent = self.verdicts.get(&process);
        sent.map_or(0, |sent| {
            sent.iter()
                .filter(|connection| Some(**connection) != self.settled_on)
                .count()
        })
    }
}

/// One replica from its start to its end.
#[derive(Default)]
struct Process {
    has_stopped: bool,
    /// The routing keys that have carried an event.
    bound: BTreeSet<String>,
    /// An event may have needed a retry: from here on events may come in any order.
    has_retried: bool,
}

/// What is counted over all simulations.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) runs: u64,
    pub(super) repeats: u64,
    pub(super) unworked: u64,
    pub(super) cuts: u64,
    pub(super) lost_verdicts: u64,
    pub(super) ends: u64,
}

pub(super) struct Model {
    contents: Contents,
    unbound_is_error: bool,
    began: Instant,
    /// Everything that has happened, in order.
    pub(super) trace: Vec<String>,
    /// The broken promises.
    pub(super) wrong: Vec<String>,
    pub(super) counts: Counts,
    processes: BTreeMap<usize, Process>,
    /// The process of each connection.
    connections: BTreeMap<u64, usize>,
    messages: BTreeMap<u64, InputMessage>,
    deliveries: BTreeMap<(ChannelId, u64), u64>,
    runs: Vec<Run>,
    events: BTreeMap<EventId, EventState>,
    /// The event or the other publish behind each publish number of a channel, with its routing key.
    publishes: BTreeMap<(ChannelId, u64), (Option<EventId>, String)>,
    /// The publishes that the broker has returned.
    returned: BTreeSet<(ChannelId, u64)>,
    /// The ids of error events by process and class.
    told: BTreeMap<(usize, u32), BTreeSet<String>>,
    /// Errors in the log, by class. The log does not name the class of every message without an id.
    logged: BTreeMap<Option<u32>, u32>,
    rejects: BTreeMap<(usize, u32), usize>,
    /// Rebounds that the broker has taken, and those that have settled a message.
    rebounds: BTreeMap<(usize, u32), (usize, usize)>,
}

impl Model {
    pub(super) fn new(contents: Contents, unbound_is_error: bool) -> Self {
        Self {
            contents,
            unbound_is_error,
            began: Instant::now(),
            trace: Vec::new(),
            wrong: Vec::new(),
            counts: Counts::default(),
            processes: BTreeMap::new(),
            connections: BTreeMap::new(),
            messages: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            runs: Vec::new(),
            events: BTreeMap::new(),
            publishes: BTreeMap::new(),
            returned: BTreeSet::new(),
            told: BTreeMap::new(),
            logged: BTreeMap::new(),
            rejects: BTreeMap::new(),
            rebounds: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        self.counts.events += 1;
        let millis = self.began.elapsed().as_millis();
        self.trace.push(format!("{millis:>7} ms  {text}"));
    }

    pub(super) fn wrong(&mut self, text: String) {
        self.note(&format!("WRONG: {text}"));
        self.wrong.push(text);
    }

    /// A process no longer does anything that counts.
    pub(super) fn stopped(&mut self, process: usize) {
        self.counts.ends += 1;
        self.processes.entry(process).or_default().has_stopped = true;
    }

    fn has_stopped(&self, process: usize) -> bool {
        self.processes.get(&process).is_some_and(|p| p.has_stopped)
    }

    /// A module begins to work on a message. Returns the number of the run.
    pub(super) fn started(&mut self, process: usize, class: u32) -> usize {
        let number = self.runs.len();
        self.runs.push(Run {
            process,
            class,
            emitted: Vec::new(),
            end: None,
            is_used: false,
        });
        if !self.has_stopped(process) {
            self.note(&format!(
                "process {process} runs class {class} as run {number}"
            ));
            self.counts.runs += 1;
            self.check_repeat(process, class);
        }
        number
    }

    /// Each run of a process needs a message that the process has received, or a verdict that was lost and that does not
    /// tell its message from others.
    fn check_repeat(&mut self, process: usize, class: u32) {
        let of_class = || {
            self.messages
                .values()
                .filter(|message| message.class == class)
        };
        let received = of_class().filter(|message| message.received_by.contains(&process));
        let received = received.count();
        let is_ambiguous = |message: &&InputMessage| {
            let equal = of_class().filter(|other| other.content == message.content);
            !message.has_id || equal.count() > 1
        };
        let lost = of_class().filter(is_ambiguous);
        let lost = lost
            .map(|message| message.lost_verdicts(process))
            .sum::<usize>();
        let runs = self.runs.iter();
        let runs = runs.filter(|run| (run.process, run.class) == (process, class));
        let runs = runs.count();
        if runs > received {
            self.counts.repeats += 1;
        }
        if runs > received + lost {
            self.wrong(format!(
                "process {process} works on class {class} for the {runs}. time, with {received} messages and {lost} lost verdicts"
            ));
        }
    }

    pub(super) fn emits(&mut self, id: EventId, key: &str, emission: Emission) {
        let run = &mut self.runs[id.0];
        run.emitted.push((id, emission));
        let process = run.process;
        if !self.has_stopped(process) {
            self.note(&format!("run {} emits {} to {key}", id.0, id.1));
        }
    }

    pub(super) fn ended(&mut self, run: usize, end: End) {
        self.runs[run].end = Some(end);
        if !self.has_stopped(self.runs[run].process) {
            self.note(&format!("run {run} has ended: {end:?}"));
        }
    }

    /// The log holds the error of a message, if it says so of this class.
    pub(super) fn logged(&mut self, class: Option<u32>) {
        self.note(&format!("the log has an error of class {class:?}"));
        *self.logged.entry(class).or_default() += 1;
    }

    pub(super) fn observe(&mut self, observed: Observed) {
        match observed {
            Observed::Connected {
                connection,
                user,
                name,
            } => self.connected(connection, &user, &name),
            Observed::Cut { connection } => {
                self.note(&format!("connection {connection} is cut"));
                self.counts.cuts += 1;
                let process = self.process_of(connection);
                self.processes.entry(process).or_default().has_retried = true;
            }
            Observed::Lost { connection } => {
                self.note(&format!("the client has lost connection {connection}"));
            }
            Observed::Received { channel, delivery } => self.received(channel, delivery),
            Observed::SettlementSent { channel, delivery } => {
                self.settlement_sent(channel, delivery);
            }
            Observed::Confirmed {
                channel,
                number,
                ack,
            } => self.confirmed(channel, number, ack),
            Observed::ReturnReceived { channel, key, body } => {
                self.return_received(channel, &key, &body);
            }
            at_broker => self.observe_broker(at_broker),
        }
    }

    fn observe_broker(&mut self, observed: Observed) {
        match observed {
            Observed::Enqueued {
                queue,
                number,
                from,
                headers,
                body,
            } => self.enqueued(&queue, number, from, &headers, &body),
            Observed::Requeued { number } => {
                self.note(&format!("message {number} is back in its queue"));
                if let Some(message) = self.messages.get_mut(&number) {
                    message.is_redelivered = true;
                }
            }
            Observed::Delivered {
                channel,
                delivery,
                number,
                redelivered,
            } => {
                self.note(&format!(
                    "message {number} goes out on {channel:?} as {delivery}, redelivered: {redelivered}"
                ));
                self.deliveries.insert((channel, delivery), number);
            }
            Observed::Settled {
                connection,
                number,
                settlement,
            } => self.settled(connection, number, settlement),
            Observed::SettledTwice { connection } => {
                let process = self.process_of(connection);
                self.wrong(format!("process {process} settles a delivery twice"));
            }
            Observed::Published {
                channel,
                number,
                key,
                headers,
                body,
                outcome,
            } => self.published((channel, number), &key, &headers, &body, outcome),
            at_client => self.observe(at_client),
        }
    }

    fn connected(&mut self, connection: u64, user: &str, name: &str) {
        let process = user.trim_start_matches("process-").parse();
        let process = process.unwrap_or_default();
        let role = name.rsplit('-').next().unwrap_or_default();
        self.note(&format!(
            "process {process} connects to {role}: {connection}"
        ));
        self.connections.insert(connection, process);
    }

    fn process_of(&self, connection: u64) -> usize {
        self.connections
            .get(&connection)
            .copied()
            .unwrap_or_default()
    }
}
