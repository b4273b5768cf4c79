//! Which message a delivery is, and the ids of its events.

use super::content::{ContentHash, hash};
use crate::{
    broker::finished_log::MessageKey,
    protocol::{Headers, StepIdentity},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// The header that names one event of one message. No other event has the same value, and a repeat of the event has it too.
/// Unlike a `messageId`, a module cannot choose it, and other sailors neither write it nor pass it on.
pub(in crate::engine) const DEDUPLICATION_ID: &str = "deduplicationId";

/// The namespace of the ids that are derived, as version 5 of a UUID demands one (RFC 9562, section 5.5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f6c_9a4e_5d0b_4f0c_9d54_3c8e_7c1b_e2a7);

/// How many different events of one message are counted. A map of them takes 2 MB.
const MAX_COUNTED: usize = 64 * 1024;

/// A message that can be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: MessageKey,
    /// The sender has made sure that no other message has this identity.
    pub(super) is_unique: bool,
}

impl Identity {
    /// Returns the identity of a message for a step. Returns none if the message cannot be told from others, or if it has to
    /// be processed whatever happened before: a message without an id, and one that a user has sent again.
    pub(super) fn of(step: &StepIdentity, headers: &Headers, body: &[u8]) -> Option<Self> {
        if is_sent_again(headers) {
            return None;
        }
        let unique = text(headers, DEDUPLICATION_ID);
        let (kind, id, body) = match &unique {
            Some(id) => (b'u', id, &[][..]),
            None => (b'm', &text(headers, "messageId")?, body),
        };
        // A rebounded message comes back with the same headers and body, except for this number.
        let rebounds = headers.get("reboundIteration").and_then(Value::as_f64);
        let hash = hash(
            kind,
            &[
                step.flow_id.as_bytes(),
                step.step_id.as_bytes(),
                id.as_bytes(),
                body,
                &rebounds.unwrap_or_default().to_le_bytes(),
            ],
        );
        Some(Self {
            key: key_of(&hash),
            is_unique: unique.is_some(),
        })
    }
}

