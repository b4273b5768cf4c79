//! Header tables: what is read from an incoming message, and the table that every event of it carries.

use serde_json::{Map, Value};

/// A header table: names and values. Integers of every width are JSON numbers here.
pub type Headers = Map<String, Value>;

/// The member of a message's `headers` that holds the id of a body kept in object storage (wire-contract: Lightweight input).
pub const OBJECT_ID_HEADER: &str = "x-ipaas-object-storage-id";
/// The member of a message's `headers` that names a routing key of its own, in any letter case (wire-contract: Data events).
pub const ROUTING_KEY_HEADER: &str = "x-eio-routing-key";
/// Headers with this prefix, in any letter case, travel from step to step (wire-contract: IncomingHeaders headers).
pub const META_PREFIX: &str = "x-eio-meta-";

/// Who is speaking: the step and the execution this process was started for.
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
    /// Writes the eight identity headers over whatever stands in `headers`.
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

/// What an incoming message's header table says (wire-contract: IncomingHeaders headers).
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingHeaders {
    /// `messageId`: becomes the `parentMessageId` of everything emitted. It may be missing.
    pub message_id: Option<String>,
    /// `threadId`, else `x-eio-meta-trace-id`, else a new uuid.
    pub thread_id: String,
    /// `parentMessageId`, for the log only.
    pub parent_message_id: Option<String>,
    /// `stepId`: the step that the message comes from.
    pub step_id: Option<String>,
    /// `reply_to`: the routing key of who waits for an answer.
    pub reply_to: Option<String>,
    /// `protocolVersion`, 1 when it is missing or unreadable.
    pub protocol_version: i64,
    /// The `x-eio-meta-*` headers, names in lower case.
    pub meta: Headers,
}

impl IncomingHeaders {
    /// Reads a header table; nothing in it is required.
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

    /// The table that all events of this message share, but for `messageId` and what is special to each kind of event
    /// (wire-contract: Headers of every event). `additional` are the variables named by `ADDITIONAL_VARS_FOR_HEADERS`; `start` is in
    /// milliseconds since the epoch.
    #[must_use]
    pub fn base_table(
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

/// The table of an error that no message caused: start-up failed (wire-contract: Start-up failures).
#[must_use]
pub fn start_up_table(identity: &StepIdentity, additional: &[(String, String)]) -> Headers {
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

/// A header as text; numbers are accepted where ids are expected, an empty text counts as missing.
fn text(headers: &Headers, name: &str) -> Option<String> {
    match headers.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Integers of any width, fractions and numeric strings; anything else is version 1.
fn protocol_version(value: Option<&Value>) -> i64 {
    let version = match value {
        Some(Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Some(Value::String(s)) => s.trim().parse().ok(),
        _ => None,
    };
    version.filter(|v| *v != 0).unwrap_or(1)
}
