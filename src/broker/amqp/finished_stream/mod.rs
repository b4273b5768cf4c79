//! The log of finished messages, in a stream on the broker.
//!
//! A stream (RabbitMQ 3.9 and later) keeps what was read, and every consumer can read it from its beginning. So all
//! replicas of a step write to one stream and read it, and a process reads all of it when it starts. The stream is named
//! after the step's queue. Publishing to it goes through the default exchange, so nothing has to be bound.
//!
//! A record is a byte for its kind and 16 bytes: the key of a finished message, or a marker. A process that wants to know
//! that it has read everything appends a marker and waits until it reads it.
//!
//! The log has a connection of its own: a broker without streams closes the connection that asks for one. Some brokers do
//! not let this user declare or use the stream. The first refusal is logged, and the broker is not asked again.

pub(super) mod session;

use super::{
    connection::{self, ConnectionRole, Connector},
    error::BrokerError,
    reconnect::{ReconnectBackoff, Refusal, reopen},
    table,
};
use crate::{
    broker::finished_log::{FinishedLog, LogReader, MessageKey},
    codes,
    settings::AmqpSettings,
};
use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use session::{Progress, Session};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The prefix of the streams' names. Permissions can be granted for it.
const PREFIX: &str = "elasticio-sailor:finished:";
/// How long a message waits for the confirm of its record.
const APPEND_LIMIT: Duration = Duration::from_secs(5);
/// How many records may wait for the broker. Further ones are not written: only this process knows of their messages.
const MAX_WAITING: usize = 10_000;

/// A record of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Finished(MessageKey),
    Marker(MessageKey),
}

impl Record {
    const LEN: usize = 17;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, key) = match self {
            Self::Finished(key) => (b'f', key),
            Self::Marker(key) => (b'm', key),
        };
        std::array::from_fn(|i| if i == 0 { kind } else { key[i - 1] })
    }

    /// Returns none for a record of a later version.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, key) = bytes.split_first()?;
        let key = key.try_into().ok()?;
        match kind {
            b'f' => Some(Self::Finished(key)),
            b'm' => Some(Self::Marker(key)),
            _ => None,
        }
    }
}

/// A record to write, and who waits for its confirm.
struct Append {
    record: Record,
    done: Option<oneshot::Sender<()>>,
}

/// The log of one step. Its task runs until the transport is closed, or until the broker refuses.
pub(crate) struct FinishedStream {
    sender: mpsc::UnboundedSender<Append>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The stream is open, and the broker confirms records in time.
    is_responsive: AtomicBool,
    /// How many records are sent to the task and not confirmed.
    waiting: AtomicUsize,
}

impl FinishedStream {
    /// Creates the log of a step, and its task.
    pub(super) fn new(
        connector: Arc<Connector>,
        settings: &AmqpSettings,
        reader: LogReader,
        closing: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (sender, appends) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        let name = format!("{PREFIX}{}", settings.queue);
        let name = table::short(&name, "the log of finished messages");
        let refusal_timeout = settings.refusal_timeout;
        let log = Self {
            sender,
            shared: shared.clone(),
        };
        let task = async move {
            match name {
                Ok(name) => {
                    let task = StreamTask {
                        connector,
                        name,
                        refusal_timeout,
                        reader,
                        appends,
                        shared,
                        closing,
                        unconfirmed: VecDeque::new(),
                        markers: HashMap::new(),
                        next_offset: None,
                    };
                    task.run().await;
                }
                Err(reason) => warn_refused(&reason),
            }
        };
        (log, task)
    }

    /// Hands a record to the task. Returns none if it is not written.
    fn send(&self, record: Record) -> Option<oneshot::Receiver<()>> {
        let (done, receiver) = oneshot::channel();
        let done = Some(done);
        if self.shared.waiting.fetch_add(1, Relaxed) < MAX_WAITING
            && self.sender.send(Append { record, done }).is_ok()
        {
            return Some(receiver);
        }
        self.shared.waiting.fetch_sub(1, Relaxed);
        None
    }

    async fn wait_for_confirm(&self, appended: oneshot::Receiver<()>) {
        if !self.shared.is_responsive.load(Relaxed) || timeout(APPEND_LIMIT, appended).await.is_ok()
        {
            return;
        }
        // Messages do not wait until it confirms records again.
        if self.shared.is_responsive.swap(false, Relaxed) {
            tracing::warn!(
                code = %codes::FINISHED_LOG_SLOW,
                seconds = APPEND_LIMIT.as_secs(),
                "The broker does not confirm in time that finished messages are in their log. Messages do not wait for it."
            );
        }
    }
}

impl FinishedLog for FinishedStream {
    fn append(&self, key: MessageKey) -> BoxFuture<'_, ()> {
        let appended = self.send(Record::Finished(key));
        Box::pin(async move {
            if let Some(appended) = appended {
                self.wait_for_confirm(appended).await;
            }
        })
    }

    fn catch_up(&self, limit: Duration) -> BoxFuture<'_, bool> {
        let marker = Record::Marker(*uuid::Uuid::new_v4().as_bytes());
        let read = self.send(marker);
        Box::pin(async move {
            match read {
                Some(read) => timeout(limit, read).await.is_ok(),
                // The broker has refused the log.
                None if self.sender.is_closed() => true,
                None => false,
            }
        })
    }
}

/// What the task works with.
struct StreamTask {
    connector: Arc<Connector>,
    name: ShortString,
    refusal_timeout: Duration,
    reader: LogReader,
    appends: mpsc::UnboundedReceiver<Append>,
    shared: Arc<Shared>,
    closing: CancellationToken,
    /// Records that were not confirmed before the connection was lost.
    unconfirmed: VecDeque<Append>,
    /// Who waits until a marker is read.
    markers: HashMap<MessageKey, oneshot::Sender<()>>,
    /// The place in the stream to read from; none before anything is read.
    next_offset: Option<i64>,
}

