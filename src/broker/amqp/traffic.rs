//! What the publishing task looks after: a session with the broker, the messages under way on it, and those that wait for
//! their next try.
//!
//! A message that the broker may refuse closes the channel under all others. So it goes alone: nothing is under way with
//! it, and nothing follows until it is answered or has had its time.

use super::{
    confirms::{Answer, Ledger},
    failure::Failure,
    publisher::Job,
    session::ANSWER_TIMEOUT,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Connection, options::ConfirmSelectOptions};
use std::{collections::BTreeMap, pin::Pin, time::Duration};
use tokio::time::{Instant, timeout};

/// How long what is under way may hold up a message that has to go alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection that events go out on, with its channel in confirm mode.
pub(super) struct WriteSession {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
}

impl WriteSession {
    /// Opens the channel on a connection: a fresh one, or one whose channel the broker has closed.
    pub(super) async fn open(connection: Connection) -> Result<Self, Failure> {
        let doing = "opening a channel to publish on";
        let opening = async {
            let channel = connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok(channel)
        };
        match timeout(ANSWER_TIMEOUT, opening).await {
            Ok(Ok(channel)) => Ok(Self {
                connection,
                channel,
            }),
            Ok(Err(error)) => Err(Failure::new(doing, &error)),
            Err(_) => Err(Failure::Passing(format!(
                "{doing}: no answer from the broker"
            ))),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected() && self.connection.status().connected()
    }
}

/// Jobs that wait for their next try, by time and then by order.
#[derive(Default)]
pub(super) struct Waiting {
    jobs: BTreeMap<(Instant, u64), Job>,
    order: u64,
}

impl Waiting {
    pub(super) fn insert(&mut self, job: Job, pause: Duration) {
        self.order += 1;
        self.jobs.insert((Instant::now() + pause, self.order), job);
    }

    /// Before all others.
    pub(super) fn insert_first(&mut self, job: Job) {
        let now = Instant::now();
        let first = self.next_due().map_or(now, |due| due.min(now));
        self.order += 1;
        self.jobs.insert(
            (
                first.checked_sub(Duration::from_nanos(1)).unwrap_or(first),
                self.order,
            ),
            job,
        );
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.jobs.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn pop_due(&mut self) -> Option<Job> {
        self.first_due()?;
        self.jobs.pop_first().map(|(_, job)| job)
    }

    /// All of them, at the end.
    pub(super) fn into_jobs(self) -> impl Iterator<Item = Job> {
        self.jobs.into_values()
    }

    /// Whether a job is due that has to go alone.
    pub(super) fn suspect_is_due(&self) -> bool {
        self.first_due().is_some_and(Job::is_suspect)
    }

    fn first_due(&self) -> Option<&Job> {
        let ((due, _), job) = self.jobs.first_key_value()?;
        (*due <= Instant::now()).then_some(job)
    }
}

pub(super) type Flight<'a> =
    FuturesUnordered<Pin<Box<dyn Future<Output = (u64, Answer)> + Send + 'a>>>;

/// What is under way on one session.
pub(super) struct Traffic<'a> {
    pub(super) session: &'a WriteSession,
    pub(super) flight: Flight<'a>,
    pub(super) ledger: Ledger<Job>,
    pub(super) launches: u64,
    /// What is under way is a suspect.
    pub(super) suspect: bool,
    /// Until when nothing goes out, because of suspects.
    pub(super) held: Option<Instant>,
    /// How long the suspect that is out is waited for alone.
    pub(super) patience: Duration,
}

impl<'a> Traffic<'a> {
    /// Nothing is under way.
    pub(super) fn on(session: &'a WriteSession) -> Self {
        let (flight, ledger) = (Flight::new(), Ledger::new());
        Self {
            session,
            flight,
            ledger,
            launches: 0,
            suspect: false,
            held: None,
            patience: PATIENCE,
        }
    }

    pub(super) fn suspect_is_out(&self) -> bool {
        self.suspect && !self.flight.is_empty()
    }

    /// All that the broker has answered so far, from `first` on: whole frames of it.
    ///
    /// lapin resolves what one frame answers message by message, under a lock that `wait_for_confirms` takes as well. So
    /// once that was to be had and nothing new has come, no frame is known by half.
    pub(super) fn answers(&mut self, first: (u64, Answer)) -> Vec<(u64, Answer)> {
        let mut answers = vec![first];
        loop {
            let known = answers.len();
            let _ = self.session.channel.wait_for_confirms().now_or_never();
            while let Some(Some(answer)) = self.flight.next().now_or_never() {
                answers.push(answer);
            }
            if answers.len() == known {
                return answers;
            }
        }
    }

    /// Until when nothing may go out, if so; `suspect_is_due` is whether one is to be next.
    pub(super) fn hold(&mut self, suspect_is_due: bool) -> Option<Instant> {
        let is_blocked = (self.suspect || suspect_is_due) && !self.flight.is_empty();
        if !is_blocked {
            self.held = None;
            return None;
        }
        let now = Instant::now();
        let end = *self.held.get_or_insert(now + self.patience);
        if end > now {
            return Some(end);
        }
        // A confirm may take long, and others are not to wait for it.
        self.ledger.jobs_mut().for_each(Job::acquit);
        self.suspect = false;
        None
    }
}