/// The platform marks a message that a user sends again with this header. A publish that a sailor has retried has a number
/// in it (wire-contract: Confirms and retries).
fn is_sent_again(headers: &Headers) -> bool {
    match headers.get("retry") {
        Some(Value::Bool(again)) => *again,
        Some(Value::String(again)) => again == "true",
        _ => false,
    }
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    match headers.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn key_of(hash: &ContentHash) -> MessageKey {
    std::array::from_fn(|i| hash[i])
}

/// The ids of one message's events. An id depends on the message, on the event's content, and on how many events with the
/// same content came before it. So it does not depend on the order of different events.
pub(in crate::engine) struct EventIds {
    message: MessageKey,
    secret: ContentHash,
    /// How many events with the same content were emitted. Contents are told apart by the first bytes of their hash.
    emitted: Mutex<HashMap<[u8; 8], u64>>,
}

impl EventIds {
    /// Only who knows the secret can find out whether an id belongs to a guessed content. The same secret gives the same ids.
    pub(super) fn new(message: MessageKey, secret: ContentHash) -> Self {
        Self {
            message,
            secret,
            emitted: Mutex::default(),
        }
    }

    /// Returns the id of the next event with this content. Returns none for a message with more different events than are
    /// counted.
    pub(in crate::engine) fn next(&self, kind: &str, content: &ContentHash) -> Option<String> {
        let event = hash(
            b'e',
            &[&self.secret, &self.message, kind.as_bytes(), content],
        );
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = std::array::from_fn(|i| event[i]);
        if emitted.len() >= MAX_COUNTED && !emitted.contains_key(&prefix) {
            return None;
        }
        let before = emitted.entry(prefix).or_default();
        let name = hash(b'n', &[&event, &before.to_le_bytes()]);
        *before += 1;
        Some(Uuid::new_v5(&NAMESPACE, &name).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(id: &str) -> StepIdentity {
        StepIdentity {
            flow_id: "flow".into(),
            step_id: id.into(),
            ..StepIdentity::default()
        }
    }

    fn identity(headers: Value, body: &str) -> Option<Identity> {
        let headers = headers.as_object().unwrap();
        Identity::of(&step("step_1"), headers, body.as_bytes())
    }

    #[test]
    fn a_redelivery_has_the_same_identity() {
        let first = identity(json!({ "messageId": "m" }), "body").unwrap();
        let again = json!({ "messageId": "m", "retry": 2, "x-delivery-count": 1, "start": 5 });
        assert_eq!(identity(again, "body"), Some(first));
        assert!(!first.is_unique);
    }

    #[test]
    fn different_messages_have_different_identities() {
        let messages = [
            (json!({ "messageId": "m" }), "body"),
            (json!({ "messageId": "m" }), "another body"),
            (json!({ "messageId": "n" }), "body"),
            (json!({ "messageId": "m", "reboundIteration": 1 }), "body"),
            (json!({ "messageId": "m", "reboundIteration": 2 }), "body"),
            (json!({ "messageId": "x", "deduplicationId": "m" }), "body"),
            (json!({ "messageId": "x", "deduplicationId": "n" }), "body"),
            (
                json!({ "deduplicationId": "n", "reboundIteration": 1 }),
                "body",
            ),
        ];
        let keys: std::collections::HashSet<_> = messages
            .iter()
            .map(|(headers, body)| identity(headers.clone(), body).unwrap().key)
            .collect();
        assert_eq!(keys.len(), messages.len());
        let headers = messages[0].0.as_object().unwrap();
        let other_step = Identity::of(&step("step_2"), headers, b"body").unwrap();
        assert!(
            !keys.contains(&other_step.key),
            "another step has other events"
        );
    }

    #[test]
    fn only_a_deduplication_id_makes_an_identity_unique() {
        let headers = json!({ "messageId": "m", "deduplicationId": "d" });
        let one = identity(headers.clone(), "body").unwrap();
        assert!(one.is_unique);
        assert_eq!(
            identity(headers, "passed through by another reference"),
            Some(one)
        );
    }

    #[test]
    fn messages_that_must_be_processed_have_no_identity() {
        for headers in [
            json!({}),
            json!({ "messageId": null }),
            json!({ "messageId": "" }),
            json!({ "messageId": "m", "retry": true }),
            json!({ "messageId": "m", "retry": "true", "deduplicationId": "d" }),
            json!({ "deduplicationId": "d", "retry": true, "reboundIteration": 1 }),
        ] {
            assert_eq!(identity(headers.clone(), "body"), None, "{headers}");
        }
        assert!(identity(json!({ "messageId": "m", "retry": false }), "").is_some());
    }

    fn ids(message: u8, contents: &[u8]) -> Vec<String> {
        let ids = EventIds::new([message; 16], [0; 32]);
        let next = |content: &u8| ids.next("data", &[*content; 32]).unwrap();
        contents.iter().map(next).collect()
    }

    #[test]
    fn an_event_keeps_its_id_when_the_order_varies() {
        let (one, other) = (ids(1, &[7, 8, 9]), ids(1, &[9, 7, 8]));
        assert_eq!(
            (&one[0], &one[1], &one[2]),
            (&other[1], &other[2], &other[0])
        );
        assert_eq!(Uuid::parse_str(&one[0]).unwrap().get_version_num(), 5);
    }

    #[test]
    fn equal_events_and_equal_contents_have_ids_of_their_own() {
        let mut all = ids(1, &[7, 7, 7]);
        all.extend(ids(2, &[7, 8]));
        all.extend(EventIds::new([1; 16], [0; 32]).next("error", &[7; 32]));
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), 6);
        assert_eq!(
            ids(1, &[7, 7, 7])[..],
            all[..3],
            "a repeat has the same ids"
        );
    }

    #[test]
    fn an_id_depends_on_the_secret() {
        let id = |secret| EventIds::new([1; 16], [secret; 32]).next("data", &[7; 32]);
        assert_ne!(id(0), id(1));
        assert_eq!(id(1), id(1));
    }

    #[test]
    fn the_count_of_events_takes_limited_memory() {
        let ids = EventIds::new([1; 16], [0; 32]);
        let content = |n: usize| hash(b'=', &[&n.to_le_bytes()]);
        for n in 0..MAX_COUNTED {
            assert!(ids.next("data", &content(n)).is_some());
        }
        assert_eq!(ids.next("data", &content(MAX_COUNTED)), None);
        assert!(
            ids.next("data", &content(0)).is_some(),
            "known ones are counted on"
        );
    }
}
