//! What a component did, decoded: one [`Event`] for everything that it published, settled, or called.

use crate::{
    broker::{self, Message},
    decode,
    platform::RecordedCall,
    provider::{ProviderEvent, ProviderEventKind},
    topology::Topology,
};
use sailor::protocol::{Cipher, Encoding, Headers};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::HashSet, fmt, time::Duration};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A client connected to the broker; the routing key is the connection's name.
    Connected,
    /// A client's connection ended.
    Disconnected,
    /// A message was put into the input queue.
    Sent,
    /// A message of the input queue went to the component.
    Delivered,
    /// The component emitted data.
    Data,
    /// It emitted an error. The body is `{error, errorInput}`, both decrypted.
    Error,
    /// It replied with an error to the request that started the flow. The body is the error.
    ErrorReply,
    /// It sent the message back, to get it again later. The body is the message.
    Rebound,
    /// A rebound is in the input queue again.
    CameBack,
    /// It replaced its snapshot; the platform keeps it.
    Snapshot,
    /// It changed members of its snapshot; the platform merges them.
    SnapshotUpdate,
    /// It replied to the request that started the flow.
    HttpReply,
    /// It changed its account's keys, over REST or over the broker. The body is `{accountId, keys}`.
    UpdateKeys,
    /// It acknowledged a message of the input queue.
    Acked,
    /// It rejected a message of the input queue.
    Rejected,
    /// A message went back into the input queue: the component's channel ended, or it asked for that.
    Requeued,
    /// A rejected message was dead-lettered. Nothing is bound to its new routing key.
    DeadLettered,
    /// The broker returned a message that must not get lost: an error, a rebound or a reply. Unbound data and
    /// snapshots are events of their own kind, with [`Event::end_of_flow`].
    Returned,
    /// The broker refused a message that the component published.
    Refused,
    /// The component called the platform's REST API or object storage. The body is `{method, path, status}`.
    Call,
    /// The token, authorization or revocation endpoint of the OAuth2 provider was called. The body has the status,
    /// and the
    /// numbers of tokens.
    TokenCall,
    /// The provider issued, spent or revoked a token, or one was reused.
    Token,
    /// The provider's API was called, or, in a run that is recorded, any other service but the emulator's.
    ApiCall,
    /// Events were lost, because too many happened in a short time. The body is their number.
    Lost,
}

/// One thing that happened.
#[derive(Clone, Serialize)]
pub struct Event {
    /// Since the emulator started.
    #[serde(rename = "at_ms", serialize_with = "milliseconds")]
    pub at: Duration,
    /// What kind.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// The routing key of the published message.
    pub routing_key: String,
    /// The message's AMQP headers.
    pub headers: Headers,
    /// The message, decrypted; null where there is none.
    pub body: Value,
    /// Why the body cannot be read, or what else is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why the flow ends here: nothing is bound to the routing key. A retried publish is reported once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_of_flow: Option<String>,
}

fn milliseconds<S: serde::Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((at.as_secs_f64() * 1e6).round() / 1e3)
}

impl fmt::Debug for Event {
    /// Without the contents of the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut event = f.debug_struct("Event");
        event
            .field("at", &self.at)
            .field("kind", &self.kind)
            .field("message_id", &self.message_id());
        event
            .field("routing_key", &self.routing_key)
            .field("problem", &self.problem);
        event
            .field("end_of_flow", &self.end_of_flow)
            .finish_non_exhaustive()
    }
}

