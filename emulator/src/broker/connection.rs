//! One client: the handshake, the frames it sends, and its end. The class files `channel` and `basic` go on from here.

use super::{
    Shared, codec,
    codec::{Frame, short},
    fault::{Fault, Outcome},
    link::Link,
    lock,
    message::Event,
    state::{Connection, State},
};
use amq_protocol::{
    protocol::{AMQPClass, BasicProperties, basic, connection as wire},
    types::{AMQPValue, FieldTable, parsing::parse_field_table},
};
use bytes::BytesMut;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, tcp::OwnedReadHalf},
    time::Instant,
};

const CHANNEL_MAX: u16 = 2047;
/// Below this no client may go, says AMQP.
const FRAME_MIN: u32 = 4096;
/// How long a client may take for the handshake, and to agree that the connection closes.
const PATIENCE: Duration = Duration::from_secs(10);
const READ_SIZE: usize = 64 * 1024;

/// The class and method that a close refers to; zero when it is none in particular.
pub(super) type Cause = (u16, u16);

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) link: Arc<Link>,
    pub(super) frame_max: u32,
    pub(super) inputs: HashMap<u16, Input>,
    peer: SocketAddr,
    stage: Stage,
    channel_max: u16,
    heartbeat: Arc<AtomicU16>,
    finished: bool,
}

/// What is under way on a channel.
#[derive(Default)]
pub(super) struct Input {
    pub(super) content: Option<Content>,
    /// It was told to close and has not agreed yet: what it sends meanwhile does not count.
    pub(super) closing: bool,
}

/// A message that has not arrived as a whole.
pub(super) struct Content {
    pub(super) publish: basic::Publish,
    pub(super) properties: BasicProperties,
    /// Known when the header is here.
    pub(super) size: Option<u64>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Tune,
    Open,
    Running,
}

/// Serves one client until it is gone.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr) {
    // Without it everything works, a little slower.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.into_split();
    let link = Arc::new(Link::default());
    let heartbeat = Arc::new(AtomicU16::new(0));
    let frame_max = shared.config.frame_max;
    let id = {
        let mut state = lock(&shared.state);
        if state.orders.refuse || shared.stop.is_cancelled() {
            return;
        }
        let id = state.next_id();
        state
            .connections
            .insert(id, Connection::new(link.clone(), frame_max));
        id
    };
    let writing = shared.tasks.spawn({
        let (shared, link, heartbeat) = (shared.clone(), link.clone(), heartbeat.clone());
        async move {
            let drained = || lock(&shared.state).dispatch_connection(id);
            link.write_to(writer, || heartbeat.load(Ordering::Relaxed), drained)
                .await;
            link.cut.cancel();
        }
    });
    let mut session = Session {
        shared: shared.clone(),
        id,
        link: link.clone(),
        frame_max,
        inputs: HashMap::new(),
        peer,
        stage: Stage::Start,
        channel_max: CHANNEL_MAX,
        heartbeat,
        finished: false,
    };
    session.run(reader).await;
    {
        let mut state = lock(&shared.state);
        state.release_connection(id);
        if let Some(gone) = state
            .connections
            .remove(&id)
            .filter(|connection| connection.open)
        {
            state.emit(|| Event::Disconnected {
                connection: id,
                name: gone.name,
            });
        }
    }
    link.finish();
    if tokio::time::timeout(PATIENCE, writing).await.is_err() {
        link.cut.cancel();
    }
}

impl Session {
    async fn run(&mut self, mut reader: OwnedReadHalf) {
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        if !self.protocol_header(&mut reader, &mut buffer).await {
            return;
        }
        let handshake_end = Instant::now() + PATIENCE;
        let mut close_end = None;
        loop {
            let (blocked, closing) = self.process(&mut buffer);
            if self.finished {
                return;
            }
            let silence = Duration::from_secs(self.heartbeat.load(Ordering::Relaxed).into()) * 2;
            let deadline = if closing {
                Some(*close_end.get_or_insert_with(|| Instant::now() + PATIENCE))
            } else if self.stage != Stage::Running {
                Some(handshake_end)
            } else {
                (!silence.is_zero() && !blocked).then(|| Instant::now() + silence)
            };
            buffer.reserve(READ_SIZE);
            tokio::select! {
                read = reader.read_buf(&mut buffer), if !blocked => if !read.is_ok_and(|bytes| bytes > 0) { return },
                () = self.link.wake.notified() => {}
                () = self.link.cut.cancelled() => return,
                () = until(deadline) => return,
            }
        }
    }

