//! Lightweight messages: large bodies kept in object storage, with only their id in the message (wire-contract: Passthrough and lightweight messages).

use super::decode::{headers_of, object_id};
use crate::{
    clients::{
        http::SizeLimit,
        object_storage::{NOT_CONFIGURED, ObjectStorage, fetch_body},
    },
    protocol::{Encoding, Json, Object, headers::OBJECT_ID_HEADER},
};
use anyhow::Context as _;
use futures_util::{StreamExt, future::try_join_all, stream};
use serde_json::{Map, Value};

/// How many bodies are fetched at once for one event.
const AT_ONCE: usize = 4;
/// How much longer a body is when it is encrypted, at most.
const CIPHER_BLOCK: usize = 16;
const OUTGOING_LIMIT: &str = "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT";

/// A message's passthrough: what earlier steps emitted, by step.
type Entries = Vec<(String, Object)>;

/// Where bodies are kept, if anywhere.
pub(super) struct Bodies(pub(super) Option<ObjectStorage>);

impl Bodies {
    /// Fetches the body of an incoming message. Its id goes: what stands in the message now is the body, and an echo must
    /// not bring an old one back. Bodies of the passthrough stay where they are until somebody wants them.
    pub(super) async fn resolve(&self, message: &mut Object) -> anyhow::Result<()> {
        let mut headers = headers_of(message);
        let Some(id) = object_id(&headers) else {
            return Ok(());
        };
        let body = fetch_body(self.0.as_ref(), id, None).await?;
        message.set("body", body);
        headers.remove(OBJECT_ID_HEADER);
        message.set("headers", Json::of(&headers)?);
        Ok(())
    }

    /// Uploads the bodies of an outgoing message when together they are larger than `threshold` bytes. Passthrough
    /// bodies that are kept already keep their ids. True when they were uploaded.
    pub(super) async fn externalize(
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
            match object_id(&headers_of(entry)) {
                Some(_) => {
                    entry.set("body", Json::empty_object());
                    Ok(())
                }
                None => self.store(entry).await,
            }
        }));
        tokio::try_join!(main, others).map_err(|cause| {
            tracing::error!("Object storage did not take a message body: {cause:#}");
            anyhow::anyhow!("Lightweight message/passthrough body upload error")
        })?;
        *passthrough = object_from(&entries);
        Ok(true)
    }

    /// Makes a passthrough whole again: bodies that are only ids are fetched, and ids of bodies that are there go. True
    /// when there were any.
    ///
    /// What goes out has at most `limit` bytes, so no more than that is fetched.
    pub(super) async fn internalize(
        &self,
        passthrough: &mut Object,
        limit: usize,
    ) -> anyhow::Result<bool> {
        let mut entries = entries_of(passthrough);
        if entries
            .iter()
            .all(|(_, entry)| object_id(&headers_of(entry)).is_none())
        {
            return Ok(false);
        }
        let is_reference = |entry: &Object| entry.get("body").is_none_or(Json::is_empty);
        let wanted = entries
            .iter()
            .enumerate()
            .filter(|(_, (_, entry))| is_reference(entry));
        let wanted: Vec<_> = wanted
            .filter_map(|(index, (_, entry))| {
                Some((index, object_id(&headers_of(entry))?.to_owned()))
            })
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
            .buffer_unordered(AT_ONCE);
        while let Some((index, body)) = bodies.next().await.transpose()? {
            size += body.as_bytes().len();
            fits(size, limit)?;
            entries[index].1.set("body", body);
        }
        drop(bodies);
        entries.iter_mut().for_each(|(_, entry)| forget_id(entry));
        *passthrough = object_from(&entries);
        Ok(true)
    }

    /// The same for a passthrough that the module hands on itself.
    pub(super) async fn internalize_own(
        &self,
        message: &mut Object,
        limit: usize,
    ) -> anyhow::Result<()> {
        let Some(mut passthrough) = passthrough_of(message) else {
            return Ok(());
        };
        if self.internalize(&mut passthrough, limit).await? {
            message.set("passthrough", passthrough.to_json());
        }
        Ok(())
    }

    async fn store(&self, object: &mut Object) -> anyhow::Result<()> {
        let body = object
            .get("body")
            .cloned()
            .unwrap_or_else(|| Json::from(&Value::Null));
        if body.is_empty() && object_id(&headers_of(object)).is_some() {
            return Ok(()); // A reference that was not resolved: its body is stored already.
        }
        let id = self.storage()?.put(&body).await?;
        let mut headers = headers_of(object);
        headers.insert(OBJECT_ID_HEADER.to_owned(), id.into());
        object.set("headers", Json::of(&headers)?);
        object.set("body", Json::empty_object());
        Ok(())
    }

    fn storage(&self) -> anyhow::Result<&ObjectStorage> {
        self.0.as_ref().context(NOT_CONFIGURED)
    }
}

/// What goes out is at most this large.
pub(super) fn fits(size: usize, limit: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        size <= limit,
        "Outgoing message size {size} exceeds limit of {limit}."
    );
    Ok(())
}

/// The same for a message that is not put together yet: one that is far too large shall not take its size once more.
pub(super) fn fits_whole(message: &Object, encoding: Encoding, limit: usize) -> anyhow::Result<()> {
    let least: usize = message.iter().map(|(_, json)| json.as_bytes().len()).sum();
    if least > limit {
        fits(encoding.encrypted_len(message.text_len()), limit)
    } else {
        Ok(())
    }
}

/// What a message says of earlier steps.
pub(super) fn passthrough_of(message: &Object) -> Option<Object> {
    message
        .get("passthrough")
        .and_then(|steps| Object::read(steps.bytes()).ok())
}

fn entries_of(passthrough: &Object) -> Entries {
    let read =
        |(step, entry): (&str, &Json)| Some((step.to_owned(), Object::read(entry.bytes()).ok()?));
    passthrough.iter().filter_map(read).collect()
}

fn object_from(entries: &Entries) -> Object {
    let mut object = Object::new();
    for (step, entry) in entries {
        object.set(step, entry.to_json());
    }
    object
}

fn forget_id(entry: &mut Object) {
    let mut headers: Map<String, Value> = headers_of(entry);
    if headers.remove(OBJECT_ID_HEADER).is_some()
        && let Ok(headers) = Json::of(&headers)
    {
        entry.set("headers", headers);
    }
}
