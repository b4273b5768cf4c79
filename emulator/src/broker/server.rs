//! The tasks of the broker: one accepts clients, one expires messages and sends delayed confirms.

use super::{BrokerConfig, Shared, connection, lock, state::State};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) async fn start(config: BrokerConfig) -> io::Result<Arc<Shared>> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
    let listener = TcpListener::bind(wanted).await.map_err(|error| {
        let text = format!("the broker cannot listen on {wanted}: {error}; choose another port");
        io::Error::new(error.kind(), text)
    })?;
    let shared = Arc::new(Shared {
        addr: listener.local_addr()?,
        state: Mutex::new(State::new(config.vhost.clone())),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        config,
    });
    shared.tasks.spawn(accept(shared.clone(), listener));
    shared.tasks.spawn(do_what_is_due(shared.clone()));
    Ok(shared)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => drop(shared.tasks.spawn(connection::serve(
                shared.clone(),
                socket,
                peer,
            ))),
            // For example, too many open files: the next client may succeed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Expires messages and sends delayed confirms, each when it is due.
async fn do_what_is_due(shared: Arc<Shared>) {
    let timer = lock(&shared.state).timer.clone();
    loop {
        let next = {
            let mut state = lock(&shared.state);
            let now = Instant::now();
            let deadlines = [state.expire_due(now), state.send_held_confirms(now)];
            deadlines.into_iter().flatten().min()
        };
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = timer.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}
