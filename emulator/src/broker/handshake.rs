//! The handshake: protocol header, authentication, limits, virtual host.

use super::{
    codec,
    connection::{CHANNEL_MAX, ClientConnection, FRAME_MIN, HandshakeStage, PATIENCE},
    error::{AmqpError, Outcome},
    message::Event,
    state::State,
};
use amq_protocol::{
    protocol::connection as wire,
    types::{AMQPValue, FieldTable, parsing::parse_field_table},
};
use bytes::BytesMut;
use std::{fmt::Display, sync::atomic::Ordering};
use tokio::{io::AsyncReadExt, net::tcp::OwnedReadHalf};

impl ClientConnection {
    /// Reads the protocol header. A client that speaks another protocol gets ours, and is disconnected (AMQP 0-9-1 §4.2.2).
    pub(super) async fn protocol_header(
        &self,
        reader: &mut OwnedReadHalf,
        buffer: &mut BytesMut,
    ) -> bool {
        let read = async {
            while buffer.len() < codec::PROTOCOL_HEADER.len() {
                if !reader.read_buf(buffer).await.is_ok_and(|bytes| bytes > 0) {
                    return false;
                }
            }
            true
        };
        let complete = tokio::select! {
            complete = read => complete,
            () = self.writer.cut.cancelled() => false,
            () = tokio::time::sleep(PATIENCE) => false,
        };
        if !complete {
            return false;
        }
        if buffer.split_to(codec::PROTOCOL_HEADER.len())[..] != codec::PROTOCOL_HEADER {
            self.writer.write_raw(&codec::PROTOCOL_HEADER);
            return false;
        }
        self.send(wire::AMQPMethod::Start(wire::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: server_properties(),
            mechanisms: "PLAIN AMQPLAIN".into(),
            locales: "en_US".into(),
        }));
        true
    }

    pub(super) fn start(&mut self, state: &mut State, start: &wire::StartOk) -> Outcome {
        let properties = &start.client_properties;
        let capability = |name: &str| has_capability(properties, name);
        let mechanism = start.mechanism.as_str();
        let given = match mechanism {
            "PLAIN" => plain(start.response.as_bytes()),
            "AMQPLAIN" => amqplain(start.response.as_bytes()),
            _ => {
                return Err(AmqpError::command_invalid(format!(
                    "authentication mechanism '{mechanism}' is not supported"
                )));
            }
        };
        let config = &self.shared.config;
        if given.is_none_or(|(user, password)| user != config.user || password != config.password) {
            if !capability("authentication_failure_close") {
                // Such a client expects a closed socket.
                self.finished = true;
                return Ok(());
            }
            return Err(AmqpError::access_refused(format!(
                "Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            )));
        }
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.understands_cancel = capability("consumer_cancel_notify");
            connection.understands_blocked = capability("connection.blocked");
            let name = properties
                .inner()
                .get("connection_name")
                .and_then(AMQPValue::as_long_string);
            connection.name = name.map(ToString::to_string).unwrap_or_default();
        }
        self.stage = HandshakeStage::Tune;
        self.send(wire::AMQPMethod::Tune(wire::Tune {
            channel_max: CHANNEL_MAX,
            frame_max: config.frame_max,
            heartbeat: config.heartbeat,
        }));
        Ok(())
    }

    pub(super) fn tune(&mut self, state: &mut State, tune: &wire::TuneOk) -> Outcome {
        let limit = self.shared.config.frame_max;
        self.frame_max = match tune.frame_max {
            0 => limit,
            wanted => within("frame_max", wanted, FRAME_MIN, limit)?,
        };
        self.channel_max = match tune.channel_max {
            0 => CHANNEL_MAX,
            wanted => within("channel_max", wanted, 0, CHANNEL_MAX)?,
        };
        self.heartbeat.store(tune.heartbeat, Ordering::Relaxed);
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.frame_max = self.frame_max;
        }
        self.stage = HandshakeStage::Open;
        Ok(())
    }

    pub(super) fn open(&mut self, state: &mut State, vhost: &str) -> Outcome {
        if vhost != state.vhost {
            return Err(AmqpError::not_allowed(format!("vhost {vhost} not found")));
        }
        self.stage = HandshakeStage::Running;
        self.send(wire::AMQPMethod::OpenOk(wire::OpenOk {}));
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.open = true;
            let name = connection.name.clone();
            state.emit(|| Event::Connected {
                connection: self.id,
                name,
                peer: self.peer,
            });
        }
        Ok(())
    }
}

/// A limit that the client asks for, when it is in the allowed range.
fn within<T: PartialOrd + Display>(name: &str, wanted: T, min: T, max: T) -> Outcome<T> {
    let (relation, bound) = if wanted > max {
        ("higher than the maximum", max)
    } else if wanted < min {
        ("lower than the minimum", min)
    } else {
        return Ok(wanted);
    };
    Err(AmqpError::not_allowed(format!(
        "negotiated {name} = {wanted} is {relation} allowed value ({bound})"
    )))
}

fn has_capability(properties: &FieldTable, name: &str) -> bool {
    let capabilities = properties
        .inner()
        .get("capabilities")
        .and_then(AMQPValue::as_field_table);
    capabilities
        .and_then(|table| table.inner().get(name))
        .and_then(AMQPValue::as_bool)
        .unwrap_or(false)
}

fn server_properties() -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut capabilities = FieldTable::default();
    for name in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
        "per_consumer_qos",
    ] {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("product".into(), text("emulator"));
    properties.insert("version".into(), text(env!("CARGO_PKG_VERSION")));
    properties.insert("platform".into(), text("Rust"));
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

/// User and password of a PLAIN response: an identity, which is ignored, then both, each after a zero byte.
fn plain(response: &[u8]) -> Option<(String, String)> {
    let mut parts = response
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some((user, password))
}

/// User and password of an AMQPLAIN response: a field table without its length.
fn amqplain(response: &[u8]) -> Option<(String, String)> {
    let mut table = u32::try_from(response.len()).ok()?.to_be_bytes().to_vec();
    table.extend_from_slice(response);
    let (_, table) = parse_field_table(&table[..]).ok()?;
    let text = |name: &str| {
        table
            .inner()
            .get(name)?
            .as_long_string()
            .map(ToString::to_string)
    };
    Some((text("LOGIN")?, text("PASSWORD")?))
}