impl Event {
    /// The `messageId` header, empty when there is none.
    #[must_use]
    pub fn message_id(&self) -> &str {
        self.headers
            .get("messageId")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn new(kind: EventKind, routing_key: &str) -> Self {
        let (at, headers) = (Duration::ZERO, Headers::new());
        let (problem, end_of_flow) = (None, None);
        Self {
            at,
            kind,
            routing_key: routing_key.to_owned(),
            headers,
            body: Value::Null,
            problem,
            end_of_flow,
        }
    }

    /// An event without the content of its message.
    fn about(kind: EventKind, message: &Message) -> Self {
        Self {
            headers: decode::headers_of(&message.properties),
            ..Self::new(kind, &message.routing_key)
        }
    }

    fn with(mut self, body: Result<Value, String>) -> Self {
        match body {
            Ok(body) => self.body = body,
            Err(problem) => self.problem = Some(problem),
        }
        self
    }

    pub(crate) fn lost(count: u64) -> Self {
        Self {
            body: count.into(),
            ..Self::new(EventKind::Lost, "")
        }
    }

    /// An event of the provider, with the numbers of tokens.
    pub(crate) fn from_provider(happened: &ProviderEvent) -> Self {
        use ProviderEventKind as K;
        let (kind, status) = match &happened.kind {
            K::TokenCall(call) => (EventKind::TokenCall, call.request.status),
            K::RevokeCall { status, .. } => (EventKind::TokenCall, *status),
            K::AuthorizeCall { .. } => (EventKind::TokenCall, None),
            K::ApiCall(call) => (EventKind::ApiCall, call.status),
            _ => (EventKind::Token, None),
        };
        let body = json!({"text": happened.kind.to_string(), "status": status});
        Self {
            body,
            ..Self::new(kind, "")
        }
    }

    /// A request that went through the emulator's proxy to a service that is not the emulator's. The query and the user may be
    /// secret.
    pub(crate) fn from_proxy(method: &str, url: &str, status: Option<u16>) -> Self {
        let address = url.split('?').next().unwrap_or_default();
        let address = match address.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split('/').next().unwrap_or_default();
                let user = host.rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}", &rest[user..])
            }
            None => address.to_owned(),
        };
        let outcome = status.map_or("no response".to_owned(), |status| status.to_string());
        let text = format!("{method} {address} → {outcome}");
        Self {
            body: json!({"text": text, "status": status}),
            ..Self::new(EventKind::ApiCall, "")
        }
    }

    /// A call of the platform. A call that changes keys becomes an update of the keys.
    pub(crate) fn from_call(call: &RecordedCall) -> Self {
        let account = call
            .path
            .strip_prefix("/v1/accounts/")
            .filter(|_| call.method == "PUT" && call.status == Some(200));
        if let (Some(account), Some(Value::Object(body))) = (account, call.json()) {
            let body = json!({"accountId": account, "keys": body.get("keys")});
            return Self {
                body,
                ..Self::new(EventKind::UpdateKeys, "")
            };
        }
        let body =
            json!({"method": call.method, "path": call.path_and_query(), "status": call.status});
        Self {
            body,
            ..Self::new(EventKind::Call, "")
        }
    }
}

/// Decodes the broker's events with the topology of one step.
pub(crate) struct Decoder {
    cipher: Cipher,
    topology: Topology,
    /// Routing key and id of each message that was reported as the end of the flow.
    ended: HashSet<(String, String)>,
}

impl Decoder {
    pub(crate) fn new(cipher: Cipher, topology: Topology) -> Self {
        Self {
            cipher,
            topology,
            ended: HashSet::new(),
        }
    }

    /// None for other queues, and for messages that were already reported.
    pub(crate) fn decode(&mut self, event: &broker::Event) -> Option<Event> {
        use broker::Event as E;
        let input = |queue: &str| *queue == self.topology.input;
        Some(match event {
            E::Connected { name, .. } => Event::new(EventKind::Connected, name),
            E::Disconnected { name, .. } => Event::new(EventKind::Disconnected, name),
            // For example one that asks for the queue of a lock.
            E::Published { message, .. } | E::Returned { message }
                if message.exchange != self.topology.exchange =>
            {
                return None;
            }
            E::Published { message, queues } => return self.published(message, queues),
            E::Returned { message } if self.may_end(message) => return None,
            E::Returned { message } => {
                Event::about(EventKind::Returned, message).with(Err(format!(
                    "no queue is bound for the routing key {:?}",
                    message.routing_key
                )))
            }
            E::Refused { message } => Event::about(EventKind::Refused, message),
            E::Delivered { queue, message, .. } if input(queue) => {
                Event::about(EventKind::Delivered, message)
            }
            E::Acked { queue, message } if input(queue) => Event::about(EventKind::Acked, message),
            E::Rejected {
                queue,
                requeue: false,
                message,
            } if input(queue) => Event::about(EventKind::Rejected, message),
            E::Rejected { queue, message, .. } | E::Requeued { queue, message } if input(queue) => {
                Event::about(EventKind::Requeued, message)
            }
            E::DeadLettered { queue, message, .. } if input(queue) => {
                Event::about(EventKind::DeadLettered, message)
            }
            E::DeadLettered { queue, message, .. } if *queue == self.topology.rebounds => {
                Event::about(EventKind::CameBack, message)
            }
            _ => return None,
        })
    }

