//! Error events: they tell the user why a message failed.
//!
//! Without an error event, nobody would know why a message was rejected. So an event that is too large for the broker
//! is truncated until it fits. If no queue is bound for the event, it is logged.

use super::{deduplication::content_hash, emit::InFlightMessage, ids::write_ids, now_ms};
use crate::{
    broker::transport::{
        Confirm, PublishError, PublishErrorKind, ReboundLimitExceeded, Route, Transport,
    },
    codes,
    monitoring::EventLabel,
    protocol::{ErrorReport, Headers, Json, error_body, truncated},
};

/// Error events up to this size contain the input, even if the limit for data is smaller. Current brokers accept 16
/// MiB.
const MAX_EVENT_WITH_INPUT: usize = 16 * 1024 * 1024;
/// The length to which the texts of a report are truncated.
const TRUNCATED_TEXT: usize = 1024;
/// The longest text that is logged in place of an error event.
const MAX_LOGGED_TEXT: usize = 64 * 1024;
/// The headers that an error event always has. A `parentMessageId` or `threadId` is removed or
/// replaced only if it alone is too long.
const REQUIRED_HEADERS: [&str; 13] = [
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

/// What an error event means for its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorEventKind {
    /// The message fails. A waiting HTTP request gets the error as its reply.
    MessageFailed,
    /// The message continues.
    Warning,
}

/// What can be left out of an error event, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorEventPart {
    Input,
    Texts,
    Meta,
    /// `reply_to`, the headers of `ADDITIONAL_VARS_FOR_HEADERS`, and whatever else is not [required](REQUIRED_HEADERS).
    Others,
    Thread,
    Parent,
}

impl ErrorEventPart {
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

    /// Returns whether leaving this part out can help against such an error.
    fn can_reduce(self, kind: PublishErrorKind) -> bool {
        match kind {
            PublishErrorKind::HeadersTooLarge => !matches!(self, Self::Input | Self::Texts),
            // The parentMessageId stays: only one that fills a frame is too long, and that causes `HeadersTooLarge`.
            PublishErrorKind::Rejected => self != Self::Parent,
            PublishErrorKind::Unbound | PublishErrorKind::Closed | PublishErrorKind::Other => false,
        }
    }
}

/// What is left out of an error event, and what can still be left out.
struct Truncation {
    removed: Vec<ErrorEventPart>,
    remaining: Vec<ErrorEventPart>,
}

impl Truncation {
    /// Leaves nothing out yet. Parts that the event does not have cannot be left out.
    fn none(report: &ErrorReport, headers: &Headers, meta: &Headers) -> Self {
        let is_there = |part: &ErrorEventPart| match part {
            ErrorEventPart::Input | ErrorEventPart::Thread => true,
            ErrorEventPart::Texts => [&report.name, &report.message, &report.stack]
                .iter()
                .any(|text| text.len() > TRUNCATED_TEXT),
            ErrorEventPart::Meta => !meta.is_empty(),
            ErrorEventPart::Others => headers
                .keys()
                .any(|name| !is_required(name) && !meta.contains_key(name)),
            ErrorEventPart::Parent => headers.contains_key("parentMessageId"),
        };
        Self {
            removed: Vec::new(),
            remaining: ErrorEventPart::ALL.into_iter().filter(is_there).collect(),
        }
    }

    /// Leaves out the next part that can help. Returns false if no such part is left.
    fn truncate_next(&mut self, kind: PublishErrorKind) -> bool {
        let next = self.remaining.iter().position(|part| part.can_reduce(kind));
        if let Some(next) = next {
            self.removed.push(self.remaining.remove(next));
        }
        next.is_some()
    }

    fn contains(&self, part: ErrorEventPart) -> bool {
        self.removed.contains(&part)
    }

