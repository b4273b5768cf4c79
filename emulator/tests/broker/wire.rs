//! A client that sends any bytes, for frames that a real client never sends.

use amq_protocol::{
    frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame},
    protocol::{AMQPClass, BasicProperties, channel, connection},
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

pub(crate) struct Wire {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// The sizes of the body frames that were read.
    pub(crate) body_frames: Vec<usize>,
}

/// How the handshake goes.
pub(crate) struct Hello<'a> {
    pub(crate) mechanism: &'a str,
    pub(crate) response: Option<Vec<u8>>,
    pub(crate) vhost: Option<&'a str>,
    pub(crate) frame_max: u32,
    pub(crate) channel_max: u16,
    pub(crate) heartbeat: u16,
    pub(crate) capabilities: &'a [&'a str],
}

impl Default for Hello<'_> {
    fn default() -> Self {
        Self {
            mechanism: "PLAIN",
            response: None,
            vhost: None,
            frame_max: 4096,
            channel_max: 100,
            heartbeat: 0,
            capabilities: &["authentication_failure_close", "consumer_cancel_notify"],
        }
    }
}

impl Wire {
    pub(crate) async fn connect(uri: &str) -> Self {
        let uri: AMQPUri = uri.parse().expect("a URI");
        let socket = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port))
            .await
            .expect("connects");
        Self {
            socket,
            buffer: Vec::new(),
            body_frames: Vec::new(),
        }
    }

    /// Connects and opens channel 1.
    pub(crate) async fn open(uri: &str) -> Self {
        let mut wire = Self::connect(uri).await;
        wire.hello(uri, Hello::default())
            .await
            .expect("is accepted");
        wire.method(
            1,
            AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})),
        )
        .await;
        wire.read().await.expect("opens a channel");
        wire
    }

    /// Does the handshake, or returns the broker's refusal.
    pub(crate) async fn hello(&mut self, uri: &str, hello: Hello<'_>) -> Result<(), (u16, String)> {
        let uri: AMQPUri = uri.parse().expect("a URI");
        self.raw(b"AMQP\0\0\x09\x01").await;
        self.read().await.expect("start");
        let mut capabilities = FieldTable::default();
        for name in hello.capabilities {
            capabilities.insert((*name).into(), AMQPValue::Boolean(true));
        }
        let mut client_properties = FieldTable::default();
        client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
        let userinfo = &uri.authority.userinfo;
        let plain = format!("\0{}\0{}", userinfo.username, userinfo.password).into_bytes();
        self.connection(connection::AMQPMethod::StartOk(connection::StartOk {
            client_properties,
            mechanism: hello.mechanism.into(),
            response: hello.response.unwrap_or(plain).into(),
            locale: "en_US".into(),
        }))
        .await;
        match self.read().await {
            Some(AMQPFrame::Method(0, AMQPClass::Connection(connection::AMQPMethod::Tune(_)))) => {}
            other => return Err(refusal(other)),
        }
        let Hello {
            channel_max,
            frame_max,
            heartbeat,
            ..
        } = hello;
        self.connection(connection::AMQPMethod::TuneOk(connection::TuneOk {
            channel_max,
            frame_max,
            heartbeat,
        }))
        .await;
        let vhost = hello.vhost.unwrap_or(&uri.vhost);
        self.connection(connection::AMQPMethod::Open(connection::Open {
            virtual_host: vhost.into(),
        }))
        .await;
        match self.read().await {
            Some(AMQPFrame::Method(
                0,
                AMQPClass::Connection(connection::AMQPMethod::OpenOk(_)),
            )) => Ok(()),
            other => Err(refusal(other)),
        }
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("is sent");
    }

    pub(crate) async fn frame(&mut self, frame: &AMQPFrame) {
        let bytes = gen_frame(frame)(WriteContext::from(Vec::new()))
            .expect("is written")
            .into_inner()
            .0;
        self.raw(&bytes).await;
    }

    pub(crate) async fn method(&mut self, channel: u16, method: AMQPClass) {
        self.frame(&AMQPFrame::Method(channel, method)).await;
    }

    pub(crate) async fn header(
        &mut self,
        channel: u16,
        body_size: u64,
        properties: BasicProperties,
    ) {
        self.frame(&AMQPFrame::Header(
            channel,
            AMQPContentHeader {
                class_id: 60,
                body_size,
                properties,
            },
        ))
        .await;
    }

    async fn connection(&mut self, method: connection::AMQPMethod) {
        self.method(0, AMQPClass::Connection(method)).await;
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<AMQPFrame> {
        loop {
            if let Ok((rest, frame)) = parse_frame(&self.buffer[..]) {
                let left = rest.len();
                self.buffer.drain(..self.buffer.len() - left);
                if let AMQPFrame::Body(_, body) = &frame {
                    self.body_frames.push(body.len());
                }
                return Some(frame);
            }
            if self.socket.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next refusal: code and text of a channel or connection close.
    pub(crate) async fn refused(&mut self) -> (u16, String) {
        loop {
            let read = tokio::time::timeout(PATIENCE, self.read()).await;
            match read.unwrap_or_else(|_| panic!("no refusal came within {PATIENCE:?}")) {
                None => return refusal(None),
                Some(frame) => match refusal(Some(frame)) {
                    (0, _) => {}
                    refused => return refused,
                },
            }
        }
    }
}

fn refusal(frame: Option<AMQPFrame>) -> (u16, String) {
    match frame {
        Some(AMQPFrame::Method(_, AMQPClass::Connection(connection::AMQPMethod::Close(close)))) => {
            (close.reply_code, close.reply_text.to_string())
        }
        Some(AMQPFrame::Method(_, AMQPClass::Channel(channel::AMQPMethod::Close(close)))) => {
            (close.reply_code, close.reply_text.to_string())
        }
        Some(_) => (0, "something else".into()),
        None => (1, "the socket was closed".into()),
    }
}
