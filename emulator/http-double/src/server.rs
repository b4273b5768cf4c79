//! The loopback server, and the calls that are open on it.

use crate::disconnect::{Disconnect, DisconnectableListener};
use axum::Router;
use rustls::crypto::{CryptoProvider, ring};
use std::{fmt, io, net::SocketAddr};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A port of 127.0.0.1 that does not serve yet: the routes of a double often need its address.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    calls: OpenCalls,
}

impl Listener {
    /// Binds a port of 127.0.0.1; 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16) -> io::Result<Self> {
        choose_cryptography();
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(Self {
            addr: listener.local_addr()?,
            listener,
            calls: OpenCalls::default(),
        })
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The calls of the future server. They end with it.
    #[must_use]
    pub fn calls(&self) -> OpenCalls {
        self.calls.clone()
    }

    /// Serves these routes until the server is dropped. `name` is what its `Debug` shows.
    #[must_use]
    pub fn serve(self, name: &'static str, router: Router) -> Server {
        let service = router.into_make_service_with_connect_info::<Disconnect>();
        let stopped = self.calls.stop.clone().cancelled_owned();
        self.calls.tasks.spawn(async move {
            // Serving ends without errors: failures of single connections stay with these.
            let _ = axum::serve(DisconnectableListener(self.listener), service)
                .with_graceful_shutdown(stopped)
                .await;
        });
        self.calls.tasks.close();
        Server {
            name,
            addr: self.addr,
            calls: self.calls,
        }
    }
}

/// A running server. It stops when this is dropped.
pub struct Server {
    name: &'static str,
    addr: SocketAddr,
    calls: OpenCalls,
}

impl Server {
    /// Stops listening and ends open calls.
    pub async fn shutdown(&self) {
        self.calls.stop.cancel();
        self.calls.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.calls.stop.cancel();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.addr)
    }
}

/// The open calls. Clones are handles to the same ones.
#[derive(Clone, Debug, Default)]
pub struct OpenCalls {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl OpenCalls {
    /// Runs a call; none when the server stops first. The call ends early when its client goes away.
    pub async fn run<F: Future>(&self, call: F) -> Option<F::Output> {
        self.stop.run_until_cancelled(call).await
    }

    /// Runs a call; none when the server stops first. The call continues when its client goes away.
    pub async fn run_to_end<F>(&self, call: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let call = self.stop.clone().run_until_cancelled_owned(call);
        self.tasks.spawn(call).await.ok().flatten()
    }
}

/// Installs ring as the cryptography of this process, unless there is one already. Every double does it when it starts:
/// `reqwest`, which calls it, cannot build a client before that, even where nothing speaks TLS.
pub fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // It fails if another thread has installed it already, which is fine.
        let _ = ring::default_provider().install_default();
    }
}