    /// Returns the report with truncated texts and a list of what was left out.
    fn report(&self, report: &ErrorReport) -> ErrorReport {
        let mut report = report.clone();
        if self.contains(ErrorEventPart::Texts) {
            for text in [&mut report.name, &mut report.message, &mut report.stack] {
                *text = truncated(text, TRUNCATED_TEXT).into_owned();
            }
        }
        if !self.removed.is_empty() {
            let names = self
                .removed
                .iter()
                .map(|part| part.name())
                .collect::<Vec<_>>()
                .join(", ");
            report.message.push_str(&format!(
                " (shortened because it was too large for the broker; left out: {names})"
            ));
        }
        report
    }
}

impl<T: Transport> InFlightMessage<T> {
    /// Publishes an error event, and a copy as the reply. The message will be rejected.
    pub(super) async fn report(&self, report: &ErrorReport) -> anyhow::Result<()> {
        self.reject();
        self.engine.rate_limiters.error.acquire().await;
        self.report_without_rate_limit(report).await
    }

    /// Publishes an error event without the rate limit, for errors of the runtime itself.
    pub(super) async fn report_without_rate_limit(
        &self,
        report: &ErrorReport,
    ) -> anyhow::Result<()> {
        self.reject();
        let mut headers = self.error_headers(report);
        headers.insert("end".into(), now_ms().into());
        self.publish_error(report, headers, ErrorEventKind::MessageFailed)
            .await
    }

    /// The platform expects an error event without `end` here, and the message is still acknowledged
    /// (wire-contract: Rebounds).
    pub(super) async fn report_rebound_limit(
        &self,
        limit: &ReboundLimitExceeded,
    ) -> anyhow::Result<()> {
        let report = ErrorReport::new(limit.to_string()).with_code(codes::REBOUND_LIMIT_EXCEEDED);
        let headers = self.error_headers(&report);
        self.publish_error(&report, headers, ErrorEventKind::MessageFailed)
            .await
    }

    /// Publishes an error event without `end`, because the message continues and has its own reply. If this fails, the
    /// event is logged.
    pub(super) async fn report_warning(&self, report: &ErrorReport) {
        let headers = self.new_headers();
        let _ = self
            .publish_error(report, headers, ErrorEventKind::Warning)
            .await;
    }

    /// Returns the headers of an error event with its id, which is the same when the message fails again with this error.
    fn error_headers(&self, report: &ErrorReport) -> Headers {
        let content = || {
            let members = Json::of(report).ok().and_then(|json| json.members());
            content_hash(&members.unwrap_or_default())
        };
        let mut headers = self.new_headers();
        if let Some(derived) = self.derived_id("error", content) {
            write_ids(&mut headers, None, Some(derived));
        }
        headers
    }

    async fn publish_error(
        &self,
        report: &ErrorReport,
        headers: Headers,
        kind: ErrorEventKind,
    ) -> anyhow::Result<()> {
        self.engine.metrics.events.of(EventLabel::Error).inc();
        let reply = self.publish_reply_copy(report, &headers, kind);
        let (event, ()) = tokio::join!(
            self.publish_truncating(report, &headers),
            wait_for_reply(reply)
        );
        if let Err(error) = &event {
            if kind == ErrorEventKind::MessageFailed {
                // The failure is not reported, so the message must not be acknowledged.
                self.reject();
            }
            if error.kind == PublishErrorKind::Closed || self.engine.abandoned.is_cancelled() {
                tracing::info!(
                    "An error event was not published before the stop; its message will be redelivered"
                );
            } else {
                log_unpublished(report, error, kind);
            }
        }
        event.map_err(Into::into)
    }

    /// Publishes a copy of the error under the message's `reply_to`, if it has one.
    fn publish_reply_copy(
        &self,
        report: &ErrorReport,
        headers: &Headers,
        kind: ErrorEventKind,
    ) -> Option<Confirm> {
        let replies = kind == ErrorEventKind::MessageFailed && self.engine.settings.error_replies;
        let key = self.incoming.reply_to.clone().filter(|_| replies)?;
        let mut headers = headers.clone();
        headers.insert("x-eio-error-response".into(), true.into());
        let body = report.encrypt(&self.engine.cipher);
        Some(self.publish(Route::Reply(key), headers, body))
    }

