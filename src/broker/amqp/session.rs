//! Connections: where they run, how they are opened, and how long to wait before the next try.

use super::{
    failure::{Failure, REFUSALS, describe, is_about_tls},
    guard,
};
use crate::{broker::transport::TransportError, settings::AmqpSettings};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, io, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// For a connection with everything around it, where the URI has no `connection_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For the broker's answer to a request on an open connection.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For saying goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between heartbeats on the connection of locks, in seconds: after twice that the broker notices that
/// a holder is gone and others can have its lock.
const LOCK_HEARTBEAT: u16 = 10;
/// A connection that held this long was a good one: the next try needs no pause.
const STABLE: Duration = Duration::from_millis(500);

/// The thread that lapin's work runs on. A handler that computes for long holds up the process's other threads, never
/// the heartbeats on this one.
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
                // A name lookup that hangs must not hold the thread.
                runtime.shutdown_background();
            })?;
        Ok(Self { handle, stop })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread and with it whatever is left of the connections.
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
pub(super) enum Role {
    Read,
    Write,
    Lock,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Lock => "lock",
        })
    }
}

/// Knows how to connect. It holds the password, so it has no `Debug`.
pub(super) struct Connector {
    uri: AMQPUri,
    hostname: String,
    runtime: Handle,
}

impl Connector {
    pub(super) fn new(uri: &SecretString, runtime: Handle) -> Result<Self, TransportError> {
        let hostname = gethostname::gethostname().to_string_lossy().into_owned();
        Ok(Self {
            uri: parse_uri(uri.expose_secret())?,
            hostname,
            runtime,
        })
    }

