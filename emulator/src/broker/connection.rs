//! One client: the frames it sends, and its end. `handshake` opens the connection; `channel` and `basic` handle what
//! comes on channels.

use super::{
    Shared, codec,
    codec::{Frame, short},
    error::{AmqpError, Outcome},
    frame_writer::FrameWriter,
    lock,
    message::Event,
    state::{Connection, State},
};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic, connection as wire};
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

/// The highest channel number.
pub(super) const CHANNEL_MAX: u16 = 2047;
/// The smallest `frame_max` that AMQP allows.
pub(super) const FRAME_MIN: u32 = 4096;
/// How long a client may take for the handshake, and to confirm a close.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const READ_SIZE: usize = 64 * 1024;

/// The class and method that a close refers to; zero when there is none.
pub(super) type MethodId = (u16, u16);

/// What the reading side of a connection knows. What others change is in [`Connection`].
pub(super) struct ClientConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) writer: Arc<FrameWriter>,
    pub(super) frame_max: u32,
    pub(super) inputs: HashMap<u16, Input>,
    pub(super) peer: SocketAddr,
    pub(super) stage: HandshakeStage,
    pub(super) channel_max: u16,
    pub(super) heartbeat: Arc<AtomicU16>,
    pub(super) finished: bool,
}

/// The content that a channel has received so far.
#[derive(Default)]
pub(super) struct Input {
    pub(super) content: Option<PartialMessage>,
    /// The broker has closed it and the client has not confirmed that yet: its frames are ignored.
    pub(super) closing: bool,
}

/// A message that has not arrived completely.
pub(super) struct PartialMessage {
    pub(super) publish: basic::Publish,
    pub(super) properties: BasicProperties,
    /// Known once the header has arrived.
    pub(super) size: Option<u64>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeStage {
    Start,
    Tune,
    Open,
    Running,
}

/// Serves one client until it is gone.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr) {
    // A failure only makes everything a little slower.
    let _ = socket.set_nodelay(true);
    let (read_half, write_half) = socket.into_split();
    let Some(mut client) = ClientConnection::register(shared.clone(), peer) else {
        return;
    };
    let writing = shared.tasks.spawn({
        let (shared, writer) = (shared.clone(), client.writer.clone());
        let (id, heartbeat) = (client.id, client.heartbeat.clone());
        async move {
            let drained = || lock(&shared.state).dispatch_connection(id);
            let heartbeat = || heartbeat.load(Ordering::Relaxed);
            writer.write_to(write_half, heartbeat, drained).await;
            writer.cut.cancel();
        }
    });
    client.run(read_half).await;
    client.unregister();
    client.writer.finish();
    if tokio::time::timeout(PATIENCE, writing).await.is_err() {
        client.writer.cut.cancel();
    }
}

impl ClientConnection {
    /// None when the broker refuses connections.
    fn register(shared: Arc<Shared>, peer: SocketAddr) -> Option<Self> {
        let writer = Arc::new(FrameWriter::default());
        let frame_max = shared.config.frame_max;
        let id = {
            let mut state = lock(&shared.state);
            if state.faults.refuse || shared.stop.is_cancelled() {
                return None;
            }
            let id = state.next_id();
            let connection = Connection::new(writer.clone(), frame_max);
            state.connections.insert(id, connection);
            id
        };
        Some(Self {
            shared,
            id,
            writer,
            frame_max,
            inputs: HashMap::new(),
            peer,
            stage: HandshakeStage::Start,
            channel_max: CHANNEL_MAX,
            heartbeat: Arc::default(),
            finished: false,
        })
    }

