//! Error events: what the platform hears of a message that has failed.
//!
//! A message whose error event cannot go out is rejected, and then nobody would know why. So an event that the broker does
//! not take is cut until it does, and one that no queue is bound for is written to the log.

use super::{
    emit::{Fate, Flight},
    now_ms,
};
use crate::{
    broker::transport::{Confirm, Publication, PublishError, PublishErrorKind, Route, Transport},
    protocol::{Encoding, ErrorReport, Headers, error_body, truncated},
};
use std::sync::atomic::Ordering;

/// Error events up to this size carry their input whatever the limit for data is: 16 MiB, which is what current brokers
/// take.
const LARGEST_ERROR: usize = 16 * 1024 * 1024;
/// The longest text of a report that is cut.
const CUT_TEXT: usize = 1024;
/// The longest text that the log takes in place of an error event; longer ones find no room there.
const LOGGED_TEXT: usize = 64 * 1024;
/// The headers that an error event always has; the two ids are cut only where they alone are too long.
const KEPT: [&str; 13] = [
    "execId",
    "taskId",
    "workspaceId",
    "containerId",
    "userId",
    "stepId",
    "compId",
    "function",
    "messageId",
    "parentMessageId",
    "threadId",
    "start",
    "end",
];

/// What can be left out of an error event, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Input,
    Texts,
    Meta,
    /// The address for replies, the headers of `ADDITIONAL_VARS_FOR_HEADERS`, and whatever else is not [`KEPT`].
    Others,
    Thread,
    Parent,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Input,
        Self::Texts,
        Self::Meta,
        Self::Others,
        Self::Thread,
        Self::Parent,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Input => "its input",
            Self::Texts => "the end of its texts",
            Self::Meta => "the x-eio-meta headers",
            Self::Others => "reply_to and additional headers",
            Self::Thread => "its threadId (it has a new one)",
            Self::Parent => "its parentMessageId",
        }
    }

    /// Whether leaving it out can help.
    fn helps(self, fault: PublishErrorKind) -> bool {
        match fault {
            PublishErrorKind::HeadersTooLarge => !matches!(self, Self::Input | Self::Texts),
            // Only one that fills a frame alone is worth its loss.
            PublishErrorKind::Rejected => self != Self::Parent,
            PublishErrorKind::Unbound | PublishErrorKind::Closed | PublishErrorKind::Other => false,
        }
    }
}

/// What is left out of an error event, and what still could be.
struct Cuts {
    made: Vec<Part>,
    left: Vec<Part>,
}

impl Cuts {
    /// Nothing is left out so far. Parts that the event does not have cannot be cut.
    fn none(report: &ErrorReport, headers: &Headers, meta: &Headers) -> Self {
        let is_there = |part: &Part| match part {
            Part::Input | Part::Thread => true,
            Part::Texts => [&report.name, &report.message, &report.stack]
                .iter()
                .any(|text| text.len() > CUT_TEXT),
            Part::Meta => !meta.is_empty(),
            Part::Others => headers
                .keys()
                .any(|name| !KEPT.contains(&name.as_str()) && !meta.contains_key(name)),
            Part::Parent => headers.contains_key("parentMessageId"),
        };
        Self {
            made: Vec::new(),
            left: Part::ALL.into_iter().filter(is_there).collect(),
        }
    }

    /// Leaves out the next part that can help; false when there is none.
    fn cut(&mut self, fault: PublishErrorKind) -> bool {
        let next = self.left.iter().position(|part| part.helps(fault));
        if let Some(next) = next {
            self.made.push(self.left.remove(next));
        }
        next.is_some()
    }

    fn are(&self, part: Part) -> bool {
        self.made.contains(&part)
    }

    /// The report without what is cut, which it names.
    fn report(&self, report: &ErrorReport) -> ErrorReport {
        let mut report = report.clone();
        if self.are(Part::Texts) {
            for text in [&mut report.name, &mut report.message, &mut report.stack] {
                *text = truncated(text, CUT_TEXT).into_owned();
            }
        }
        if !self.made.is_empty() {
            let names = self
                .made
                .iter()
                .map(|part| part.name())
                .collect::<Vec<_>>()
                .join(", ");
            report.message.push_str(&format!(
                " (too large for the broker, so this event lacks: {names})"
            ));
        }
        report
    }
}

impl<T: Transport> Flight<T> {
    /// Publishes an error event, and its copy to who waits for an answer; the message will be rejected.
    pub(super) async fn report(&self, report: &ErrorReport) -> anyhow::Result<()> {
        self.failed.store(true, Ordering::SeqCst);
        self.engine.throttles.error.turn().await;
        self.report_unthrottled(report).await
    }