    /// The user that the broker knows us as.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// One try.
    pub(super) async fn connect(&self, role: Role) -> Result<Connection, Failure> {
        let authority = &self.uri.authority;
        let doing = format!(
            "connecting to the broker at {}:{}",
            authority.host, authority.port
        );
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{}-{role}", self.hostname).into());
        let limit = self
            .uri
            .query
            .connection_timeout
            .map_or(CONNECT_TIMEOUT, Duration::from_millis);
        let mut uri = self.uri.clone();
        if let Role::Lock = role {
            let wanted = uri.query.heartbeat.filter(|seconds| *seconds > 0);
            uri.query.heartbeat =
                Some(wanted.map_or(LOCK_HEARTBEAT, |seconds| seconds.min(LOCK_HEARTBEAT)));
        }
        match timeout(limit, guard::connect(uri, properties, self.runtime.clone())).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Failure::new(&doing, &error)),
            Err(_) => Err(Failure::Passing(format!(
                "{doing}: no answer within {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    /// The first connection: a bounded number of tries.
    pub(super) async fn connect_first(
        &self,
        role: Role,
        settings: &AmqpSettings,
    ) -> Result<Connection, TransportError> {
        let mut left = settings.connect_retries;
        loop {
            match self.connect(role).await {
                Ok(connection) => return Ok(connection),
                Err(Failure::Permanent(text)) => return Err(TransportError(text)),
                Err(failure) if left == 0 => {
                    let tries = settings.connect_retries.saturating_add(1);
                    let check = match failure {
                        Failure::Passing(ref text) if !is_about_tls(text) => {
                            "; check that the broker runs and that ELASTICIO_AMQP_URI names it"
                        }
                        _ => "",
                    };
                    return Err(TransportError(format!(
                        "{}{check} ({tries} tries)",
                        failure.text()
                    )));
                }
                Err(failure) => {
                    tracing::warn!(connection = %role, left, error = failure.text(), "Could not connect, trying again.");
                }
            }
            left -= 1;
            sleep(settings.connect_retry_delay).await;
        }
    }
}

/// Opens something again and again, slower and slower, without end; only what waiting cannot mend comes out.
pub(super) async fn reopen<S, F: Future<Output = Result<S, Failure>>>(
    role: Role,
    pace: &mut Pace,
    open: impl Fn() -> F,
) -> Result<S, TransportError> {
    let mut refusals = 0;
    let mut attempt = 0_u64;
    loop {
        attempt += 1;
        pace.wait().await;
        match open().await {
            Ok(session) => {
                pace.opened();
                tracing::info!(connection = %role, attempt, "The connection to the broker is back.");
                return Ok(session);
            }
            Err(Failure::Permanent(text)) => return Err(TransportError(text)),
            Err(Failure::Refused(text)) => {
                refusals += 1;
                if refusals >= REFUSALS {
                    return Err(TransportError(text));
                }
                tracing::warn!(connection = %role, attempt, error = text, "The broker refused, trying again.");
            }
            Err(Failure::Passing(text)) => {
                refusals = 0;
                tracing::warn!(connection = %role, attempt, error = text, "The broker is not there yet, trying again.");
            }
        }
    }
}

/// Closes a connection with its channels, in bounded time. The broker takes back what is unsettled.
pub(super) async fn close(role: Role, connection: &Connection) {
    match timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await {
        Ok(Ok(())) => tracing::debug!(connection = %role, "Connection closed."),
        Ok(Err(error)) => {
            tracing::debug!(connection = %role, error = describe(&error), "It was closed already.");
        }
        Err(_) => {
            tracing::warn!(connection = %role, "The broker did not answer the closing of the connection.");
        }
    }
}

/// The pauses between tries: 100 ms to 30 s, with jitter, so that the sailors of a cluster do not come all at once.
pub(super) struct Pace {
    delays: ExponentialBackoff,
    opened: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            delays: Self::delays(),
            opened: None,
        }
    }

    /// A session begins.
    pub(super) fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    async fn wait(&mut self) {
        if let Some(pause) = self.next_pause() {
            sleep(pause).await;
        }
    }

    /// None after a session that held; one that broke at once does not count as a success.
    fn next_pause(&mut self) -> Option<Duration> {
        if self
            .opened
            .take()
            .is_some_and(|opened| opened.elapsed() >= STABLE)
        {
            self.delays = Self::delays();
            return None;
        }
        self.delays.next()
    }

    /// Jitter adds up to once the delay.
    fn delays() -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(15))
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// Reads the URI; its text, which holds the password, is in no error.
fn parse_uri(text: &str) -> Result<AMQPUri, TransportError> {
    let mut uri: AMQPUri = text.parse().map_err(|_| {
        TransportError(
            "ELASTICIO_AMQP_URI is not of the form amqp[s]://user:password@host:port/vhost; correct it".into(),
        )
    })?;
    // As the platform's other sailors have it: `…host/` means the default virtual host.
    if uri.vhost.is_empty() {
        uri.vhost = "/".into();
    }
    // The parser takes no IPv6 address.
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

    #[tokio::test(start_paused = true)]
    async fn reconnect_delays_grow_up_to_30_seconds() {
        let mut pace = Pace::new();
        let pauses: Vec<_> = (0..20).map(|_| pace.next_pause().unwrap()).collect();
        assert!(
            pauses[0] >= Duration::from_millis(100) && pauses[0] <= Duration::from_millis(200),
            "{pauses:?}"
        );
        assert!(pauses[3] >= Duration::from_millis(800), "{pauses:?}");
        assert!(
            pauses[19] >= Duration::from_secs(15) && pauses[19] <= Duration::from_secs(30),
            "{pauses:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stable_connection_resets_the_backoff() {
        let mut pace = Pace::new();
        for _ in 0..6 {
            pace.next_pause();
        }
        pace.opened();
        tokio::time::advance(STABLE / 2).await;
        assert!(pace.next_pause().unwrap() > Duration::from_secs(5));
        pace.opened();
        tokio::time::advance(STABLE).await;
        assert_eq!(pace.next_pause(), None);
        assert!(pace.next_pause().unwrap() <= Duration::from_millis(200));
    }
}