    /// Reads the eight bytes that a client opens with; another protocol is answered with ours, as AMQP wants it.
    async fn protocol_header(&self, reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> bool {
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
            () = self.link.cut.cancelled() => false,
            () = tokio::time::sleep(PATIENCE) => false,
        };
        if !complete {
            return false;
        }
        if buffer.split_to(codec::PROTOCOL_HEADER.len())[..] != codec::PROTOCOL_HEADER {
            self.link.raw(&codec::PROTOCOL_HEADER);
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

    /// Handles every whole frame in the buffer. Tells whether the connection is blocked, and whether it is closing.
    fn process(&mut self, buffer: &mut BytesMut) -> (bool, bool) {
        let shared = self.shared.clone();
        let mut state = lock(&shared.state);
        loop {
            let Some(connection) = state.connections.get(&self.id) else {
                return (false, true);
            };
            if connection.blocked && !connection.closing {
                return (true, false);
            }
            let closing = connection.closing;
            let frame = match codec::take_frame(buffer, self.frame_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (false, closing),
                Err(fault) => {
                    if closing {
                        self.finished = true;
                    } else {
                        state.close_connection(self.id, &fault, (0, 0));
                    }
                    // What follows a broken frame cannot be told apart.
                    buffer.clear();
                    return (false, true);
                }
            };
            if closing {
                self.farewell(&frame);
            } else {
                self.handle(&mut state, frame);
            }
            if self.finished {
                return (false, true);
            }
        }
    }

    fn handle(&mut self, state: &mut State, frame: Frame) {
        let (channel, cause) = match &frame {
            Frame::Method(channel, method) => (
                *channel,
                (method.get_amqp_class_id(), method.get_amqp_method_id()),
            ),
            Frame::Header(channel, _) | Frame::Body(channel, _) => (*channel, (60, 40)),
            Frame::Heartbeat => return,
        };
        let outcome = match frame {
            Frame::Method(0, AMQPClass::Connection(method)) => {
                self.connection_method(state, method)
            }
            _ if self.stage != Stage::Running => {
                Err(Fault::command_invalid("the connection is not open yet"))
            }
            Frame::Method(0, _) | Frame::Header(0, _) | Frame::Body(0, _) => {
                Err(Fault::command_invalid("channel 0 is the connection's own"))
            }
            frame => self.channel_frame(state, channel, frame),
        };
        if let Err(fault) = outcome {
            if channel == 0 || fault.is_hard() {
                state.close_connection(self.id, &fault, cause);
            } else {
                self.close_channel(state, channel, &fault, cause);
            }
        }
    }

    /// After the broker has asked to close, only the answer counts.
    fn farewell(&mut self, frame: &Frame) {
        match frame {
            Frame::Method(0, AMQPClass::Connection(wire::AMQPMethod::CloseOk(_))) => {
                self.finished = true;
            }
            Frame::Method(0, AMQPClass::Connection(wire::AMQPMethod::Close(_))) => {
                self.agree_to_close();
            }
            _ => {}
        }
    }

    fn agree_to_close(&mut self) {
        self.send(wire::AMQPMethod::CloseOk(wire::CloseOk {}));
        self.finished = true;
    }

    fn connection_method(&mut self, state: &mut State, method: wire::AMQPMethod) -> Outcome {
        match (self.stage, method) {
            (_, wire::AMQPMethod::Close(_)) => {
                self.agree_to_close();
                Ok(())
            }
            (Stage::Start, wire::AMQPMethod::StartOk(start)) => self.start(state, &start),
            (Stage::Tune, wire::AMQPMethod::TuneOk(tune)) => self.tune(state, &tune),
            (Stage::Open, wire::AMQPMethod::Open(open)) => {
                self.open(state, open.virtual_host.as_str())
            }
            (Stage::Running, wire::AMQPMethod::UpdateSecret(_)) => {
                Err(Fault::not_implemented("connection.update-secret"))
            }
            (stage, _) => Err(Fault::command_invalid(format!(
                "unexpected connection method at stage {stage:?}"
            ))),
        }
    }

    fn start(&mut self, state: &mut State, start: &wire::StartOk) -> Outcome {
        let properties = &start.client_properties;
        let capability = |name: &str| {
            let capabilities = properties
                .inner()
                .get("capabilities")
                .and_then(AMQPValue::as_field_table);
            capabilities
                .and_then(|table| table.inner().get(name))
                .and_then(AMQPValue::as_bool)
                .unwrap_or(false)
        };
        let mechanism = start.mechanism.as_str();
        let given = match mechanism {
            "PLAIN" => plain(start.response.as_bytes()),
            "AMQPLAIN" => amqplain(start.response.as_bytes()),
            _ => {
                return Err(Fault::command_invalid(format!(
                    "authentication mechanism '{mechanism}' is not supported"
                )));
            }
        };
        let config = &self.shared.config;
        if given.is_none_or(|(user, password)| user != config.user || password != config.password) {
            if !capability("authentication_failure_close") {
                // Such a client takes a closed socket for the answer.
                self.finished = true;
                return Ok(());
            }
            return Err(Fault::access_refused(format!(
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
        self.stage = Stage::Tune;
        self.send(wire::AMQPMethod::Tune(wire::Tune {
            channel_max: CHANNEL_MAX,
            frame_max: config.frame_max,
            heartbeat: config.heartbeat,
        }));
        Ok(())
    }

    fn tune(&mut self, state: &mut State, tune: &wire::TuneOk) -> Outcome {
        let limit = self.shared.config.frame_max;
        self.frame_max = match tune.frame_max {
            0 => limit,
            wanted if wanted > limit => {
                return Err(Fault::not_allowed(format!(
                    "negotiated frame_max = {wanted} is higher than the maximum allowed value ({limit})"
                )));
            }
            wanted if wanted < FRAME_MIN => {
                return Err(Fault::not_allowed(format!(
                    "negotiated frame_max = {wanted} is lower than the minimum allowed value ({FRAME_MIN})"
                )));
            }
            wanted => wanted,
        };
        self.channel_max = match tune.channel_max {
            0 => CHANNEL_MAX,
            wanted if wanted > CHANNEL_MAX => {
                return Err(Fault::not_allowed(format!(
                    "negotiated channel_max = {wanted} is higher than the maximum allowed value ({CHANNEL_MAX})"
                )));
            }
            wanted => wanted,
        };
        self.heartbeat.store(tune.heartbeat, Ordering::Relaxed);
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.frame_max = self.frame_max;
        }
        self.stage = Stage::Open;
        Ok(())
    }

    fn open(&mut self, state: &mut State, vhost: &str) -> Outcome {
        if vhost != state.vhost {
            return Err(Fault::not_allowed(format!("vhost {vhost} not found")));
        }
        self.stage = Stage::Running;
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

    /// Whether a client may open a channel of this number.
    pub(super) fn allows_channel(&self, number: u16) -> bool {
        number <= self.channel_max
    }

    fn send(&self, method: wire::AMQPMethod) {
        self.link.method(0, &AMQPClass::Connection(method));
    }
}

impl Connection {
    fn new(link: Arc<Link>, frame_max: u32) -> Self {
        Self {
            link,
            name: String::new(),
            frame_max,
            understands_cancel: false,
            understands_blocked: false,
            open: false,
            publishes: false,
            blocked: false,
            closing: false,
            channels: HashMap::new(),
        }
    }

    /// Blocks or unblocks it and says so, when that changes anything.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        if self.blocked == blocked {
            return;
        }
        self.blocked = blocked;
        if self.understands_blocked {
            let method = if blocked {
                wire::AMQPMethod::Blocked(wire::Blocked {
                    reason: short("low on memory"),
                })
            } else {
                wire::AMQPMethod::Unblocked(wire::Unblocked {})
            };
            self.link.method(0, &AMQPClass::Connection(method));
        }
        self.link.wake.notify_one();
    }
}

impl State {
    /// Asks a client to close its connection; what it has consumed goes back at once.
    pub(super) fn close_connection(
        &mut self,
        id: u64,
        fault: &Fault,
        (class_id, method_id): Cause,
    ) {
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| !connection.closing)
        else {
            return;
        };
        connection.closing = true;
        let close = wire::Close {
            reply_code: fault.code,
            reply_text: short(&fault.text),
            class_id,
            method_id,
        };
        connection
            .link
            .method(0, &AMQPClass::Connection(wire::AMQPMethod::Close(close)));
        connection.link.wake.notify_one();
        self.release_connection(id);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
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

/// User and password of a PLAIN response: an identity that nobody uses, then both, each after a zero byte.
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
