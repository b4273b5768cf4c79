//! Cuts a connection from inside a request, as a crashing server or a broken network does.

use axum::{
    extract::connect_info::Connected,
    http::StatusCode,
    response::{IntoResponse, Response},
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Cuts the connection that a request came over. Handlers get it from axum's `ConnectInfo`.
#[derive(Clone, Debug)]
pub struct Disconnect(Arc<AtomicBool>);

impl Disconnect {
    /// Ends the connection when the server next writes to it. What the handler responds does not arrive.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns the response, or cuts the connection when there is none.
    #[must_use]
    pub fn unless(&self, response: Option<Response>) -> Response {
        response.unwrap_or_else(|| {
            self.cut();
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        })
    }
}

/// Accepts connections that can be cut.
pub(crate) struct DisconnectableListener(pub(crate) TcpListener);

impl Listener for DisconnectableListener {
    type Io = DisconnectableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DisconnectableStream, SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.0).await;
        // Responses are small: waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let disconnect = Disconnect(Arc::default());
        (DisconnectableStream { stream, disconnect }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, DisconnectableListener>> for Disconnect {
    fn connect_info(stream: IncomingStream<'_, DisconnectableListener>) -> Self {
        stream.io().disconnect.clone()
    }
}

/// A connection that can be cut.
pub(crate) struct DisconnectableStream {
    stream: TcpStream,
    disconnect: Disconnect,
}

impl AsyncRead for DisconnectableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for DisconnectableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.disconnect.0.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
