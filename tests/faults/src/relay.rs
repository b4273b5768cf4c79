//! A TCP relay between a step and one of the services that it uses. It passes bytes on, or does what a bad network does.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// They are passed on.
    Flows,
    /// They are held, in both directions. Connections stay open.
    Stalls,
    /// Open connections are closed, and so is each new one.
    Refused,
    /// Open connections are closed. A request on a new one gets a response that makes no sense.
    Rubbish,
}

/// Who the bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// The step.
    Client,
    /// The service.
    Server,
}

/// Responses that make no sense: a web page, something that is not HTTP, and a body that ends too early.
const RUBBISH: [&str; 3] = [
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 25\r\nconnection: close\r\n\r\n<html>Maintenance.</html>",
    "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}(",
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\nconnection: close\r\n\r\n{\"id\":",
];

/// A relay on a free port of 127.0.0.1. It ends with its handle, and its connections with it.
pub struct Relay {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    listens: JoinHandle<()>,
}

struct Shared {
    /// The first one that accepts a connection gets it, as behind a load balancer.
    targets: Vec<u16>,
    traffic: watch::Sender<Traffic>,
    /// Counts up whenever all connections are closed.
    closed: watch::Sender<u64>,
    /// The next bytes in this direction are torn after so many of them.
    tear: Mutex<Option<(Towards, usize)>>,
    opened: AtomicUsize,
}

impl Relay {
    /// Starts a relay to these ports of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(targets: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let shared = Arc::new(Shared {
            targets,
            traffic: watch::Sender::new(Traffic::Flows),
            closed: watch::Sender::new(0),
            tear: Mutex::default(),
            opened: AtomicUsize::new(0),
        });
        Ok(Self {
            addr: listener.local_addr()?,
            listens: tokio::spawn(listen(listener, shared.clone())),
            shared,
        })
    }

    /// Sets what happens to the bytes from now on.
    pub fn set(&self, traffic: Traffic) {
        if matches!(traffic, Traffic::Refused | Traffic::Rubbish) {
            self.close_all();
        }
        self.shared.traffic.send_replace(traffic);
    }

    /// Closes all connections.
    pub fn close_all(&self) {
        self.shared.closed.send_modify(|times| *times += 1);
    }

    /// Closes the connection that next passes on bytes in this direction, after the first `bytes` of them, or all but one if
    /// they are fewer: a frame ends in the middle.
    pub fn tear(&self, towards: Towards, bytes: usize) {
        *self.shared.tear() = Some((towards, bytes));
    }

    /// How many connections there have been.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listens.abort();
        self.close_all();
    }
}

impl Shared {
    fn tear(&self) -> std::sync::MutexGuard<'_, Option<(Towards, usize)>> {
        self.tear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these bytes are passed on before the connection is torn.
    fn torn_at(&self, towards: Towards, bytes: usize) -> Option<usize> {
        let mut tear = self.tear();
        let (_, at) = tear.take_if(|(direction, _)| *direction == towards)?;
        Some(at.min(bytes - 1))
    }

    async fn connect(&self) -> Option<TcpStream> {
        for port in &self.targets {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", *port)).await {
                return Some(stream);
            }
        }
        None
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = shared.opened.fetch_add(1, Ordering::Relaxed);
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut closed = shared.closed.subscribe();
            tokio::select! {
                () = serve(client, number, &shared) => {}
                _ = closed.changed() => {}
            }
        });
    }
}

async fn serve(mut client: TcpStream, number: usize, shared: &Shared) {
    let traffic = *shared.traffic.borrow();
    match traffic {
        Traffic::Refused => {}
        Traffic::Rubbish => {
            let mut request = [0; 4096];
            if client.read(&mut request).await.is_ok() {
                // A client that has gone away needs no response.
                let _ = client
                    .write_all(RUBBISH[number % RUBBISH.len()].as_bytes())
                    .await;
            }
        }
        Traffic::Flows | Traffic::Stalls => {
            let Some(server) = shared.connect().await else {
                return;
            };
            let delays = [client.set_nodelay(true), server.set_nodelay(true)];
            if delays.iter().any(Result::is_err) {
                return;
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Either end takes the other with it.
            tokio::select! {
                _ = pass_on(from_client, to_server, Towards::Server, shared) => {}
                _ = pass_on(from_server, to_client, Towards::Client, shared) => {}
            }
        }
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    towards: Towards,
    shared: &Shared,
) -> io::Result<()> {
    let mut traffic = shared.traffic.subscribe();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        // The sender lives as long as `shared`.
        let _ = traffic
            .wait_for(|traffic| *traffic != Traffic::Stalls)
            .await;
        if let Some(at) = shared.torn_at(towards, count) {
            return to.write_all(&buffer[..at]).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that sends back what it gets, behind a relay, and a client of it.
    async fn echo() -> (Relay, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let relay = Relay::start(vec![port]).await.unwrap();
        let client = TcpStream::connect(relay.addr).await.unwrap();
        (relay, client)
    }

    async fn sent_back(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        client.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        client.read_exact(&mut back).await.unwrap();
        back
    }

    #[tokio::test]
    async fn bytes_are_passed_on_until_the_connection_is_closed() {
        let (relay, mut client) = echo().await;
        assert_eq!(sent_back(&mut client, b"hello").await, b"hello");
        relay.close_all();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(relay.opened(), 1);
    }

    #[tokio::test]
    async fn a_torn_connection_passes_on_a_part() {
        let (relay, mut client) = echo().await;
        assert_eq!(sent_back(&mut client, b"hello").await, b"hello");
        relay.tear(Towards::Client, 3);
        client.write_all(b"hello").await.unwrap();
        let mut part = Vec::new();
        client.read_to_end(&mut part).await.unwrap();
        assert_eq!(part, b"hel");
    }

    #[tokio::test]
    async fn stalled_bytes_arrive_afterwards() {
        let (relay, mut client) = echo().await;
        assert_eq!(sent_back(&mut client, b"hello").await, b"hello");
        relay.set(Traffic::Stalls);
        client.write_all(b"again").await.unwrap();
        relay.set(Traffic::Flows);
        let mut back = [0; 5];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"again");
    }

    #[tokio::test]
    async fn stalled_bytes_end_with_their_connection() {
        let (relay, mut client) = echo().await;
        // The relay has the connection: one that it accepts later would stay open.
        assert_eq!(sent_back(&mut client, b"hello").await, b"hello");
        relay.set(Traffic::Stalls);
        client.write_all(b"hello").await.unwrap();
        relay.close_all();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_service_that_is_away_closes_every_connection() {
        let (relay, mut client) = echo().await;
        assert_eq!(sent_back(&mut client, b"hello").await, b"hello");
        relay.set(Traffic::Refused);
        let mut new = TcpStream::connect(relay.addr).await.unwrap();
        for stream in [&mut client, &mut new] {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
        }
    }

    #[tokio::test]
    async fn rubbish_is_never_what_was_asked_for() {
        let (relay, _) = echo().await;
        relay.set(Traffic::Rubbish);
        for _ in 0..RUBBISH.len() {
            let mut client = TcpStream::connect(relay.addr).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut response = String::new();
            client.read_to_string(&mut response).await.unwrap();
            assert!(RUBBISH.contains(&&*response), "{response}");
        }
    }
}