    fn unregister(&self) {
        let mut state = lock(&self.shared.state);
        state.release_connection(self.id);
        let connection = state.connections.remove(&self.id);
        if let Some(gone) = connection.filter(|connection| connection.open) {
            state.emit(|| Event::Disconnected {
                connection: self.id,
                name: gone.name,
            });
        }
    }

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
            } else if self.stage != HandshakeStage::Running {
                Some(handshake_end)
            } else {
                (!silence.is_zero() && !blocked).then(|| Instant::now() + silence)
            };
            buffer.reserve(READ_SIZE);
            tokio::select! {
                read = reader.read_buf(&mut buffer), if !blocked => if !read.is_ok_and(|bytes| bytes > 0) { return },
                () = self.writer.wake.notified() => {}
                () = self.writer.cut.cancelled() => return,
                () = until(deadline) => return,
            }
        }
    }

    /// Handles every complete frame in the buffer. Returns whether the connection is blocked, and whether it is closing.
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
                Err(error) => {
                    if closing {
                        self.finished = true;
                    } else {
                        state.close_connection(self.id, &error, (0, 0));
                    }
                    // The frames after a broken one cannot be separated.
                    buffer.clear();
                    return (false, true);
                }
            };
            if closing {
                self.await_close_ok(&frame);
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
            _ if self.stage != HandshakeStage::Running => {
                Err(AmqpError::command_invalid("the connection is not open yet"))
            }
            Frame::Method(0, _) | Frame::Header(0, _) | Frame::Body(0, _) => Err(
                AmqpError::command_invalid("channel 0 is the connection's own"),
            ),
            frame => self.channel_frame(state, channel, frame),
        };
        if let Err(error) = outcome {
            if channel == 0 || error.is_hard() {
                state.close_connection(self.id, &error, cause);
            } else {
                self.close_channel(state, channel, &error, cause);
            }
        }
    }

    /// After the broker has closed the connection, only the confirmation counts.
    fn await_close_ok(&mut self, frame: &Frame) {
        match frame {
            Frame::Method(0, AMQPClass::Connection(wire::AMQPMethod::CloseOk(_))) => {
                self.finished = true;
            }
            Frame::Method(0, AMQPClass::Connection(wire::AMQPMethod::Close(_))) => {
                self.confirm_close();
            }
            _ => {}
        }
    }

    fn confirm_close(&mut self) {
        self.send(wire::AMQPMethod::CloseOk(wire::CloseOk {}));
        self.finished = true;
    }

    fn connection_method(&mut self, state: &mut State, method: wire::AMQPMethod) -> Outcome {
        match (self.stage, method) {
            (_, wire::AMQPMethod::Close(_)) => {
                self.confirm_close();
                Ok(())
            }
            (HandshakeStage::Start, wire::AMQPMethod::StartOk(start)) => self.start(state, &start),
            (HandshakeStage::Tune, wire::AMQPMethod::TuneOk(tune)) => self.tune(state, &tune),
            (HandshakeStage::Open, wire::AMQPMethod::Open(open)) => {
                self.open(state, open.virtual_host.as_str())
            }
            (HandshakeStage::Running, wire::AMQPMethod::UpdateSecret(_)) => {
                Err(AmqpError::not_implemented("connection.update-secret"))
            }
            (stage, _) => Err(AmqpError::command_invalid(format!(
                "unexpected connection method at stage {stage:?}"
            ))),
        }
    }

    /// Whether a client may open a channel of this number.
    pub(super) fn allows_channel(&self, number: u16) -> bool {
        number <= self.channel_max
    }

    pub(super) fn send(&self, method: wire::AMQPMethod) {
        self.writer.method(0, &AMQPClass::Connection(method));
    }
}

impl Connection {
    fn new(writer: Arc<FrameWriter>, frame_max: u32) -> Self {
        Self {
            writer,
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

    /// Blocks or unblocks it, and notifies the client of a change.
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
            self.writer.method(0, &AMQPClass::Connection(method));
        }
        self.writer.wake.notify_one();
    }
}

impl State {
    /// Closes a client's connection; its unsettled messages are requeued at once.
    pub(super) fn close_connection(
        &mut self,
        id: u64,
        error: &AmqpError,
        (class_id, method_id): MethodId,
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
            reply_code: error.code,
            reply_text: short(&error.text),
            class_id,
            method_id,
        };
        connection
            .writer
            .method(0, &AMQPClass::Connection(wire::AMQPMethod::Close(close)));
        connection.writer.wake.notify_one();
        self.release_connection(id);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
