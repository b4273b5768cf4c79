//! A relay before a broker that puts bytes of its own in the place of messages' properties, as a broker would pass them on
//! from a client that keeps to no rules; over TLS too.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What stands after the size of the body in the content header of a message that has `mark` somewhere in its own.
pub(crate) struct Instead {
    pub(crate) mark: String,
    pub(crate) flags: u16,
    pub(crate) properties: Vec<u8>,
}

impl Instead {
    pub(crate) fn new(mark: impl Into<String>, flags: u16, properties: impl Into<Vec<u8>>) -> Self {
        Self {
            mark: mark.into(),
            flags,
            properties: properties.into(),
        }
    }
}

pub(crate) struct Interfering {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Interfering {
    pub(crate) async fn start(
        broker: String,
        tls: Option<TlsAcceptor>,
        instead: Vec<Instead>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (opened, instead) = (connections.clone(), Arc::new(instead));
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                let (broker, tls, instead) = (broker.clone(), tls.clone(), instead.clone());
                tokio::spawn(async move {
                    match tls {
                        None => relay(near, &broker, &instead).await,
                        Some(tls) => {
                            // A client that does not trust us goes away.
                            if let Ok(near) = tls.accept(near).await {
                                relay(near, &broker, &instead).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, connections }
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn relay<S: AsyncRead + AsyncWrite>(near: S, broker: &str, instead: &[Instead]) {
    let far = TcpStream::connect(broker).await.unwrap();
    let (mut from_client, mut to_client) = split(near);
    let (mut from_broker, mut to_broker) = far.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_broker) => {}
        _ = async {
            while let Ok(frame) = frame(&mut from_broker, instead).await {
                if to_client.write_all(&frame).await.is_err() || to_client.flush().await.is_err() {
                    break;
                }
            }
        } => {}
    }
}

async fn frame(
    broker: &mut (impl AsyncRead + Unpin),
    instead: &[Instead],
) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 7];
    broker.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize];
    broker.read_exact(&mut payload).await?;
    let end = broker.read_u8().await?;
    let has = |mark: &str| {
        payload
            .windows(mark.len())
            .any(|part| part == mark.as_bytes())
    };
    if head[0] == 2
        && let Some(other) = instead.iter().find(|instead| has(&instead.mark))
    {
        payload.truncate(12);
        payload.extend_from_slice(&other.flags.to_be_bytes());
        payload.extend_from_slice(&other.properties);
    }
    let size = (payload.len() as u32).to_be_bytes();
    Ok([&head[..3], &size, &payload, &[end]].concat())
}

/// Bytes of header tables.
pub(crate) mod wire {
    /// The flag of the headers among a message's properties.
    pub(crate) const HEADERS: u16 = 1 << 13;

    pub(crate) fn name(name: &[u8]) -> Vec<u8> {
        [&[name.len() as u8], name].concat()
    }

    pub(crate) fn sized(contents: &[u8]) -> Vec<u8> {
        [(contents.len() as u32).to_be_bytes().as_slice(), contents].concat()
    }

    pub(crate) fn text(text: &[u8]) -> Vec<u8> {
        [b"S".as_slice(), &sized(text)].concat()
    }

    /// A table of these headers.
    pub(crate) fn table(headers: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> = headers
            .iter()
            .flat_map(|(key, value)| [name(key), value.clone()].concat())
            .collect();
        sized(&entries)
    }

    /// A value in so many tables (`F`) or arrays (`A`).
    pub(crate) fn nested(depth: usize, kind: u8) -> Vec<u8> {
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
