//! A stream between the broker and lapin that repairs frames which lapin cannot read.
//!
//! lapin reads header tables by recursion, and closes a connection because of bytes that are not UTF-8. Any sender can
//! put both into a message, and the broker delivers such a message again on every connection. So the guard replaces
//! what lapin cannot read before lapin sees it, and the message is processed.
//!
//! lapin also puts the body of a delivery together, however large it is. So the guard asks whether there is room for a body
//! before lapin sees any of it, and leaves it out if there is none.
//!
//! [`tables`] and [`frames`] do no I/O. This file contains the stream, and passes it to lapin in a custom runtime. The
//! guard reads from TLS, and TLS reads from TCP.

mod frames;
mod tables;

#[cfg(test)]
mod tests;

use crate::{clients::tls, codes};
use async_rs::{
    Runtime, Tokio,
    traits::Reactor,
    util::{DummyIO, RuntimeParts},
};
pub(super) use frames::Admit;
use frames::Frames;
use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsConnector, client::TlsStream, pki_types::ServerName};
use futures_util::{Stream, future::Either};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, Error,
    uri::{AMQPScheme, AMQPUri},
};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Reads of fewer bytes go through the buffer.
const MIN_DIRECT_READ: usize = 16 * 1024;

/// Connects to the broker through the guard. `name` is the connection's name at the broker. `admit` decides which bodies of
/// deliveries are read; without it, all are.
pub(super) async fn connect(
    uri: AMQPUri,
    name: String,
    handle: Handle,
    admit: Option<Admit>,
) -> Result<Connection, Error> {
    let tokio = Tokio::default().with_handle(handle);
    let runtime = Runtime::new(RuntimeParts::new(
        tokio.clone(),
        GuardedRuntime(tokio.clone()),
    ));
    let below = Runtime::new(tokio);
    let connect = async move |uri: AMQPUri, _| {
        let frame_max = uri.query.frame_max.unwrap_or_default();
        let (host, port) = (uri.authority.host, uri.authority.port);
        let addresses = below.to_socket_addrs((host.clone(), port));
        let tcp = below.tcp_connect(addresses).await?;
        let stream = match uri.scheme {
            AMQPScheme::AMQP => Either::Left(tcp),
            AMQPScheme::AMQPS => Either::Right(with_tls(tcp, host).await?),
        };
        // lapin treats it as a plain stream, even if it uses TLS.
        let mut stream = GuardedStream::new(stream, frame_max);
        if let Some(admit) = admit.clone() {
            stream.frames = stream.frames.with_admission(admit);
        }
        Ok(AsyncTcpStream::Plain(stream))
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Connection::connector(uri, runtime, connect, properties).await
}

type TcpStream = <Tokio as Reactor>::TcpStream;

async fn with_tls(tcp: TcpStream, host: String) -> io::Result<TlsStream<TcpStream>> {
    let host = ServerName::try_from(host).map_err(io::Error::other)?;
    let config = tls::broker_config().map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(host, tcp)
        .await
}

/// Tokio's runtime with guarded streams.
#[derive(Clone, Debug)]
struct GuardedRuntime(Tokio);

impl Reactor for GuardedRuntime {
    type TcpStream = GuardedStream<Either<TcpStream, TlsStream<TcpStream>>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// lapin does not call this.
    fn register<H: Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static + use<'_, H>> {
        Err::<DummyIO, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(GuardedStream::new(Either::Left(connecting.await?), 0)) }
    }
}

/// A connection that checks the bytes from the broker. Bytes to the broker are not checked.
pub(super) struct GuardedStream<S> {
    stream: S,
    frames: Frames,
}

impl<S> GuardedStream<S> {
    fn new(stream: S, frame_max: u32) -> Self {
        Self {
            stream,
            frames: Frames::new(frame_max),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, frames } = self.get_mut();
        let mut stream = Pin::new(stream);
        loop {
            let count = frames.take(into);
            if count > 0 || into.is_empty() {
                return Poll::Ready(Ok(count));
            }
            // A large body is read directly, without a copy.
            let free = frames.free().min(into.len());
            if free >= MIN_DIRECT_READ {
                let count = ready!(stream.as_mut().poll_read(cx, &mut into[..free]))?;
                frames.passed(count);
                return Poll::Ready(Ok(count));
            }
            let count = ready!(stream.as_mut().poll_read(cx, frames.space()))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            frames.filled(count);
            for reason in frames.repaired() {
                tracing::warn!(
                    code = %codes::HEADERS_CUT,
                    reason,
                    "Headers or names from the broker were cut, because the AMQP client cannot read them."
                );
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
