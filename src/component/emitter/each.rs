//! Emits many bodies, and returns those that were not emitted. Each failure has one owner: its caller, or else the runtime.

use super::{Emitter, Event, EventSink, MAX_UNCONFIRMED, message_from_body};
use crate::{broker::transport::Confirm, component::error::is_unpublishable};
use futures_util::{FutureExt, StreamExt, future, stream::FuturesUnordered};
use serde::Serialize;
use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The error of the bodies after one that was not emitted for a passing reason.
const STOPPED: &str = "an earlier message could not be emitted";

/// A body that [`Emitter::data_each`] did not emit.
///
/// Whoever takes its [error](Self::into_error) reports it, with what identifies the body. If nobody takes or
/// [dismisses](Self::dismiss) it, the runtime publishes an error event as soon as this is dropped: no body is lost in silence.
///
/// ```
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// async fn rows(message: Message<Vec<Value>>, cx: Context) -> anyhow::Result<()> {
///     for failed in cx.emitter().data_each(&message.body).await {
///         let row = format!("row {} is left out", failed.position);
///         cx.error(failed.into_error().context(row)).await?;
///     }
///     Ok(())
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"rows": {}}}"#)?.action("rows", rows);
/// let harness = Harness::new(&component, "rows").message_size_limit(1000);
/// let emitted = harness.run(json!(["a", "b".repeat(1000), "c"])).await?;
/// assert_eq!(emitted.data::<String>(), ["a", "c"]);
/// let Event::Error(error) = &emitted.events[2] else { panic!("one error event") };
/// assert!(error.starts_with("row 1 is left out: Outgoing message size"), "{error}");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct NotEmitted {
    /// The position of the body.
    pub position: usize,
    /// Whether the message can never be emitted: the body cannot be written as JSON, the message is too large, or the broker
    /// rejects it. Otherwise a later attempt may succeed.
    pub is_permanent: bool,
    failure: Failure,
}

impl NotEmitted {
    /// Returns why the body was not emitted. The runtime still reports it.
    #[must_use]
    pub fn error(&self) -> &anyhow::Error {
        &self.failure.error
    }

    /// Takes the error, to report it with [`Context::error`](crate::Context::error) or to return it. The runtime does not
    /// report it.
    #[must_use = "nobody else reports this error"]
    pub fn into_error(mut self) -> anyhow::Error {
        self.failure.owner = None;
        mem::replace(&mut self.failure.error, anyhow::Error::msg(""))
    }

    /// Lets nobody report the failure, because the body was emitted in another way, such as in smaller parts.
    pub fn dismiss(mut self) {
        self.failure.owner = None;
    }
}

/// Why a body was not emitted. If it still has an owner when it is dropped, that reports it.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    owner: Option<Owner>,
}

/// Reports failures that nobody else reports.
struct Owner(Arc<dyn EventSink>);

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owner")
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        if let Some(Owner(sink)) = self.owner.take() {
            let error = mem::replace(&mut self.error, anyhow::Error::msg(""));
            sink.report_failure(future::ready(Err(error)).boxed());
        }
    }
}

/// A body that cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the body cannot be emitted")]
struct Unwritable;

/// The confirm of a body. If it is dropped before it resolves, the runtime reports a failure.
struct Unconfirmed {
    position: usize,
    confirm: Option<Confirm>,
    sink: Arc<dyn EventSink>,
}

impl Future for Unconfirmed {
    type Output = (usize, anyhow::Result<()>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(confirm) = &mut self.confirm else {
            return Poll::Pending;
        };
        let result = ready!(confirm.poll_unpin(cx));
        self.confirm = None;
        Poll::Ready((self.position, result.map_err(Into::into)))
    }
}

impl Drop for Unconfirmed {
    fn drop(&mut self) {
        if let Some(confirm) = self.confirm.take() {
            let outcome = confirm.map(|result| result.map_err(Into::into));
            self.sink.report_failure(outcome.boxed());
        }
    }
}

/// What was not emitted so far.
struct Each<'a> {
    sink: &'a Arc<dyn EventSink>,
    failed: Vec<NotEmitted>,
    /// A message was not emitted for a passing reason.
    has_stopped: bool,
}

impl Each<'_> {
    fn note(&mut self, position: usize, result: anyhow::Result<()>) {
        let Err(error) = result else { return };
        let is_permanent = error.is::<Unwritable>() || is_unpublishable(&error);
        self.has_stopped |= !is_permanent;
        self.failed.push(NotEmitted {
            position,
            is_permanent,
            failure: Failure {
                error,
                owner: Some(Owner(self.sink.clone())),
            },
        });
    }

    /// The body was not attempted.
    fn leave_out(&mut self, position: usize) {
        self.failed.push(NotEmitted {
            position,
            is_permanent: false,
            failure: Failure {
                error: anyhow::Error::msg(STOPPED),
                owner: None,
            },
        });
    }

    /// Returns the bodies in order. One report of a passing reason is enough for all of them.
    fn finish(mut self) -> Vec<NotEmitted> {
        self.failed.sort_unstable_by_key(|failed| failed.position);
        let passing = self.failed.iter_mut().filter(|failed| !failed.is_permanent);
        passing
            .skip(1)
            .for_each(|failed| failed.failure.owner = None);
        self.failed
    }
}

impl Emitter {
    /// Emits a message for each body, in order, with up to 32 unconfirmed at once, and goes on after one that cannot be
    /// emitted, such as one that is too large. After a passing failure the rest is left. Returns those that were not emitted,
    /// in order. No error event has reported them: the caller reports them, or else the runtime does when they are dropped.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn rows(message: Message<Vec<Value>>, cx: Context) -> anyhow::Result<()> {
    ///     for failed in cx.emitter().data_each(&message.body).await {
    ///         if !failed.is_permanent {
    ///             return Err(failed.into_error());
    ///         }
    ///         let row = format!("row {} is left out", failed.position);
    ///         cx.error(failed.into_error().context(row)).await?;
    ///     }
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"rows": {}}}"#)?.action("rows", rows);
    /// # let emitted = Harness::new(&component, "rows").run(json!([[1, 2], [3]])).await?;
    /// # assert_eq!(emitted.data::<Value>(), [json!([1, 2]), json!([3])]);
    /// # Ok(()) }
    /// ```
    pub async fn data_each<I>(&self, bodies: I) -> Vec<NotEmitted>
    where
        I: IntoIterator<Item: Serialize + Send, IntoIter: Send>,
    {
        let mut each = Each {
            sink: &self.0,
            failed: vec![],
            has_stopped: false,
        };
        let mut unconfirmed = FuturesUnordered::new();
        for (position, body) in bodies.into_iter().enumerate() {
            if unconfirmed.len() == MAX_UNCONFIRMED
                && let Some((position, result)) = unconfirmed.next().await
            {
                each.note(position, result);
            }
            if each.has_stopped {
                each.leave_out(position);
                continue;
            }
            let published = match message_from_body(&body) {
                Ok(message) => self.0.emit_unreported(Event::Data(message)).await,
                Err(error) => Err(error.context(Unwritable)),
            };
            match published {
                Ok(confirm) => unconfirmed.push(Unconfirmed {
                    position,
                    confirm: Some(confirm),
                    sink: self.0.clone(),
                }),
                Err(error) => each.note(position, Err(error)),
            }
        }
        while let Some((position, result)) = unconfirmed.next().await {
            each.note(position, result);
        }
        each.finish()
    }
}
