//! Round trips, which prove that settlements have arrived.
//!
//! The broker does not confirm settlements. The frames of a channel are processed in order, so the response to a request on it
//! proves that the broker has all earlier settlements.

use super::{client::Channel, connection::ConnectionRole};
use crate::{broker::transport::Generation, codes};
use lapin::options::BasicQosOptions;
use std::{
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The delay between two round trips. It is short, because a settlement that is sent just before the connection breaks
/// stays unproven. A round trip takes two small frames.
pub(super) const ROUNDTRIP_INTERVAL: Duration = Duration::from_millis(250);
/// How often the log tells that a round trip has no response yet.
const ROUNDTRIP_REMINDER: Duration = Duration::from_secs(60);

/// Makes round trips while there are settlements to confirm. Nothing waits for the responses. Without a response,
/// nothing is proven.
///
/// The request sets the prefetch of later consumers, which it does not change.
pub(super) async fn confirm_settlements(
    channel: Arc<Channel>,
    prefetch: &AtomicU16,
    generation: &Generation,
) -> Infallible {
    loop {
        let roundtrip = generation.next_roundtrip().await;
        let prefetch = prefetch.load(Relaxed);
        let response = channel.basic_qos(prefetch, BasicQosOptions { global: false });
        if told_while_slow(response).await.is_err() {
            // The channel is lost. The consumer reports that.
            return pending().await;
        }
        generation.roundtrip_done(roundtrip);
        tracing::trace!(
            generation = generation.number,
            roundtrip,
            "The broker has received all earlier settlements."
        );
        sleep(ROUNDTRIP_INTERVAL).await;
    }
}

/// Waits for the response to a round trip, and tells that it does not come.
async fn told_while_slow<T>(response: impl Future<Output = T>) -> T {
    let mut response = pin!(response);
    loop {
        match timeout(ROUNDTRIP_REMINDER, &mut response).await {
            Ok(response) => return response,
            Err(_) => tracing::warn!(
                code = %codes::SETTLE_TIMEOUT,
                connection = %ConnectionRole::Consume,
                "The broker does not respond on the consuming connection; it may not have received settlements."
            ),
        }
    }
}
