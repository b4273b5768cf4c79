//! A stream between the broker and lapin. It repairs frames that lapin cannot read, and exchanges contents around it.
//!
//! lapin reads header tables by recursion, and closes a connection because of bytes that are not UTF-8. Any sender can
//! put both into a message, and the broker delivers such a message again on every connection. So the guard replaces
//! what lapin cannot read before lapin sees it, and the message is processed.
//!
//! The contents of messages go around lapin: their properties and their bodies. lapin would copy each byte several times, and
//! make a tree of each header table. The guard asks whether there is room for the body of a delivery before it reads any of
//! it, and leaves it out if there is none. lapin gets the delivery without properties and with an empty body. What is published
//! has a ticket in place of its contents until the guard writes them. So lapin's frames, and its buffers, can be small.
//!
//! One frame acknowledges several messages, which lapin acknowledges one by one.
//!
//! [`tables`], [`frames`], [`outgoing`] and [`acks`] do no I/O. This file contains the stream, and passes it to lapin in a
//! custom runtime. The guard reads from TLS, and TLS reads from TCP.

mod acks;
mod frames;
mod outgoing;
pub(super) mod tables;

#[cfg(test)]
mod tests;

use crate::{clients::tls, codes};
use async_rs::{
    Runtime, Tokio,
    traits::Reactor,
    util::{DummyIO, RuntimeParts},
};
use frames::Frames;
pub(super) use frames::{Contents, Deliveries};
use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsConnector, client::TlsStream, pki_types::ServerName};
use futures_util::{Stream, future::Either, task::AtomicWaker};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, Error,
    uri::{AMQPScheme, AMQPUri},
};
pub(super) use outgoing::Outbox;
use outgoing::Outgoing;
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// What goes around lapin on a connection.
#[derive(Clone, Default)]
pub(super) struct Around {
    /// Takes the contents of deliveries; without it, lapin gets them.
    pub(super) deliveries: Option<Arc<dyn Deliveries>>,
    /// Has the contents of what is published; without it, lapin writes them.
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// Connects to the broker through the guard. `name` is the connection's name at the broker. The URI has the longest frame that
/// the broker is asked for.
pub(super) async fn connect(
    mut uri: AMQPUri,
    name: String,
    handle: Handle,
    around: Around,
) -> Result<Connection, Error> {
    let longest = uri.query.frame_max.unwrap_or_default();
    if around.deliveries.is_some() || around.outbox.is_some() {
        uri.query.frame_max = Some(SHORT_FRAME.min(longest));
    }
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
            AMQPScheme::AMQP => Either::Left(Tcp(tcp)),
            AMQPScheme::AMQPS => Either::Right(with_tls(tcp, host).await?),
        };
        // lapin treats it as a plain stream, even if it uses TLS.
        let stream = GuardedStream::new(stream, frame_max).with(longest, around.clone());
        Ok(AsyncTcpStream::Plain(stream))
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Connection::connector(uri, runtime, connect, properties).await
}

/// The longest frame that lapin knows of, in bytes, if contents go around it. lapin has two buffers of 32 frames for each
/// connection, which are written to the end under load: 512 KB, and 8 MB with the broker's own frames. What still goes through
/// lapin must fit, such as the broker's description of itself.
const SHORT_FRAME: u32 = 8192;

type TcpStream = <Tokio as Reactor>::TcpStream;

/// A TCP stream that writes many parts at once. Without this only the first would be written.
struct Tcp(TcpStream);

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write_vectored(Pin::new(self.0.get_mut()), cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

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
    type TcpStream = GuardedStream<Either<Tcp, TlsStream<TcpStream>>>;
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
        async { Ok(GuardedStream::new(Either::Left(Tcp(connecting.await?)), 0)) }
    }
}

/// Wakes lapin when there is something to write that it does not know of.
///
/// lapin reads its wake-ups, and waits for another one if it has nothing to write and nothing to read. A wake-up for writing
/// that comes shortly before is forgotten then. One for reading is not: lapin reads, and flushes before that.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.writer.wake();
        self.reader.wake();
    }
}

/// A connection that checks the bytes from the broker, and exchanges contents.
pub(super) struct GuardedStream<S> {
    stream: S,
    frames: Frames,
    /// Without it, bytes to the broker are written as they are.
    outgoing: Option<Outgoing>,
    /// Those of the last polls.
    wakers: Arc<Wakers>,
}

impl<S> GuardedStream<S> {
    fn new(stream: S, frame_max: u32) -> Self {
        Self {
            stream,
            frames: Frames::new(frame_max),
            outgoing: None,
            wakers: Arc::default(),
        }
    }

    /// Lets contents go around lapin. The broker is asked for frames of up to `longest` bytes then.
    fn with(mut self, longest: u32, around: Around) -> Self {
        let Around { deliveries, outbox } = around;
        if deliveries.is_some() || outbox.is_some() {
            self.outgoing = Some(Outgoing::new(outbox));
        }
        self.frames = self.frames.with_contents(longest, deliveries);
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.wakers.reader.register(cx.waker());
        let Self { stream, frames, .. } = self.get_mut();
        let mut stream = Pin::new(stream);
        loop {
            let count = frames.take(into);
            if count > 0 || into.is_empty() {
                return Poll::Ready(Ok(count));
            }
            let count = match stream.as_mut().poll_read(cx, frames.space()) {
                Poll::Ready(count) => count?,
                Poll::Pending if frames.keep_alive() => continue,
                Poll::Pending => return Poll::Pending,
            };
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

impl<S: AsyncWrite + Unpin> GuardedStream<S> {
    /// Writes what waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        let Some(outgoing) = &mut self.outgoing else {
            return Poll::Ready(Ok(()));
        };
        if outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let waker = Waker::from(self.wakers.clone());
        let mut cx = Context::from_waker(&waker);
        while !outgoing.is_empty() {
            let parts = outgoing.to_write();
            let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(&mut cx, &parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(parts);
            outgoing.wrote(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let Self {
            stream,
            frames,
            outgoing,
            ..
        } = &mut *self;
        let Some(outgoing) = outgoing else {
            return Pin::new(stream).poll_write(cx, bytes);
        };
        let count = outgoing.accept(bytes, frames.longest(), frames.unsettled())?;
        // What the socket does not take now is written before anything else.
        if let Poll::Ready(drained) = self.poll_drain(cx) {
            drained?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// What waits is dropped. lapin waits for this only if the broker is silent, and a broker that does not read would keep its
    /// thread.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