    /// Publishes an error event, and leaves out more parts until the broker takes it.
    async fn publish_truncating(
        &self,
        report: &ErrorReport,
        headers: &Headers,
    ) -> Result<(), PublishError> {
        let mut truncation = Truncation::none(report, headers, &self.incoming.meta);
        let input = self.original().text_len(self.incoming_encoding());
        let limit = self.engine.settings.outgoing_size_limit;
        if input > limit.max(MAX_EVENT_WITH_INPUT)
            && truncation.truncate_next(PublishErrorKind::Rejected)
        {
            tracing::warn!(
                code = %codes::ERROR_EVENT_SHORTENED,
                size = input,
                "The input of a failed message is too large for its error event"
            );
        }
        loop {
            let headers = self.truncated_headers(headers, &truncation);
            let body = self.error_body(report, &truncation);
            match self.publish(Route::Error, headers, body).await {
                Err(error) if truncation.truncate_next(error.kind) => {
                    tracing::warn!(
                        code = %codes::ERROR_EVENT_SHORTENED,
                        %error,
                        "An error event is too large for the broker; a smaller one is published"
                    );
                }
                result => return result,
            }
        }
    }

    fn error_body(&self, report: &ErrorReport, truncation: &Truncation) -> Vec<u8> {
        let report = truncation.report(report).encrypt(&self.engine.cipher);
        let has_input = !truncation.contains(ErrorEventPart::Input);
        let original = has_input.then(|| self.original());
        let input = original.and_then(|original| {
            original.for_error_event(&self.engine.cipher, self.incoming_encoding())
        });
        let input = input.as_ref().map(|(body, encoding)| (&**body, *encoding));
        error_body(&report, input)
    }

    fn truncated_headers(&self, headers: &Headers, truncation: &Truncation) -> Headers {
        let meta = &self.incoming.meta;
        let mut headers = headers.clone();
        if truncation.contains(ErrorEventPart::Meta) {
            headers.retain(|name, _| !meta.contains_key(name));
        }
        if truncation.contains(ErrorEventPart::Others) {
            headers.retain(|name, _| is_required(name) || meta.contains_key(name));
        }
        if truncation.contains(ErrorEventPart::Thread) {
            headers.insert("threadId".into(), uuid::Uuid::new_v4().to_string().into());
        }
        if truncation.contains(ErrorEventPart::Parent) {
            headers.remove("parentMessageId");
        }
        headers
    }
}

async fn wait_for_reply(reply: Option<Confirm>) {
    if let Some(confirm) = reply
        && let Err(error) = confirm.await
    {
        tracing::warn!(
            code = %codes::REPLY_NOT_PUBLISHED,
            %error,
            "The error could not be published under reply_to"
        );
    }
}

fn is_required(header: &str) -> bool {
    REQUIRED_HEADERS.contains(&header)
}

/// Logs the whole error, because the user sees it nowhere else.
fn log_unpublished(report: &ErrorReport, error: &PublishError, kind: ErrorEventKind) {
    let [name, message, stack] =
        [&report.name, &report.message, &report.stack].map(|text| truncated(text, MAX_LOGGED_TEXT));
    let consequence = match kind {
        ErrorEventKind::MessageFailed => "its message is rejected",
        ErrorEventKind::Warning => "its message continues",
    };
    tracing::error!(
        code = %codes::ERROR_EVENT_NOT_PUBLISHED,
        fatal = true,
        %error,
        reported_name = &*name,
        reported_message = &*message,
        reported_stack = &*stack,
        "An error event could not be published, so the error is logged here; {consequence}"
    );
}
