//! The sending side of a connection: frames go into a buffer under the broker's lock, and one task writes everything
//! in the buffer with one system call.

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

/// A slow consumer gets no more deliveries when this many bytes are unsent.
const BACKLOG_LIMIT: usize = 4 << 20;

#[derive(Default)]
pub(super) struct FrameWriter {
    out: Mutex<Vec<u8>>,
    flush: Notify,
    finishing: AtomicBool,
    /// Wakes the reading side after a change of the connection's state.
    pub(super) wake: Notify,
    /// Ends both sides at once, as a crash does.
    pub(super) cut: CancellationToken,
}

impl FrameWriter {
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

    pub(super) fn write_raw(&self, bytes: &[u8]) {
        lock(&self.out).extend_from_slice(bytes);
        self.flush.notify_one();
    }

    /// Whether deliveries must wait.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.out).len() >= BACKLOG_LIMIT
    }

    /// Ends the sending side when everything is written.
    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
        self.flush.notify_one();
    }

    /// Writes until it is finished or cut, or the client is gone. Calls `drained` when deliveries can continue.
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
                let interval = Duration::from_secs(heartbeat().into()) / 2;
                tokio::select! {
                    () = self.flush.notified() => {}
                    () = self.cut.cancelled() => break,
                    () = tokio::time::sleep(interval), if !interval.is_zero() => codec::put_heartbeat(&mut lock(&self.out)),
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
