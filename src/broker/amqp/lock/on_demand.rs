//! A connection that is opened when it is first needed, shared by all who need it, and closed when nobody has needed it
//! for a while.

use super::super::{
    client::Connection,
    connection::{self, ConnectionRole},
};
use std::{ops::Deref, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    select,
    sync::{Mutex, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What [`OnDemand`] must know about a connection.
pub(super) trait Link: Send + Sync + 'static {
    fn is_open(&self) -> bool;

    /// Closes it, in limited time.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

impl Link for Connection {
    fn is_open(&self) -> bool {
        self.status().connected()
    }

    async fn close(&self) {
        connection::close(ConnectionRole::Lock, self).await;
    }
}

/// At most one open connection.
pub(super) struct OnDemand<L> {
    current: Mutex<Option<Arc<Counted<L>>>>,
    idle_limit: Duration,
    /// Where the tasks run that close unused connections.
    runtime: Handle,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A connection, and how many use it.
struct Counted<L> {
    link: L,
    users: watch::Sender<usize>,
}

impl<L> Counted<L> {
    /// Resolves when nobody has used the connection for this long.
    async fn unused_for(&self, limit: Duration) {
        let mut users = self.users.subscribe();
        loop {
            // Neither fails: `self` holds the sender.
            let _ = users.wait_for(|users| *users == 0).await;
            if timeout(limit, users.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A use of the connection, which stays open meanwhile.
pub(super) struct Lease<L>(Arc<Counted<L>>);

impl<L> Lease<L> {
    fn new(counted: Arc<Counted<L>>) -> Self {
        counted.users.send_modify(|users| *users += 1);
        Self(counted)
    }
}

impl<L> Deref for Lease<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.0.link
    }
}

impl<L> Drop for Lease<L> {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| *users -= 1);
    }
}

impl<L: Link> OnDemand<L> {
    /// Opens nothing yet. Its tasks run on `runtime`, belong to `tasks` and end with `closing`.
    pub(super) fn new(
        idle_limit: Duration,
        runtime: Handle,
        tasks: TaskTracker,
        closing: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            current: Mutex::default(),
            idle_limit,
            runtime,
            tasks,
            closing,
        })
    }

    /// Returns the open connection, or the one that `open` opens. While it is opened, others wait for it.
    pub(super) async fn lease<E>(
        self: &Arc<Self>,
        open: impl Future<Output = Result<L, E>>,
    ) -> Result<Lease<L>, E> {
        let mut current = self.current.lock().await;
        if let Some(counted) = current.as_ref().filter(|counted| counted.link.is_open()) {
            return Ok(Lease::new(counted.clone()));
        }
        *current = None;
        let counted = Arc::new(Counted {
            link: open.await?,
            users: watch::Sender::new(0),
        });
        *current = Some(counted.clone());
        let watching = self.clone().close_when_unused(counted.clone());
        self.tasks.spawn_on(watching, &self.runtime);
        Ok(Lease::new(counted))
    }

    /// Closes this connection at once, for all who use it. The next lease is one of a new connection.
    pub(super) async fn abandon(&self, lease: Lease<L>) {
        let mut current = self.current.lock().await;
        current.take_if(|current| Arc::ptr_eq(current, &lease.0));
        drop(current);
        lease.close().await;
    }

    /// Closes the connection, if one is open.
    pub(super) async fn close(&self) {
        let current = self.current.lock().await.take();
        if let Some(counted) = current {
            counted.link.close().await;
        }
    }

    async fn close_when_unused(self: Arc<Self>, counted: Arc<Counted<L>>) {
        loop {
            select! {
                biased;
                () = self.closing.cancelled() => return,
                () = counted.unused_for(self.idle_limit) => {}
            }
            let mut current = self.current.lock().await;
            // A lease is taken under the mutex, and may have been taken just now.
            if *counted.users.borrow() == 0 {
                current.take_if(|current| Arc::ptr_eq(current, &counted));
                break;
            }
        }
        counted.link.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };
    use tokio::time::{advance, sleep};

    const LIMIT: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Line(AtomicBool);

    impl Link for Arc<Line> {
        fn is_open(&self) -> bool {
            self.0.load(Relaxed)
        }

        async fn close(&self) {
            self.0.store(false, Relaxed);
        }
    }

    struct World {
        lines: Arc<OnDemand<Arc<Line>>>,
        opened: AtomicUsize,
    }

    impl World {
        fn new() -> Self {
            Self {
                lines: OnDemand::new(
                    LIMIT,
                    Handle::current(),
                    TaskTracker::new(),
                    CancellationToken::new(),
                ),
                opened: AtomicUsize::new(0),
            }
        }

        async fn lease(&self) -> Lease<Arc<Line>> {
            let open = async {
                self.opened.fetch_add(1, Relaxed);
                // Takes some time, so that others can ask meanwhile.
                sleep(MOMENT).await;
                Ok::<_, Infallible>(Arc::new(Line(AtomicBool::new(true))))
            };
            let Ok(lease) = self.lines.lease(open).await;
            lease
        }

        fn opened(&self) -> usize {
            self.opened.load(Relaxed)
        }
    }

    /// Lets time pass, and everything happen that is due.
    async fn pass(time: Duration) {
        tokio::task::yield_now().await;
        advance(time).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_share_one_connection() {
        let world = World::new();
        assert_eq!(world.opened(), 0);
        let leases = join_all([world.lease(), world.lease(), world.lease()]).await;
        assert_eq!(world.opened(), 1);
        assert!(Arc::ptr_eq(&leases[0].0, &leases[2].0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_closes_a_minute_after_its_last_use() {
        let world = World::new();
        let lease = world.lease().await;
        let line = Arc::clone(&lease);
        for _ in 0..3 {
            pass(2 * LIMIT).await;
            assert!(line.is_open(), "it is used");
        }
        drop(lease);
        pass(LIMIT - MOMENT).await;
        assert!(line.is_open());
        // A short use begins the time anew.
        drop(world.lease().await);
        pass(LIMIT - MOMENT).await;
        assert!(line.is_open());
        assert_eq!(world.opened(), 1);
        pass(MOMENT).await;
        assert!(!line.is_open());
        assert!(world.lease().await.is_open());
        assert_eq!(world.opened(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_replaced() {
        let world = World::new();
        let lost = world.lease().await;
        lost.close().await;
        let second = world.lease().await;
        drop(lost);
        pass(2 * LIMIT).await;
        assert!(second.is_open(), "the end of the first one ends no other");
        let third = world.lease().await;
        world.lines.abandon(third).await;
        assert!(!second.is_open());
        assert!(world.lease().await.is_open());
        assert_eq!(world.opened(), 3);
    }
}
