//! Lightweight messages: large bodies are in object storage, and the message has only their ids
//! (wire-contract: Passthrough and lightweight messages).

use super::decode::{header_texts, object_id};
use crate::{
    broker::message_memory::BodyRoom,
    clients::{
        http::SizeLimit,
        object_storage::{NOT_CONFIGURED, NoMemory, ObjectStorage, fetch_body, fetch_body_within},
    },
    codes::{self, Coded},
    component::error::Oversized,
    protocol::{Encoding, Json, Object, Outgoing, headers::OBJECT_ID_HEADER},
};
use anyhow::Context as _;
use futures_util::{StreamExt, future::try_join_all, stream};
use memchr::memmem;
use serde_json::Value;

/// The number of bodies that are downloaded at the same time for one event.
const CONCURRENT_DOWNLOADS: usize = 4;
/// The largest number of bytes that encryption adds.
const CIPHER_BLOCK: usize = 16;
const OUTGOING_LIMIT: &str = "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT";

/// A message's passthrough: what earlier steps emitted, by step.
type Entries = Vec<(String, Object)>;

/// The object storage for bodies, if it is configured.
pub(super) struct BodyStorage(pub(super) Option<ObjectStorage>);

impl BodyStorage {
    /// Downloads the body `id` of an incoming message into `room`, if there is memory for it. The id is removed from the
    /// message: if a module emits the same headers again, the id would bring the old body back. Bodies of the passthrough
    /// are not downloaded here.
    pub(super) async fn fetch_body(
        &self,
        message: &mut Object,
        id: &str,
        room: &BodyRoom,
    ) -> anyhow::Result<Result<(), NoMemory>> {
        let fetched = fetch_body_within(self.0.as_ref(), id, |size| room.grow_to(size)).await?;
        Ok(fetched.map(|body| {
            room.shrink_to(body.as_bytes().len());
            message.set("body", body);
            remove_object_id(message);
        }))
    }

    /// Uploads the bodies of an outgoing message if together they are larger than `threshold` bytes. Passthrough bodies
    /// that are already stored keep their ids. Returns true if bodies were uploaded.
    pub(super) async fn upload_bodies(
        &self,
        message: &mut Object,
        passthrough: &mut Object,
        threshold: usize,
    ) -> anyhow::Result<bool> {
        let mut entries = entries_of(passthrough);
        let body_size =
            |object: &Object| object.get("body").map_or(0, |body| body.as_bytes().len());
        let total = body_size(message)
            + entries
                .iter()
                .map(|(_, entry)| body_size(entry))
                .sum::<usize>();
        if total <= threshold {
            return Ok(false);
        }
        let main = self.store(message);
        let others = try_join_all(entries.iter_mut().map(|(_, entry)| async {
            match object_id(entry) {
                Some(_) => {
                    entry.set("body", Json::empty_object());
                    Ok(())
                }
                None => self.store(entry).await,
            }
        }));
        tokio::try_join!(main, others).map_err(|cause| {
            tracing::error!(code = %codes::BODY_UPLOAD_FAILED, "A message body could not be uploaded to object storage: {cause:#}");
            Coded::new(codes::BODY_UPLOAD_FAILED, "Lightweight message/passthrough body upload error")
        })?;
        *passthrough = object_from(&entries);
        Ok(true)
    }

    /// Downloads the passthrough bodies that are only referenced by id, and removes all ids. Returns true if there were
    /// any.
    ///
    /// An event has at most `limit` bytes, so no more than that is downloaded.
    pub(super) async fn inline_bodies(
        &self,
        passthrough: &mut Object,
        limit: usize,
    ) -> anyhow::Result<bool> {
        if !may_have_references(passthrough) {
            return Ok(false);
        }
        let mut entries = entries_of(passthrough);
        if entries.iter().all(|(_, entry)| object_id(entry).is_none()) {
            return Ok(false);
        }
        let is_reference = |entry: &Object| entry.get("body").is_none_or(Json::is_empty);
        let wanted = entries
            .iter()
            .enumerate()
            .filter(|(_, (_, entry))| is_reference(entry));
        let wanted: Vec<_> = wanted
            .filter_map(|(index, (_, entry))| Some((index, object_id(entry)?)))
            .collect();
        let mut size = passthrough
            .iter()
            .map(|(_, entry)| entry.as_bytes().len())
            .sum::<usize>();
        let room = SizeLimit {
            bytes: limit.saturating_add(CIPHER_BLOCK),
            variable: Some(OUTGOING_LIMIT),
        };
        let mut bodies = stream::iter(wanted)
            .map(|(index, id)| async move {
                anyhow::Ok((index, fetch_body(self.0.as_ref(), &id, Some(room)).await?))
            })
            .buffer_unordered(CONCURRENT_DOWNLOADS);
        while let Some((index, body)) = bodies.next().await.transpose()? {
            size += body.as_bytes().len();
            check_size(size, limit)?;
            entries[index].1.set("body", body);
        }
        drop(bodies);
        entries
            .iter_mut()
            .for_each(|(_, entry)| remove_object_id(entry));
        *passthrough = object_from(&entries);
        Ok(true)
    }

