//! What `component doctor` and `component inspect` ask the broker, on a connection of their own.
//!
//! Nothing is declared, bound, published or acknowledged. Each question has its own channel, because the broker closes the
//! channel of a question that it refuses.

use super::{
    client::{Channel, Connection},
    connection::{self, AmqpThread, ConnectionRole, Connector, RESPONSE_TIMEOUT},
    error::{BrokerError, describe, is_about_tls, reply_code},
    properties, table,
};
use crate::{broker::transport::TransportError, protocol::Headers};
use bytes::Bytes;
use lapin::{
    ExchangeKind,
    options::{
        BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, ExchangeUnbindOptions,
        QueueDeclareOptions,
    },
    types::{FieldTable, ShortString},
    uri::AMQPUri,
};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// The time limit for looking at the first messages of a queue.
const PEEK_TIMEOUT: Duration = Duration::from_secs(30);
/// No more messages are looked at once their bodies take this many bytes: they are all in memory until they are put back.
const PEEK_BYTES: usize = 32 << 20;

/// A connection to the broker that changes nothing there.
pub(crate) struct Diagnosis {
    connection: Connection,
    /// Where the connection leads, without the password.
    pub(crate) address: BrokerAddress,
    _thread: AmqpThread,
}

/// Where the broker is, and who this process is there.
#[derive(Clone, Debug)]
pub(crate) struct BrokerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) virtual_host: String,
    pub(crate) user: String,
}

impl BrokerAddress {
    /// Reads the address in a URI, if it is one. In a URI with an `@` after its first `/`, a password that is not
    /// percent-encoded can have become the host and the virtual host: then nothing of it is shown.
    pub(crate) fn of(uri: &SecretString) -> Option<Self> {
        let parsed = connection::parse_uri(uri.expose_secret()).ok()?;
        let address = Self::in_uri(&parsed);
        (!address.virtual_host.contains('@')).then_some(address)
    }

    fn in_uri(uri: &AMQPUri) -> Self {
        let authority = &uri.authority;
        Self {
            host: authority.host.clone(),
            port: authority.port,
            virtual_host: uri.vhost.clone(),
            user: authority.userinfo.username.clone(),
        }
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            virtual_host,
            user,
        } = self;
        write!(f, "{host}:{port} as {user}, virtual host {virtual_host}")
    }
}

/// What the broker tells about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueState {
    /// Messages that no consumer has been given yet.
    pub(crate) ready: u32,
    pub(crate) consumers: u32,
}

/// What the broker tells about the right to write to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteRight {
    Granted,
    Refused(String),
    /// The broker does not say which right is missing.
    Untold(String),
}

/// A message that was looked at and put back.
pub(crate) struct Peeked {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    /// Whether the broker had delivered it before.
    pub(crate) redelivered: bool,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

impl Diagnosis {
    /// Connects with one attempt.
    pub(crate) async fn connect(uri: &SecretString) -> Result<Self, TransportError> {
        let address = BrokerAddress::in_uri(&connection::parse_uri(uri.expose_secret())?);
        let thread = AmqpThread::start()?;
        let connector = Connector::new(uri, thread.handle().clone())?;
        let connecting = connector.connect(ConnectionRole::Diagnosis);
        let connection = connecting.await.map_err(|error| {
            let advice = match &error {
                BrokerError::Transient(text) if !is_about_tls(text) => {
                    "; check that the broker runs and that ELASTICIO_AMQP_URI names it"
                }
                _ => "",
            };
            TransportError(format!("{}{advice}", error.text()))
        })?;
        Ok(Self {
            connection,
            address,
            _thread: thread,
        })
    }

    /// Returns the state of a queue, or the broker's refusal if there is none.
    pub(crate) async fn queue(&self, name: &str) -> Result<QueueState, TransportError> {
        let queue = short(name, "the queue's name")?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let question = async |channel: &Channel| {
            let found = channel.queue_declare(queue, passive, FieldTable::default());
            let found = found.await?;
            Ok(QueueState {
                ready: found.message_count(),
                consumers: found.consumer_count(),
            })
        };
        let asking = self.ask(question);
        answer("looking for the queue", RESPONSE_TIMEOUT, asking).await
    }

    /// Returns the broker's refusal if there is no exchange of this name.
    pub(crate) async fn exchange(&self, name: &str) -> Result<(), TransportError> {
        let exchange = short(name, "the exchange's name")?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        // The broker does not compare the kind: the declaration is passive.
        let (kind, arguments) = (ExchangeKind::Topic, FieldTable::default());
        let question = async |channel: &Channel| {
            let found = channel.exchange_declare(exchange, kind, passive, arguments);
            found.await
        };
        let asking = self.ask(question);
        answer("looking for the exchange", RESPONSE_TIMEOUT, asking).await
    }

