//! A TCP relay in front of the broker that notes when somebody connects, also while the broker is away.

use anyhow::Context as _;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A relay on a free port of loopback. It ends with its handle; its connections end with their clients.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    attempts: Arc<Mutex<Vec<Instant>>>,
    listens: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to this port of loopback. While nobody listens there, connections are closed at once.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.context("listening for the relay")?;
        let address = listener.local_addr()?;
        let attempts = Arc::<Mutex<Vec<Instant>>>::default();
        let noted = attempts.clone();
        let listens = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                lock(&noted).push(Instant::now());
                tokio::spawn(relay(client, target));
            }
        });
        Ok(Self {
            address,
            attempts,
            listens,
        })
    }

    /// When somebody has connected, in order.
    #[must_use]
    pub fn attempts(&self) -> Vec<Instant> {
        lock(&self.attempts).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

fn lock(attempts: &Mutex<Vec<Instant>>) -> std::sync::MutexGuard<'_, Vec<Instant>> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An end that closes its connection, or is not there, is no error.
async fn relay(mut client: TcpStream, target: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn attempts_count_even_if_nobody_listens() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let relay = Relay::start(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let (mut accepted, _) = server.accept().await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'x');
        drop((server, accepted));
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0);
        assert_eq!(relay.attempts().len(), 2);
    }
}
