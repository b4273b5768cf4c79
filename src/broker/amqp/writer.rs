//! The publishing task, which owns the write connection.
//!
//! It sends jobs in the order they come and never waits for one confirm before it sends the next; a job that fails waits
//! for its next try beside the others. A job ends with a confirm, with an error once its tries are used up, or with the
//! closing of the transport.

use super::{
    Counters,
    confirms::{self, Fate},
    failure::{self, Failure, describe},
    publisher::{Job, RetryPolicy, Setback},
    routing::{Returned, Returns, RoutingKeys},
    session::{self, Connector, Pace, Role},
    traffic::{Traffic, Waiting, WriteSession},
};
use crate::broker::transport::{PublishErrorKind, TransportError};
use futures_util::StreamExt;
use lapin::{Error, ErrorKind, Event, types::ShortString};
use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long after a loss the fates of the publishes under way may take to come in.
const FATES_TIMEOUT: Duration = Duration::from_secs(2);
const SHUTDOWN: &str = "the connection was closed on shutdown";

/// What the publishing task works with.
pub(super) struct Writer {
    pub(super) connector: Arc<Connector>,
    pub(super) exchange: ShortString,
    pub(super) policy: RetryPolicy,
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) closing: CancellationToken,
    /// Where others hear that publishing is over for good.
    pub(super) fatal: watch::Sender<Option<TransportError>>,
    pub(super) counters: Arc<Counters>,
    pub(super) waiting: Waiting,
    pub(super) keys: RoutingKeys,
}

/// Why a session is over.
enum End {
    Closing,
    Lost(Error),
}

impl Writer {
    /// Works until the transport is closed.
    pub(super) async fn run(mut self, first: WriteSession) {
        let closing = self.closing.clone();
        let mut pace = Pace::new();
        pace.opened();
        let mut session = Some(first);
        loop {
            let current = match session.take() {
                Some(current) => current,
                None => select! {
                    () = closing.cancelled() => break,
                    reopened = self.reopen(&mut pace) => match reopened {
                        Ok(reopened) => reopened,
                        Err(error) => {
                            self.condemn(error).await;
                            break;
                        }
                    },
                },
            };
            let end = self.drive(&current).await;
            if let End::Lost(error) = end {
                if failure::is_about_the_message(&error) && current.connection.status().connected()
                {
                    session = select! {
                        () = closing.cancelled() => break,
                        reopened = self.reopen_channel(current, &error) => reopened,
                    };
                    continue;
                }
                if let Some(fatal) = self.judge(&error) {
                    self.condemn(fatal).await;
                } else {
                    self.counters.reconnects.fetch_add(1, Relaxed);
                    continue;
                }
            }
            session::close(Role::Write, &current.connection).await;
            break;
        }
        self.abandon();
    }

    /// The broker has closed the channel because of a message. The connection is as good as before.
    async fn reopen_channel(&self, current: WriteSession, error: &Error) -> Option<WriteSession> {
        tracing::warn!(
            connection = %Role::Write,
            error = describe(error),
            "The broker refuses a message; the others are published on a new channel."
        );
        self.counters.reconnects.fetch_add(1, Relaxed);
        let reopened = WriteSession::open(current.connection).await;
        reopened
            .inspect_err(|failure| {
                tracing::warn!(connection = %Role::Write, error = failure.text(), "The connection to the broker is lost.");
            })
            .ok()
    }

    async fn reopen(&self, pace: &mut Pace) -> Result<WriteSession, TransportError> {
        let connector = &self.connector;
        let open = || async { WriteSession::open(connector.connect(Role::Write).await?).await };
        session::reopen(Role::Write, pace, open).await
    }

