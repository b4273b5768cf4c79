//! A proxy in front of a broker that replaces the properties of messages by other bytes, as a broker passes them on from a
//! client that breaks the rules.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The type of a frame with a content header, which holds a message's properties.
const CONTENT_HEADER: u8 = 2;
/// The bytes before the properties in a content header: class, weight and the size of the body.
const BEFORE_PROPERTIES: usize = 12;

/// Bytes that replace the properties of a message.
#[derive(Clone, Debug)]
pub struct Replacement {
    mark: String,
    flags: u16,
    properties: Vec<u8>,
}

impl Replacement {
    /// Replaces the properties of every message whose properties contain the text `mark`. The flags say which properties
    /// follow.
    pub fn new(mark: impl Into<String>, flags: u16, properties: impl Into<Vec<u8>>) -> Self {
        Self {
            mark: mark.into(),
            flags,
            properties: properties.into(),
        }
    }

    fn is_for(&self, payload: &[u8]) -> bool {
        let mark = self.mark.as_bytes();
        payload.windows(mark.len()).any(|part| part == mark)
    }
}

/// The proxy; it runs as long as the runtime.
#[derive(Debug)]
pub struct TamperingProxy {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl TamperingProxy {
    /// Starts a proxy for the broker at this address. With an acceptor, clients speak TLS to it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(
        broker: String,
        tls: Option<TlsAcceptor>,
        replacements: Vec<Replacement>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let replacements: Arc<[Replacement]> = replacements.into();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let connection = serve(client, broker.clone(), tls.clone(), replacements.clone());
                tokio::spawn(connection);
            }
        });
        Self { port, connections }
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    client: TcpStream,
    broker: String,
    tls: Option<TlsAcceptor>,
    replacements: Arc<[Replacement]>,
) {
    let Some(tls) = tls else {
        return relay(client, &broker, &replacements).await;
    };
    // A client that does not trust the certificate closes the connection.
    if let Ok(client) = tls.accept(client).await {
        relay(client, &broker, &replacements).await;
    }
}

/// Relays until either side closes.
async fn relay<S: AsyncRead + AsyncWrite>(client: S, broker: &str, replacements: &[Replacement]) {
    let Ok(broker) = TcpStream::connect(broker).await else {
        return;
    };
    let (mut from_client, mut to_client) = split(client);
    let (mut from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_broker) => {}
        _ = relay_frames(&mut from_broker, &mut to_client, replacements) => {}
    }
}

async fn relay_frames(
    broker: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    replacements: &[Replacement],
) -> std::io::Result<()> {
    loop {
        let frame = next_frame(broker, replacements).await?;
        client.write_all(&frame).await?;
        client.flush().await?;
    }
}

/// The broker's next frame, with other properties if there is a replacement for it.
async fn next_frame(
    broker: &mut (impl AsyncRead + Unpin),
    replacements: &[Replacement],
) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 7];
    broker.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize];
    broker.read_exact(&mut payload).await?;
    let end = broker.read_u8().await?;
    if head[0] == CONTENT_HEADER
        && let Some(replacement) = replacements.iter().find(|other| other.is_for(&payload))
    {
        payload.truncate(BEFORE_PROPERTIES);
        payload.extend_from_slice(&replacement.flags.to_be_bytes());
        payload.extend_from_slice(&replacement.properties);
    }
    let size = (payload.len() as u32).to_be_bytes();
    Ok([&head[..3], &size, &payload, &[end]].concat())
}

/// Bytes of header tables, also of invalid ones.
pub mod wire {
    /// The flag of the headers among a message's properties.
    pub const HEADERS: u16 = 1 << 13;

    /// A name, or a property that is a short string.
    #[must_use]
    pub fn name(name: &[u8]) -> Vec<u8> {
        [&[name.len() as u8], name].concat()
    }

    /// Contents behind their size.
    #[must_use]
    pub fn sized(contents: &[u8]) -> Vec<u8> {
        [(contents.len() as u32).to_be_bytes().as_slice(), contents].concat()
    }

    /// A value that is a long string.
    #[must_use]
    pub fn text(text: &[u8]) -> Vec<u8> {
        [b"S".as_slice(), &sized(text)].concat()
    }

    /// A table of these headers.
    #[must_use]
    pub fn table(headers: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> = headers
            .iter()
            .flat_map(|(key, value)| [name(key), value.clone()].concat())
            .collect();
        sized(&entries)
    }

    /// A value inside `depth` tables (`kind` is `F`) or arrays (`A`).
    #[must_use]
    pub fn nested(depth: usize, kind: u8) -> Vec<u8> {
        (0..depth).fold(b"t\x01".to_vec(), |value, _| {
            let entry = if kind == b'F' {
                [name(b"n"), value].concat()
            } else {
                value
            };
            [&[kind], sized(&entry).as_slice()].concat()
        })
    }
}