impl StreamTask {
    /// Keeps the stream open. When it ends, everybody who waits is told, and nobody waits any more.
    async fn run(mut self) {
        let mut backoff = ReconnectBackoff::new();
        loop {
            let closing = self.closing.clone();
            let opened = select! {
                () = closing.cancelled() => return,
                opened = self.open(&mut backoff) => opened,
            };
            let session = match opened {
                Ok(session) => session,
                Err(reason) => return warn_refused(&reason),
            };
            backoff.opened();
            self.shared.is_responsive.store(true, Relaxed);
            let end = self.use_session(session).await;
            self.shared.is_responsive.store(false, Relaxed);
            match end {
                Ok(()) => return,
                Err(BrokerError::Transient(error)) => {
                    let connection = ConnectionRole::Finished;
                    tracing::warn!(
                        code = %codes::CONNECTION_LOST,
                        %connection,
                        error,
                        "The connection to the broker is lost."
                    );
                }
                Err(error) => return warn_refused(error.text()),
            }
        }
    }

    /// Opens the stream, with unlimited attempts. Returns an error if the broker refuses.
    async fn open(&self, backoff: &mut ReconnectBackoff) -> Result<Session, String> {
        let open = || async {
            let connection = self.connector.connect(ConnectionRole::Finished).await?;
            let session = Session::open(connection, &self.name, self.next_offset);
            session.await.map_err(|error| match error {
                BrokerError::Transient(text) => BrokerError::Transient(text),
                error => BrokerError::Permanent(error.text().to_owned()),
            })
        };
        // The first attempt needs no line in the log.
        let error = match open().await {
            Ok(session) => return Ok(session),
            Err(BrokerError::LimitReached(text) | BrokerError::Permanent(text)) => {
                return Err(text);
            }
            Err(error) => error,
        };
        let connection = ConnectionRole::Finished;
        tracing::warn!(
            code = %codes::BROKER_UNREACHABLE,
            %connection,
            error = error.text(),
            "The broker cannot be reached; trying again."
        );
        let mut refusal = Refusal::new(self.refusal_timeout);
        let reopened = reopen(ConnectionRole::Finished, backoff, &mut refusal, open).await;
        reopened.map_err(|error| error.0)
    }

    /// Uses the session until the transport is closed.
    ///
    /// # Errors
    /// Why the session has ended before.
    async fn use_session(&mut self, mut session: Session) -> Result<(), BrokerError> {
        let closing = self.closing.clone();
        let end = select! {
            biased;
            () = closing.cancelled() => Ok(()),
            error = self.pump(&mut session) => Err(error),
        };
        let mut unsent = std::mem::take(&mut self.unconfirmed);
        self.unconfirmed = session.take_unconfirmed();
        self.unconfirmed.append(&mut unsent);
        if end.is_ok() {
            connection::close(ConnectionRole::Finished, &session.connection).await;
        }
        end
    }

    /// Writes and reads records until the session ends. Returns why it has ended.
    async fn pump(&mut self, session: &mut Session) -> BrokerError {
        while let Some(append) = self.unconfirmed.pop_front() {
            if let Err(error) = session.publish(&self.name, append).await {
                return error;
            }
        }
        loop {
            if let Err(error) = self.step(session).await {
                return error;
            }
        }
    }

    /// Writes one record, or handles what the broker has sent.
    async fn step(&mut self, session: &mut Session) -> Result<(), BrokerError> {
        let event = select! {
            biased;
            event = session.next_event() => event,
            Some(append) = self.appends.recv() => {
                let append = self.await_marker(append);
                return session.publish(&self.name, append).await;
            }
        };
        match session.handle(event).await? {
            Progress::Confirmed(append) => self.confirmed(append),
            Progress::Read(records) => {
                for (offset, record) in records {
                    self.next_offset = Some(offset + 1);
                    self.read(record);
                }
            }
        }
        Ok(())
    }

    /// Who waits for a marker waits until it is read. That can be before its confirm arrives.
    fn await_marker(&mut self, mut append: Append) -> Append {
        if let Record::Marker(marker) = append.record
            && let Some(done) = append.done.take()
        {
            self.markers.retain(|_, done| !done.is_closed());
            self.markers.insert(marker, done);
        }
        append
    }

    fn confirmed(&self, append: Append) {
        self.shared.waiting.fetch_sub(1, Relaxed);
        self.shared.is_responsive.store(true, Relaxed);
        if let Some(done) = append.done {
            // Nobody may wait any more.
            let _ = done.send(());
        }
    }

    fn read(&mut self, record: Option<Record>) {
        match record {
            Some(Record::Finished(key)) => (self.reader)(key),
            Some(Record::Marker(marker)) => {
                if let Some(done) = self.markers.remove(&marker) {
                    let _ = done.send(());
                }
            }
            None => {}
        }
    }
}

fn warn_refused(reason: &str) {
    tracing::warn!(
        code = %codes::FINISHED_LOG_REFUSED,
        reason,
        "The broker does not allow the log of finished messages. So only this process remembers what it has finished: after \
         a crash, and in other replicas, messages are processed again, and their events have the same ids. Do what the \
         reason says, or set ELASTICIO_DEDUPLICATE=false."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        for record in [Record::Finished([7; 16]), Record::Marker([0; 16])] {
            assert_eq!(Record::read(&record.to_bytes()), Some(record));
        }
        for bytes in [
            &b""[..],
            b"f",
            b"f123",
            b"x1234567890123456",
            b"f12345678901234567",
        ] {
            assert_eq!(Record::read(bytes), None, "{bytes:?}");
        }
    }
}