    /// Inlines a passthrough that the module itself has put into the message: downloads its bodies and removes all ids.
    pub(super) async fn inline_own_passthrough(
        &self,
        message: &mut Object,
        limit: usize,
    ) -> anyhow::Result<()> {
        let Some(mut passthrough) = passthrough_of(message) else {
            return Ok(());
        };
        if self.inline_bodies(&mut passthrough, limit).await? {
            message.set("passthrough", passthrough.to_json());
        }
        Ok(())
    }

    async fn store(&self, object: &mut Object) -> anyhow::Result<()> {
        let body = object
            .get("body")
            .cloned()
            .unwrap_or_else(|| Json::from(&Value::Null));
        if body.is_empty() && object_id(object).is_some() {
            return Ok(()); // A reference whose body is stored already.
        }
        let id = self.storage()?.put(&body).await?;
        let mut headers = header_texts(object);
        headers.set(OBJECT_ID_HEADER, Json::of(&id)?);
        object.set("headers", headers.to_json());
        object.set("body", Json::empty_object());
        Ok(())
    }

    fn storage(&self) -> anyhow::Result<&ObjectStorage> {
        self.0.as_ref().context(NOT_CONFIGURED)
    }
}

/// Returns an error if an event is larger than the limit.
pub(super) fn check_size(size: usize, limit: usize) -> anyhow::Result<()> {
    if size > limit {
        return Err(Oversized { size, limit }.into());
    }
    Ok(())
}

/// Checks the limit before the message is serialized, so that one that is far too large is not copied.
pub(super) fn check_size_before_encoding(
    message: &Outgoing,
    encoding: Encoding,
    limit: usize,
) -> anyhow::Result<()> {
    if message.least_len() > limit {
        check_size(encoding.encrypted_len(message.text_len()), limit)
    } else {
        Ok(())
    }
}

/// Checks the size of a message as it would be published, without a passthrough.
pub(crate) fn check_message_size(message: &Object, limit: usize) -> anyhow::Result<()> {
    check_size(Encoding::Base64.encrypted_len(message.text_len()), limit)
}

/// Returns a message's passthrough: what earlier steps emitted.
pub(super) fn passthrough_of(message: &Object) -> Option<Object> {
    message.get("passthrough").and_then(Json::members)
}

/// Returns false if no entry can refer to a body in object storage: the name of the header is nowhere, and no escape can
/// spell it. Most messages have no references, and searching is much faster than reading all entries.
fn may_have_references(passthrough: &Object) -> bool {
    let [name, escape] = [OBJECT_ID_HEADER.as_bytes(), br"\u"].map(memmem::Finder::new);
    passthrough.iter().any(|(_, entry)| {
        let text = entry.as_bytes();
        name.find(text).is_some() || escape.find(text).is_some()
    })
}

fn entries_of(passthrough: &Object) -> Entries {
    let read = |(step, entry): (&str, &Json)| Some((step.to_owned(), entry.members()?));
    passthrough.iter().filter_map(read).collect()
}

fn object_from(entries: &Entries) -> Object {
    let mut object = Object::new();
    for (step, entry) in entries {
        object.set(step, entry.to_json());
    }
    object
}

/// Removes the id of a body in object storage from a message's headers. All other headers stay as they are written.
fn remove_object_id(message: &mut Object) {
    let mut headers = header_texts(message);
    if headers.get(OBJECT_ID_HEADER).is_some() {
        headers.remove(OBJECT_ID_HEADER);
        message.set("headers", headers.to_json());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_the_id_of_a_body_changes_no_other_header() {
        let rest = r#""a":"\ud83d","\ude00":1.0,"big":12345678901234567890123"#;
        let kept = format!("{{{rest}}}");
        for (before, after) in [
            (
                format!(r#"{{"x-ipaas-object-storage-id":"1",{rest}}}"#),
                &*kept,
            ),
            (
                format!(r#"{{{rest},"x-ipaas-object-storage\u002did":"1"}}"#),
                &kept,
            ),
            (
                format!(r#"{{{rest},"x-ipaas-object-storage-id":null}}"#),
                &kept,
            ),
            (format!("{{ {rest} }}"), &*format!("{{ {rest} }}")),
            ("[]".to_owned(), "[]"),
        ] {
            let text = |headers: &str| format!(r#"{{"headers":{headers},"body":{{}}}}"#);
            let mut message = Object::read(text(&before).into()).unwrap();
            remove_object_id(&mut message);
            assert_eq!(message.to_vec(), text(after).as_bytes());
            assert_eq!(object_id(&message), None);
        }
    }

    #[test]
    fn a_reference_is_found_however_it_is_spelled() {
        for (headers, expected) in [
            (r#"{"x-ipaas-object-storage-id":"1"}"#, true),
            (r#"{"x-ipaas-object-storage\u002did":"1"}"#, true),
            (r#"{"\u0078-ipaas-object-storage-id":"1"}"#, true),
            ("{}", false),
            (r#"{"x-ipaas":"a\nb","y":"C:\\users"}"#, true),
            (r#"{"x-ipaas":"a\nb","y":"C:\\Users"}"#, false),
        ] {
            let entry = format!(r#"{{"headers":{headers},"body":{{}}}}"#);
            let passthrough = Object::read(format!(r#"{{"step_1":{entry}}}"#).into()).unwrap();
            assert_eq!(may_have_references(&passthrough), expected, "{headers}");
        }
    }
}
