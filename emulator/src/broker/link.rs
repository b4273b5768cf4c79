//! The sending side of a connection: frames are put into a buffer under the broker's lock, and one task writes
//! whatever has gathered in it with one system call.

use super::{codec, lock, message::Message};
use amq_protocol::protocol::AMQPClass;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, sync::Notify};
use tokio_util::sync::CancellationToken;

/// A consumer that reads slower than it is sent to gets no further deliveries beyond this many unsent bytes.
const BACKLOG_LIMIT: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Link {
    out: Mutex<Vec<u8>>,
    flush: Notify,
    finishing: AtomicBool,
    /// Wakes the reading side: the connection's state was changed by somebody else.
    pub(super) wake: Notify,
    /// Ends both sides at once, as the death of the process would.
    pub(super) cut: CancellationToken,
}

impl Link {
    pub(super) fn method(&self, channel: u16, method: &AMQPClass) {
        codec::put_method(&mut lock(&self.out), channel, method);
        self.flush.notify_one();
    }

    /// A method and the content that belongs to it.
    pub(super) fn content(
        &self,
        channel: u16,
        method: &AMQPClass,
        message: &Message,
        frame_max: u32,
    ) {
        let mut out = lock(&self.out);
        codec::put_method(&mut out, channel, method);
        codec::put_content(
            &mut out,
            channel,
            &message.properties,
            &message.body,
            frame_max,
        );
        drop(out);
        self.flush.notify_one();
    }

    pub(super) fn raw(&self, bytes: &[u8]) {
        lock(&self.out).extend_from_slice(bytes);
        self.flush.notify_one();
    }

    /// Whether deliveries should wait.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.out).len() >= BACKLOG_LIMIT
    }

    /// Ends the sending side when everything is written.
    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
        self.flush.notify_one();
    }

    /// Writes until the link is finished or cut or the peer is gone. `drained` is called when deliveries can go on.
    pub(super) async fn write_to(
        &self,
        mut socket: OwnedWriteHalf,
        heartbeat: impl Fn() -> u16,
        drained: impl Fn(),
    ) {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            std::mem::swap(&mut bytes, &mut lock(&self.out));
            if bytes.is_empty() {
                if self.finishing.load(Ordering::Acquire) {
                    break;
                }
                let pause = Duration::from_secs(heartbeat().into()) / 2;
                tokio::select! {
                    () = self.flush.notified() => {}
                    () = self.cut.cancelled() => break,
                    () = tokio::time::sleep(pause), if !pause.is_zero() => codec::put_heartbeat(&mut lock(&self.out)),
                }
                continue;
            }
            tokio::select! {
                written = socket.write_all(&bytes) => if written.is_err() { break },
                () = self.cut.cancelled() => break,
            }
            if bytes.len() >= BACKLOG_LIMIT {
                drained();
            }
        }
        let _ = socket.shutdown().await;
    }
}
