//! The headers of messages: those that are read from an incoming message, and those of its events.

use serde_json::{Map, Value};

/// The headers of a message. Integers of every width are JSON numbers.
pub type Headers = Map<String, Value>;

/// The member of a message's `headers` with the id of a body in object storage (wire-contract: Lightweight input).
pub const OBJECT_ID_HEADER: &str = "x-ipaas-object-storage-id";
/// The member of a message's `headers` with a custom routing key, in any letter case (wire-contract: Data events).
pub const ROUTING_KEY_HEADER: &str = "x-eio-routing-key";
/// Headers with this prefix, in any letter case, travel from step to step (wire-contract: Incoming headers).
pub const META_PREFIX: &str = "x-eio-meta-";

/// The step and the execution that this process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepIdentity {
    /// `FLOW_ID`, the header `taskId`.
    pub flow_id: String,
    /// `EXEC_ID`, the header `execId`.
    pub exec_id: String,
    /// `STEP_ID`, the header `stepId`.
    pub step_id: String,
    /// `CONTAINER_ID`, the header `containerId`.
    pub container_id: String,
    /// `WORKSPACE_ID`, the header `workspaceId`.
    pub workspace_id: String,
    /// `USER_ID`, the header `userId`.
    pub user_id: String,
    /// `COMP_ID`, the header `compId`.
    pub comp_id: String,
    /// `FUNCTION`, the header `function`.
    pub function: String,
}

impl StepIdentity {
    /// Writes the eight identity headers into `headers`, and replaces existing ones.
    ///
    /// ```
    /// use sailor::protocol::{Headers, StepIdentity};
    ///
    /// let identity = StepIdentity { flow_id: "flow-1".to_owned(), ..StepIdentity::default() };
    /// let mut headers = Headers::new();
    /// identity.write(&mut headers);
    /// assert_eq!((headers.len(), &headers["taskId"]), (8, &"flow-1".into()));
    /// ```
    pub fn write(&self, headers: &mut Headers) {
        for (name, value) in [
            ("execId", &self.exec_id),
            ("taskId", &self.flow_id),
            ("workspaceId", &self.workspace_id),
            ("containerId", &self.container_id),
            ("userId", &self.user_id),
            ("stepId", &self.step_id),
            ("compId", &self.comp_id),
            ("function", &self.function),
        ] {
            headers.insert(name.to_owned(), value.as_str().into());
        }
    }
}

/// The headers of an incoming message (wire-contract: Incoming headers).
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingHeaders {
    /// `messageId`, which becomes the `parentMessageId` of all events. It may be missing.
    pub message_id: Option<String>,
    /// `threadId`, else `x-eio-meta-trace-id`, else a new UUID.
    pub thread_id: String,
    /// `parentMessageId`, which is only logged.
    pub parent_message_id: Option<String>,
    /// `stepId`: the step that has sent the message.
    pub step_id: Option<String>,
    /// `reply_to`: the routing key for the reply.
    pub reply_to: Option<String>,
    /// `protocolVersion`; 1 if it is missing or invalid.
    pub protocol_version: i64,
    /// The `x-eio-meta-*` headers, names in lower case.
    pub meta: Headers,
}

impl IncomingHeaders {
    /// Reads the headers of a message. None of them is required.
    ///
    /// ```
    /// use sailor::protocol::{Headers, IncomingHeaders};
    ///
    /// let mut headers = Headers::new();
    /// headers.insert("messageId".to_owned(), "m-1".into());
    /// headers.insert("X-Eio-Meta-Trace-Id".to_owned(), "t-1".into());
    /// let incoming = IncomingHeaders::read(&headers);
    /// assert_eq!(incoming.message_id.as_deref(), Some("m-1"));
    /// assert_eq!((incoming.thread_id.as_str(), incoming.protocol_version), ("t-1", 1));
    /// ```
    #[must_use]
    pub fn read(headers: &Headers) -> Self {
        let meta: Headers = headers
            .iter()
            .filter(|(name, _)| {
                name.get(..META_PREFIX.len())
                    .is_some_and(|p| p.eq_ignore_ascii_case(META_PREFIX))
            })
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let thread_id = text(headers, "threadId")
            .or_else(|| text(&meta, "x-eio-meta-trace-id"))
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Self {
            message_id: text(headers, "messageId"),
            thread_id,
            parent_message_id: text(headers, "parentMessageId"),
            step_id: text(headers, "stepId"),
            reply_to: text(headers, "reply_to"),
            protocol_version: protocol_version(headers.get("protocolVersion")),
            meta,
        }
    }

    /// Returns the headers that all events of this message share (wire-contract: Headers of every event), without
    /// `messageId` and without the headers that only some kinds of events have.
    ///
    /// `additional` are the variables that `ADDITIONAL_VARS_FOR_HEADERS` lists. `start` is in milliseconds since the epoch.
    ///
    /// ```
    /// use sailor::protocol::{Headers, IncomingHeaders, StepIdentity};
    ///
    /// let mut headers = Headers::new();
    /// headers.insert("messageId".to_owned(), "m-1".into());
    /// let of_events = IncomingHeaders::read(&headers).base_headers(&StepIdentity::default(), &[], 0);
    /// assert_eq!(of_events["parentMessageId"], "m-1");
    /// ```
    #[must_use]
    pub fn base_headers(
        &self,
        identity: &StepIdentity,
        additional: &[(String, String)],
        start: u64,
    ) -> Headers {
        let mut headers = self.meta.clone();
        if let Some(reply_to) = &self.reply_to {
            headers.insert("reply_to".into(), reply_to.as_str().into());
        }
        write_additional(&mut headers, additional);
        if let Some(message_id) = &self.message_id {
            headers.insert("parentMessageId".into(), message_id.as_str().into());
        }
        headers.insert("threadId".into(), self.thread_id.as_str().into());
        headers.insert("start".into(), start.into());
        identity.write(&mut headers);
        headers
    }
}

/// Returns the headers of the error event for a failed start, which no message has caused (wire-contract: Start-up
/// failures).
#[must_use]
pub fn startup_headers(identity: &StepIdentity, additional: &[(String, String)]) -> Headers {
    let mut headers = Headers::new();
    write_additional(&mut headers, additional);
    identity.write(&mut headers);
    headers.insert("messageId".into(), uuid::Uuid::new_v4().to_string().into());
    headers
}

fn write_additional(headers: &mut Headers, additional: &[(String, String)]) {
    for (name, value) in additional {
        headers.insert(name.clone(), value.as_str().into());
    }
}

/// Reads a text. A number becomes its digits, because some senders write ids as numbers; an empty text counts as missing.
fn text(headers: &Headers, name: &str) -> Option<String> {
    match headers.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads integers of any width, fractions and numeric texts. Anything else is version 1.
fn protocol_version(value: Option<&Value>) -> i64 {
    let version = match value {
        Some(Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Some(Value::String(s)) => s.trim().parse().ok(),
        _ => None,
    };
    version.filter(|v| *v != 0).unwrap_or(1)
}
