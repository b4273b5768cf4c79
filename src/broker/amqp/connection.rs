//! Connections to the broker: how they are opened and closed, and the thread that they run on.

use super::{
    client::{self, Connection},
    error::{BrokerError, describe, is_about_tls},
    guard::{Around, Outbox},
    intake::Intake,
};
use crate::{
    broker::{message_memory::MessageMemory, transport::TransportError},
    clients::{retry::RetryPolicy, tls},
    codes,
    monitoring::Metrics,
    settings::{AmqpSettings, MemoryShares},
};
use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The time limit for connecting, with TLS and login, if the URI has no `connection_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The time limit for the broker's response to a request on an open connection.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for the broker's response to the close of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest interval between heartbeats on the connection of the locks, in seconds. After two intervals without a
/// heartbeat the broker closes the connection, and another process can get the lock.
const LOCK_HEARTBEAT: u16 = 10;

/// The longest frame that is asked for, in bytes, if the URI has no `frame_max`: RabbitMQ's own default. Headers must fit
/// into one frame (wire-contract: Header frame size).
///
/// If lapin knows the size of its frames before it connects, the system gives its buffers empty pages as they are used.
/// Otherwise it grows the buffers later and writes zeros into them.
const FRAME_MAX: u32 = 131_072;

/// The thread that lapin's tasks run on. A module that computes for a long time blocks other threads, but not the
/// heartbeats on this one.
#[derive(Debug)]
pub(super) struct AmqpThread {
    handle: Handle,
    stop: CancellationToken,
}

impl AmqpThread {
    pub(super) fn start() -> Result<Self, TransportError> {
        Self::spawn().map_err(|error| {
            TransportError(format!(
                "starting the thread for AMQP: {error}; check the limits of the container"
            ))
        })
    }

    fn spawn() -> io::Result<Self> {
        #[cfg(test)]
        if super::simulated::current().is_some() {
            // A simulation runs in one thread.
            let (handle, stop) = (Handle::current(), CancellationToken::new());
            return Ok(Self { handle, stop });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("amqp".into())
            .spawn(move || {
                runtime.block_on(stopped.cancelled());
                // Does not wait for blocking tasks: a name lookup can hang.
                runtime.shutdown_background();
            })?;
        Ok(Self { handle, stop })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns a token that is cancelled when the thread ends, and connections with it.
    pub(super) fn stopped(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Ends the thread and all connections that are still open.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for AmqpThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionRole {
    Consume,
    Publish,
    Lock,
    Finished,
    Diagnosis,
}

impl fmt::Display for ConnectionRole {
    /// Part of the connection's name at the broker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consume => "read",
            Self::Publish => "write",
            Self::Lock => "lock",
            Self::Finished => "finished",
            Self::Diagnosis => "diagnosis",
        })
    }
}

/// Opens connections. It has no `Debug`, because it holds the password.
pub(super) struct Connector {
    uri: AMQPUri,
    hostname: String,
    runtime: Handle,
    memory: Arc<MessageMemory>,
    metrics: Arc<Metrics>,
}

impl Connector {
    pub(super) fn new(uri: &SecretString, runtime: Handle) -> Result<Self, TransportError> {
        let uri = parse_uri(uri.expose_secret())?;
        if uri.scheme == AMQPScheme::AMQPS {
            // A file that cannot be used is reported at once, and not at each attempt to connect.
            tls::broker_config().map_err(|error| TransportError(error.to_string()))?;
        }
        let memory = MessageMemory::new(MemoryShares::new(None));
        let hostname = gethostname::gethostname().to_string_lossy().into_owned();
        Ok(Self {
            uri,
            hostname,
            runtime,
            memory,
            metrics: Arc::default(),
        })
    }

    /// Sets the memory for messages that are consumed.
    pub(super) fn with_memory(self, shares: MemoryShares) -> Self {
        Self {
            memory: MessageMemory::new(shares),
            ..self
        }
    }

    /// Sets where the process counts.
    pub(super) fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    pub(super) fn memory(&self) -> &Arc<MessageMemory> {
        &self.memory
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The user name that this process has at the broker.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// Connects with one attempt.
    pub(super) async fn connect(&self, role: ConnectionRole) -> Result<Connection, BrokerError> {
        self.connect_around(role, Around::default()).await
    }

    /// Connects to consume, with one attempt. Returns what takes the deliveries as well.
    pub(super) async fn connect_to_consume(
        &self,
    ) -> Result<(Connection, Arc<Intake>), BrokerError> {
        let intake = Intake::new(self.memory.clone());
        let around = Around {
            deliveries: Some(intake.clone()),
            outbox: None,
        };
        let connecting = self.connect_around(ConnectionRole::Consume, around);
        connecting.await.map(|connection| (connection, intake))
    }

    /// Connects to publish, with one attempt. Returns what takes the contents of messages as well.
    pub(super) async fn connect_to_publish(
        &self,
    ) -> Result<(Connection, Arc<Outbox>), BrokerError> {
        let outbox = Outbox::new();
        let around = Around {
            deliveries: None,
            outbox: Some(outbox.clone()),
        };
        let connecting = self.connect_around(ConnectionRole::Publish, around);
        connecting.await.map(|connection| (connection, outbox))
    }

    async fn connect_around(
        &self,
        role: ConnectionRole,
        around: Around,
    ) -> Result<Connection, BrokerError> {
        let authority = &self.uri.authority;
        let operation = format!(
            "connecting to the broker at {}:{}",
            authority.host, authority.port
        );
        let name = format!("{}-{role}", self.hostname);
        let limit = self.uri.query.connection_timeout;
        let limit = limit.map_or(CONNECT_TIMEOUT, Duration::from_millis);
        let (uri, runtime) = (self.uri_for(role), self.runtime.clone());
        let connecting = client::connect(uri, name, runtime, around);
        match timeout(limit, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(BrokerError::new(&operation, &error)),
            Err(_) => Err(BrokerError::Transient(format!(
                "{operation}: no response within {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    fn uri_for(&self, role: ConnectionRole) -> AMQPUri {
        let mut uri = self.uri.clone();
        let asked = uri.query.frame_max.filter(|longest| *longest > 0);
        uri.query.frame_max = Some(asked.unwrap_or(FRAME_MAX));
        if let ConnectionRole::Lock = role {
            let wanted = uri.query.heartbeat.filter(|seconds| *seconds > 0);
            let heartbeat = wanted.map_or(LOCK_HEARTBEAT, |seconds| seconds.min(LOCK_HEARTBEAT));
            uri.query.heartbeat = Some(heartbeat);
        }
        uri
    }

    /// Calls `connect` when the process starts, with as many attempts as the settings allow.
    pub(super) async fn connect_first<T>(
        &self,
        role: ConnectionRole,
        settings: &AmqpSettings,
        connect: impl AsyncFn(&Self) -> Result<T, BrokerError>,
    ) -> Result<T, TransportError> {
        let attempts = settings.connect_retries.saturating_add(1);
        let between = settings.connect_retry_delay;
        let policy = RetryPolicy::constant(between).with_attempts(attempts);
        let started = Instant::now();
        let mut delays = policy.delays();
        loop {
            let error = match connect(self).await {
                Ok(connected) => return Ok(connected),
                Err(BrokerError::Permanent(text)) => return Err(TransportError(text)),
                Err(error) => error,
            };
            let Some(delay) = delays.next() else {
                return Err(no_attempts_left(
                    &error,
                    attempts,
                    started.elapsed(),
                    between,
                ));
            };
            tracing::warn!(
                code = %codes::BROKER_UNREACHABLE,
                connection = %role,
                error = error.text(),
                attempts,
                "Could not connect; trying again."
            );
            sleep(delay).await;
        }
    }
}

fn no_attempts_left(
    error: &BrokerError,
    attempts: u32,
    took: Duration,
    between: Duration,
) -> TransportError {
    let remedy = match error {
        BrokerError::Transient(text) if !is_about_tls(text) => {
            "; check that the broker runs and that ELASTICIO_AMQP_URI names it"
        }
        _ => "",
    };
    let text = error.text();
    TransportError(format!(
        "{text}{remedy} ({attempts} attempts in {:.1} s, {} ms apart; to wait longer for a broker, raise \
         ELASTICIO_AMQP_RECONNECT_ATTEMPTS and ELASTICIO_AMQP_RECONNECT_TIMEOUT)",
        took.as_secs_f32(),
        between.as_millis()
    ))
}

/// Closes a connection with its channels, in limited time. Unsettled deliveries return to their queue.
pub(super) async fn close(role: ConnectionRole, connection: &Connection) {
    match timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await {
        Ok(Ok(())) => tracing::debug!(connection = %role, "Connection closed."),
        Ok(Err(error)) => {
            let error = describe(&error);
            tracing::debug!(connection = %role, error, "The connection was already closed.");
        }
        Err(_) => {
            tracing::warn!(
                code = %codes::BROKER_CLOSE_TIMEOUT,
                connection = %role,
                seconds = CLOSE_TIMEOUT.as_secs(),
                "The broker did not confirm that the connection is closed."
            );
        }
    }
}

/// Parses the URI. No error contains its text, which holds the password.
pub(super) fn parse_uri(text: &str) -> Result<AMQPUri, TransportError> {
    let mut uri: AMQPUri = text.parse().map_err(|_| {
        TransportError(
            "ELASTICIO_AMQP_URI does not have the form amqp[s]://user:password@host:port/vhost"
                .into(),
        )
    })?;
    // The platform's other sailors read `…host/` as the default virtual host.
    if uri.vhost.is_empty() {
        uri.vhost = "/".into();
    }
    // The parser does not support IPv6 addresses.
    let authority = text
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(['/', '?']).next())
        .unwrap_or_default();
    if let Some(address) = authority
        .rsplit('@')
        .next()
        .and_then(|host| host.strip_prefix('['))
        && let Some((address, _)) = address.split_once(']')
    {
        uri.authority.host = address.to_owned();
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_is_parsed_as_the_other_sailors_do() {
        for (text, user, password, host, port, vhost) in [
            ("amqp://h", "guest", "guest", "h", 5672, "/"),
            ("amqp://h/", "guest", "guest", "h", 5672, "/"),
            (
                "amqps://u%40x:p%2Fw@h:1/a%2Fb?heartbeat=5",
                "u@x",
                "p/w",
                "h",
                1,
                "a/b",
            ),
            ("amqp://u:p@[::1]:5/v", "u", "p", "::1", 5, "v"),
        ] {
            let uri = parse_uri(text).unwrap();
            let info = &uri.authority.userinfo;
            assert_eq!(
                (
                    info.username.as_str(),
                    info.password.as_str(),
                    uri.authority.host.as_str(),
                    uri.authority.port
                ),
                (user, password, host, port),
                "{text}"
            );
            assert_eq!(uri.vhost, vhost, "{text}");
        }
    }

    #[test]
    fn the_longest_frame_is_known_before_the_connection() {
        for (text, expected) in [
            ("amqp://h", 131_072),
            ("amqp://h/%2f?heartbeat=5", 131_072),
            ("amqp://h/%2f?frame_max=16384", 16_384),
        ] {
            let handle = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let connector = Connector::new(&text.into(), handle.handle().clone()).unwrap();
            let uri = connector.uri_for(ConnectionRole::Consume);
            assert_eq!(uri.query.frame_max, Some(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_uri_is_not_shown_in_the_error() {
        for text in [
            "amqp:secret",
            "http://u:secret@h",
            "secret",
            "amqp://u:secret@h:port/",
        ] {
            let error = parse_uri(text).unwrap_err().to_string();
            assert!(
                !error.contains("secret") && error.contains("ELASTICIO_AMQP_URI"),
                "{error}"
            );
        }
    }
}