    fn published(&mut self, message: &Message, queues: &[String]) -> Option<Event> {
        if message.exchange != self.topology.exchange {
            return None;
        }
        if queues.is_empty() {
            return self.end_of_flow(message);
        }
        if !queues.contains(&self.topology.input) {
            return Some(self.emitted(message));
        }
        let event = Event::about(EventKind::Sent, message);
        let encoding = decode::encoding_of(&event.headers);
        let body = decode::open(&self.cipher, &message.body, encoding);
        Some(event.with(body))
    }

    fn emitted(&self, message: &Message) -> Event {
        let headers = decode::headers_of(&message.properties);
        let kind = self.kind(&message.routing_key, &headers);
        let body = match kind {
            EventKind::Error => decode::open_error(&self.cipher, &message.body),
            EventKind::Snapshot | EventKind::SnapshotUpdate => decode::plain_json(&message.body),
            EventKind::ErrorReply => decode::open(&self.cipher, &message.body, Encoding::Base64),
            _ => decode::open(&self.cipher, &message.body, decode::encoding_of(&headers)),
        };
        Event {
            headers,
            ..Event::new(kind, &message.routing_key)
        }
        .with(body)
    }

    fn kind(&self, key: &str, headers: &Headers) -> EventKind {
        let keys = &self.topology.keys;
        let is = |name: &str, value: &str| headers.get(name).and_then(Value::as_str) == Some(value);
        match key {
            key if key == keys.data => EventKind::Data,
            key if key == keys.error => EventKind::Error,
            key if key == keys.rebound => EventKind::Rebound,
            key if key == keys.update_keys => EventKind::UpdateKeys,
            key if key == keys.snapshot && is("snapshotEvent", "updateSnapshot") => {
                EventKind::SnapshotUpdate
            }
            key if key == keys.snapshot => EventKind::Snapshot,
            _ if headers.get("x-eio-error-response") == Some(&Value::Bool(true)) => {
                EventKind::ErrorReply
            }
            key if is("reply_to", key) => EventKind::HttpReply,
            _ => EventKind::Data,
        }
    }

    /// Reports an unbound message if the flow may end with a message of its kind. Other unbound messages are reported when the broker returns them.
    fn end_of_flow(&mut self, message: &Message) -> Option<Event> {
        if !self.may_end(message) {
            return None;
        }
        let headers = decode::headers_of(&message.properties);
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let is_new = self
            .ended
            .insert((message.routing_key.clone(), text("messageId").to_owned()));
        // Sailors count their attempts here. The platform sets it to `true` when a user restarts something.
        let is_retry = headers.get("retry").is_some_and(Value::is_number);
        if is_retry && !is_new {
            return None;
        }
        let event = self.emitted(message);
        let key = &message.routing_key;
        let hint = match event.kind {
            EventKind::Data if *key == self.topology.keys.data => ", because no step follows",
            EventKind::Data => " (--routing-key binds a queue)",
            _ => ", so the platform does not keep it",
        };
        Some(Event {
            end_of_flow: Some(format!("nothing is bound to {key}{hint}")),
            ..event
        })
    }

    /// Whether the flow may end with this message when nothing is bound for it.
    fn may_end(&self, message: &Message) -> bool {
        use EventKind::{Data, Snapshot, SnapshotUpdate};
        let kind = self.kind(
            &message.routing_key,
            &decode::headers_of(&message.properties),
        );
        message.exchange == self.topology.exchange
            && matches!(kind, Data | Snapshot | SnapshotUpdate)
    }
}