    /// The same without waiting for a turn: for errors of the runtime's own.
    pub(super) async fn report_unthrottled(&self, report: &ErrorReport) -> anyhow::Result<()> {
        self.failed.store(true, Ordering::SeqCst);
        let mut headers = self.headers();
        headers.insert("end".into(), now_ms().into());
        self.publish_error(report, headers, Fate::Fails).await
    }

    pub(super) async fn publish_error(
        &self,
        report: &ErrorReport,
        headers: Headers,
        fate: Fate,
    ) -> anyhow::Result<()> {
        self.engine.metrics.errors.add(1);
        let copy = self.copy(report, &headers, fate);
        let (event, ()) = tokio::join!(self.publish_cut(report, &headers), async {
            if let Some(copy) = copy
                && let Err(error) = copy.await
            {
                tracing::warn!(%error, "Nobody could be told of the error under its reply_to");
            }
        });
        if let Err(error) = &event {
            if fate == Fate::Fails {
                // Of a failure that nobody could be told of, the message at least is not acknowledged.
                self.failed.store(true, Ordering::SeqCst);
            }
            if error.kind == PublishErrorKind::Closed || self.engine.abandoned.is_cancelled() {
                tracing::info!(
                    "An error event was not published before the stop; its message comes again"
                );
            } else {
                log_instead(report, error, fate)
            }
        }
        event.map_err(Into::into)
    }

    /// The error for who waits under the message's `reply_to`.
    fn copy(&self, report: &ErrorReport, headers: &Headers, fate: Fate) -> Option<Confirm> {
        let replies = fate == Fate::Fails && self.engine.settings.error_replies;
        let key = self.incoming.reply_to.clone().filter(|_| replies)?;
        let mut headers = headers.clone();
        headers.insert("x-eio-error-response".into(), true.into());
        let body = report.encrypt(&self.engine.cipher).into();
        Some(self.engine.transport.publish(Publication {
            route: Route::Reply(key),
            headers,
            body,
        }))
    }

    /// Publishes an error event, with less and less of it until the broker takes it.
    async fn publish_cut(
        &self,
        report: &ErrorReport,
        headers: &Headers,
    ) -> Result<(), PublishError> {
        let mut cuts = Cuts::none(report, headers, &self.incoming.meta);
        let input = self.incoming_encoding().text_len(self.body.len());
        if input > self.engine.settings.outgoing_size_limit.max(LARGEST_ERROR)
            && cuts.cut(PublishErrorKind::Rejected)
        {
            tracing::warn!(
                size = input,
                "The input of a failed message is too large for its error event"
            );
        }
        loop {
            let body = self.error_body(&cuts.report(report), cuts.are(Part::Input));
            let headers = self.cut_headers(headers, &cuts);
            let publication = Publication {
                route: Route::Error,
                headers,
                body: body.into(),
            };
            match self.engine.transport.publish(publication).await {
                Err(error) if cuts.cut(error.kind) => {
                    tracing::warn!(%error, "An error event is too large for the broker; a smaller one is sent");
                }
                result => return result,
            }
        }
    }

    fn error_body(&self, report: &ErrorReport, without_input: bool) -> Vec<u8> {
        let input = (!without_input).then_some((&*self.body, self.incoming_encoding()));
        error_body(&report.encrypt(&self.engine.cipher), input)
    }

    fn incoming_encoding(&self) -> Encoding {
        Encoding::of(self.incoming.protocol_version)
    }

    fn cut_headers(&self, headers: &Headers, cuts: &Cuts) -> Headers {
        let mut headers = headers.clone();
        if cuts.are(Part::Meta) {
            self.incoming
                .meta
                .keys()
                .for_each(|name| drop(headers.remove(name)));
        }
        if cuts.are(Part::Others) {
            headers.retain(|name, _| {
                KEPT.contains(&name.as_str()) || self.incoming.meta.contains_key(name)
            });
        }
        if cuts.are(Part::Thread) {
            headers.insert("threadId".into(), uuid::Uuid::new_v4().to_string().into());
        }
        if cuts.are(Part::Parent) {
            headers.remove("parentMessageId");
        }
        headers
    }
}

/// The error in full, since it is told nowhere else.
fn log_instead(report: &ErrorReport, error: &PublishError, fate: Fate) {
    let [name, message, stack] =
        [&report.name, &report.message, &report.stack].map(|text| truncated(text, LOGGED_TEXT));
    let end = match fate {
        Fate::Fails => "its message is rejected",
        Fate::GoesOn => "its message goes on",
    };
    tracing::error!(
        fatal = true,
        %error,
        reported_name = &*name,
        reported_message = &*message,
        reported_stack = &*stack,
        "An error event could not be published, so the error stands here; {end}"
    );
}