    /// Returns whether the user may write to an exchange.
    ///
    /// It asks for the end of a binding that cannot exist, because its routing key is a new UUID. The broker first checks the
    /// right to write to the destination, then that to read the source, and finds nothing to remove.
    pub(crate) async fn may_write(&self, exchange: &str) -> Result<WriteRight, TransportError> {
        let name = short(exchange, "the exchange's name")?;
        let key: ShortString = uuid::Uuid::new_v4().to_string().into();
        let (options, arguments) = (ExchangeUnbindOptions::default(), FieldTable::default());
        let question = async |channel: &Channel| {
            let unbound = channel.exchange_unbind(name.clone(), name, key, options, arguments);
            match unbound.await {
                Ok(()) => Ok(WriteRight::Granted),
                Err(refusal) if reply_code(&refusal) == Some(403) => {
                    Ok(right_of(describe(&refusal)))
                }
                Err(error) => Err(error),
            }
        };
        let asking = self.ask(question);
        answer("asking for the user's rights", RESPONSE_TIMEOUT, asking).await
    }

    /// Looks at the first messages of a queue, and puts them back: to where they were, as far as the broker can. From then on
    /// they count as delivered before.
    ///
    /// # Cancel safety
    /// Cancel safe: the broker puts the messages back when the connection is lost.
    pub(crate) async fn peek(
        &self,
        queue: &str,
        count: usize,
    ) -> Result<Vec<Peeked>, TransportError> {
        let queue = short(queue, "the queue's name")?;
        let question = async |channel: &Channel| {
            let (mut taken, mut bytes, mut last) = (Vec::new(), 0, None);
            while taken.len() < count && bytes < PEEK_BYTES {
                let options = BasicGetOptions { no_ack: false };
                let Some(message) = channel.basic_get(queue.clone(), options).await? else {
                    break;
                };
                let delivery = message.delivery;
                bytes += delivery.data.len();
                last = Some(delivery.delivery_tag);
                taken.push(Peeked {
                    exchange: delivery.exchange.to_string(),
                    routing_key: delivery.routing_key.to_string(),
                    redelivered: delivery.redelivered,
                    headers: properties::headers(&properties::of_client(&delivery.properties)),
                    body: delivery.data.into(),
                });
            }
            if let Some(last) = last {
                // All of them in one frame, so that the queue keeps their order.
                let put_back = BasicNackOptions {
                    multiple: true,
                    requeue: true,
                };
                channel.basic_nack(last, put_back).await?;
            }
            Ok(taken)
        };
        let asking = self.ask(question);
        answer("looking into the queue", PEEK_TIMEOUT, asking).await
    }

    /// Closes the connection, in limited time.
    pub(crate) async fn close(self) {
        connection::close(ConnectionRole::Diagnosis, &self.connection).await;
    }

    /// A channel on the connection, to see what the broker does when it is lost.
    #[cfg(test)]
    pub(super) async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// Asks on a channel of its own. The response to its close proves that the broker has read everything before it.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
    ) -> lapin::Result<T> {
        let channel = self.connection.create_channel().await?;
        let answer = question(&channel).await?;
        // After a refusal that is the answer, the broker has closed it.
        if channel.status().connected() {
            channel.close(200, "OK".into()).await?;
        }
        Ok(answer)
    }
}

async fn answer<T>(
    operation: &str,
    limit: Duration,
    asking: impl Future<Output = lapin::Result<T>>,
) -> Result<T, TransportError> {
    let answer = match timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| BrokerError::new(operation, &error)),
        Err(_) => Err(BrokerError::no_response_within(limit, operation)),
    };
    answer.map_err(|error| TransportError(error.text().to_owned()))
}

fn short(text: &str, what: &str) -> Result<ShortString, TransportError> {
    table::short(text, what).map_err(TransportError)
}

/// Newer versions of RabbitMQ name the right that is missing. Older ones do not.
fn right_of(refusal: String) -> WriteRight {
    if refusal.contains("write access") {
        WriteRight::Refused(refusal)
    } else if refusal.contains("read access") {
        WriteRight::Granted
    } else {
        WriteRight::Untold(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_taken_for_an_address_is_not_shown() {
        let shown =
            |uri: &str| BrokerAddress::of(&SecretString::from(uri)).map(|it| it.to_string());
        for uri in [
            "amqp://user:/S3cret@host:5672/vh",
            "amqp://user:123/S3cret@host",
            "amqp://user:S3cret@host:none",
        ] {
            assert_eq!(shown(uri), None, "{uri}");
        }
        let address = shown("amqp://user:%2FS3cret@host:5673/vh").unwrap();
        assert_eq!(address, "host:5673 as user, virtual host vh");
    }
}
