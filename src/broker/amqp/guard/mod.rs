//! A guard between the broker and the client library. The client reads header tables by recursion and gives a connection
//! up over a byte that is no text; both come from messages that anybody may send, and such a message comes again on
//! every connection. So what it could not read is replaced before it sees it, and the message goes on.
//!
//! [`tables`] and [`frames`] are pure; here is the stream that they work in, and the way lapin takes it: as the stream of
//! a reactor of our own. TLS is below the guard, and TCP below that.

mod frames;
mod tables;

#[cfg(test)]
mod tests;

use crate::clients::tls;
use async_rs::{
    Runtime, Tokio,
    traits::Reactor,
    util::{DummyIO, RuntimeParts},
};
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

/// Less than this is not worth a read of its own.
const LEAST_READ: usize = 16 * 1024;

/// Connects with the guard in between.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    handle: Handle,
) -> Result<Connection, Error> {
    let tokio = Tokio::default().with_handle(handle);
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Guarding(tokio.clone())));
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
        // For lapin it is plain, also with TLS.
        Ok(AsyncTcpStream::Plain(Guarded::new(stream, frame_max)))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

type TcpStream = <Tokio as Reactor>::TcpStream;

async fn with_tls(tcp: TcpStream, host: String) -> io::Result<TlsStream<TcpStream>> {
    let host = ServerName::try_from(host).map_err(io::Error::other)?;
    let config = tls::client_config().map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(host, tcp)
        .await
}

/// Tokio's reactor, but that its streams are guarded.
#[derive(Clone, Debug)]
struct Guarding(Tokio);

impl Reactor for Guarding {
    type TcpStream = Guarded<Either<TcpStream, TlsStream<TcpStream>>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// The client registers nothing.
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
        async { Ok(Guarded::new(Either::Left(connecting.await?), 0)) }
    }
}

/// A connection whose bytes from the broker are looked at. Those to the broker are not.
pub(super) struct Guarded<S> {
    stream: S,
    frames: Frames,
}

impl<S> Guarded<S> {
    fn new(stream: S, frame_max: u32) -> Self {
        Self {
            stream,
            frames: Frames::new(frame_max),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
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
            // A large body goes to the client without being copied.
            let free = frames.free().min(into.len());
            if free >= LEAST_READ {
                let count = ready!(stream.as_mut().poll_read(cx, &mut into[..free]))?;
                frames.passed(count);
                return Poll::Ready(Ok(count));
            }
            let count = ready!(stream.as_mut().poll_read(cx, frames.space()))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            frames.filled(count);
            for reason in frames.mended() {
                tracing::warn!(
                    reason,
                    "Headers or names from the broker are cut: the client cannot read them."
                );
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