    /// Sends and confirms on one session until it ends.
    async fn drive(&mut self, session: &WriteSession) -> End {
        let closing = self.closing.clone();
        let mut events = pin!(session.connection.events_listener());
        let mut traffic = Traffic::on(session);
        let error = loop {
            let due = self.waiting.next_due();
            // A suspect waits until nothing is under way, and nothing goes out before it is answered.
            let hold = traffic.hold(self.waiting.suspect_is_due());
            select! {
                biased;
                () = closing.cancelled() => {
                    // They end with the others that are not confirmed.
                    traffic.ledger.into_jobs().for_each(|job| self.waiting.insert(job, Duration::ZERO));
                    return End::Closing;
                }
                Some(first) = traffic.flight.next(), if !traffic.flight.is_empty() => {
                    let answers = traffic.answers(first);
                    if let Some(error) = self.conclude(traffic.ledger.settle(answers)) {
                        break error;
                    }
                }
                Some(event) = events.next() => match event {
                    // The error of an earlier channel may come late.
                    Event::Error(error) if !session.is_open() => break error,
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(reason, "The broker takes no messages for now: publishing waits.");
                    }
                    Event::ConnectionUnblocked => tracing::info!("The broker takes messages again."),
                    _ => {}
                },
                () = sleep_until(hold.unwrap_or_else(Instant::now)), if hold.is_some() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && hold.is_none() => {
                    while let Some(job) = self.waiting.pop_due() {
                        self.launch(job, &mut traffic).await;
                        if traffic.suspect_is_out() || self.waiting.suspect_is_due() {
                            break;
                        }
                    }
                }
                Some(job) = self.jobs.recv(), if hold.is_none() => self.launch(job, &mut traffic).await,
            }
        };
        End::Lost(self.collect_fates(error, traffic).await)
    }

    /// Hands one message to the connection. It is on its way, behind all earlier ones, when this returns.
    async fn launch(&mut self, job: Job, traffic: &mut Traffic<'_>) {
        if job.is_retry() && job.is_given_up() {
            return self.fail(
                job,
                PublishErrorKind::Other,
                "nobody waits for it any more".into(),
            );
        }
        let Some(mut job) = self.keys.park(job) else {
            return;
        };
        let limit = traffic.session.connection.configuration().frame_max() as usize;
        let size = job.header_frame_len();
        if size > limit {
            // They go in one frame, which cannot be split; the broker would close the connection each time.
            let cause =
                format!("its headers take {size} bytes, the broker allows {limit}: shorten them");
            return self.fail(job, PublishErrorKind::HeadersTooLarge, cause);
        }
        if job.is_retry() {
            self.counters.publish_retries.fetch_add(1, Relaxed);
        }
        traffic.suspect = job.is_suspect();
        if traffic.suspect {
            (traffic.held, traffic.patience) = (None, job.time_alone());
        }
        job.launched(traffic.flight.is_empty());
        traffic.launches += 1;
        let number = traffic.launches;
        let publish = confirms::publish(
            &traffic.session.channel,
            self.exchange.clone(),
            job.mark.clone(),
            job.properties(),
        );
        traffic.ledger.insert(number, job.mark.clone(), job);
        let mut publish = Box::pin(async move { (number, publish.await) });
        // The first poll puts the frames into the connection's queue, so this is what settles the order.
        match poll_fn(|cx| Poll::Ready(publish.as_mut().poll(cx))).await {
            Poll::Ready(answer) => traffic.flight.push(Box::pin(ready(answer))),
            Poll::Pending => traffic.flight.push(publish),
        }
    }

    /// Ends the jobs that can be ended and keeps the others for another try. The error that ended the session, if any,
    /// comes out.
    fn conclude(&mut self, fates: Vec<(Job, Fate)>) -> Option<Error> {
        let mut lost: Option<Error> = None;
        for (job, fate) in fates {
            match fate {
                Fate::Confirmed => {
                    let freed = self.keys.carried(&job);
                    job.succeed();
                    self.publish_now(freed);
                }
                Fate::Nacked => {
                    // Only a queue refuses: one is bound.
                    let freed = self.keys.carried(&job);
                    self.try_again(job, &Setback::Nacked);
                    self.publish_now(freed);
                }
                Fate::Unroutable => {
                    self.counters.unroutable.fetch_add(1, Relaxed);
                    self.returned(job);
                }
                // It was never out, so it was no try.
                Fate::NotSent(error) => {
                    self.waiting.insert(job, Duration::ZERO);
                    lost = Some(telling(lost, error));
                }
                Fate::Unconfirmed(error) => {
                    let text = describe(&error);
                    let about_it = failure::is_about_the_message(&error);
                    let setback = if about_it {
                        Setback::Invalid(text, failure::fault_of_the_message(&error))
                    } else {
                        Setback::Unconfirmed(text)
                    };
                    self.try_again(job, &setback);
                    lost = Some(telling(lost, error));
                }
            }
        }
        lost
    }

    /// After a loss: what was confirmed just before it is done, the rest is tried again.
    async fn collect_fates(&mut self, mut error: Error, mut traffic: Traffic<'_>) -> Error {
        let mut answers = Vec::new();
        let all = async {
            while let Some(answer) = traffic.flight.next().await {
                answers.push(answer);
            }
        };
        // lapin answers all of them at once; should it forget one, the job goes on without.
        let _ = timeout(FATES_TIMEOUT, all).await;
        if let Some(other) = self.conclude(traffic.ledger.settle(answers)) {
            error = telling(Some(error), other);
        }
        let setback = Setback::Unconfirmed(describe(&error));
        traffic
            .ledger
            .into_jobs()
            .for_each(|job| self.try_again(job, &setback));
        error
    }

    /// No queue is bound to the job's routing key.
    fn returned(&mut self, job: Job) {
        match self.keys.returned(job, &self.policy) {
            Returned::Lost(job) => self.try_again(job, &Setback::Unbound),
            Returned::Again(job, pause) => self.waiting.insert(job, pause),
            Returned::Parked => {}
            Returned::EndOfFlow(Returns { returned, untried }) => {
                returned.into_iter().for_each(Job::succeed);
                self.publish_now(untried);
            }
            Returned::Unbound(Returns { returned, untried }) => {
                for job in returned {
                    let cause = self.unbound(&job);
                    self.give_up(job, PublishErrorKind::Unbound, cause);
                }
                self.publish_now(untried);
            }
        }
    }

    fn unbound(&self, job: &Job) -> String {
        format!(
            "no queue is bound for routing key \"{}\" on exchange \"{}\"",
            job.mark.routing_key, self.exchange
        )
    }

    fn try_again(&mut self, mut job: Job, setback: &Setback) {
        let was_suspect = job.is_suspect();
        let cause = match setback {
            Setback::Nacked => {
                "the broker refused it (nack): a queue behind the routing key may be full"
                    .to_owned()
            }
            Setback::Unbound => format!(
                "{}, where one was bound before: bind it again",
                self.unbound(&job)
            ),
            Setback::Invalid(text, _) | Setback::Unconfirmed(text) => text.clone(),
        };
        match job.count(setback, &self.policy) {
            Some(pause) => {
                // Once per doubling, so that a full queue does not fill the log.
                if job.tries().is_power_of_two() {
                    let (message_id, tries) = (&job.mark.message_id, job.tries());
                    tracing::warn!(
                        messageId = message_id,
                        tries,
                        ?pause,
                        cause,
                        "A message did not go out, trying again."
                    );
                }
                if was_suspect && pause.is_zero() {
                    self.waiting.insert_first(job)
                } else {
                    self.waiting.insert(job, pause)
                }
            }
            None => {
                let fault = if let Setback::Invalid(_, fault) = setback {
                    *fault
                } else {
                    PublishErrorKind::Other
                };
                self.give_up(job, fault, cause);
            }
        }
    }

    fn give_up(&mut self, job: Job, fault: PublishErrorKind, cause: String) {
        let tries = job.tries();
        tracing::error!(
            messageId = job.mark.message_id,
            tries,
            cause,
            "A message did not go out, giving up."
        );
        self.fail(job, fault, cause);
    }

    fn fail(&mut self, job: Job, fault: PublishErrorKind, cause: String) {
        let freed = self.keys.ended(&job);
        job.fail(fault, cause);
        self.publish_now(freed);
    }

    fn publish_now(&mut self, jobs: Vec<Job>) {
        jobs.into_iter()
            .for_each(|job| self.waiting.insert(job, Duration::ZERO));
    }

    /// Whether the end of a session is the end of publishing.
    fn judge(&self, error: &Error) -> Option<TransportError> {
        let failure = Failure::new(
            &format!("publishing to exchange \"{}\"", self.exchange),
            error,
        );
        match failure {
            Failure::Permanent(text) => return Some(TransportError(text)),
            Failure::Refused(text) if !failure::is_about_the_message(error) => {
                return Some(TransportError(text));
            }
            Failure::Refused(_) | Failure::Passing(_) => {}
        }
        tracing::warn!(connection = %Role::Write, error = failure.text(), "The connection to the broker is lost.");
        None
    }

    /// Publishing is over for good. The jobs are kept until the transport is closed: were they to fail now, messages
    /// would be rejected for it that the next process can work on.
    async fn condemn(&self, error: TransportError) {
        tracing::error!(connection = %Role::Write, %error, "Publishing is over.");
        self.fatal.send_replace(Some(error));
        self.closing.cancelled().await;
    }

    /// The end: what is left fails.
    fn abandon(mut self) {
        self.jobs.close();
        let mut dropped = 0_u32;
        let mut fail = |job: Job| {
            dropped += 1;
            job.fail(PublishErrorKind::Closed, SHUTDOWN.into());
        };
        self.keys.into_parked().for_each(&mut fail);
        self.waiting.into_jobs().for_each(&mut fail);
        while let Ok(job) = self.jobs.try_recv() {
            fail(job);
        }
        if dropped > 0 {
            tracing::warn!(dropped, "Messages were not published before the shutdown.");
        }
    }
}

/// Of two errors for one loss the one that says more: the broker's own words.
fn telling(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if matches!(first.kind(), ErrorKind::ProtocolError(_)) => first,
        Some(_) | None => second,
    }
}
