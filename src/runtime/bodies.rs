//! Lightweight messages: large bodies kept in object storage, with only their id in the message (contract §7).

use super::decode::{headers_of, object_id};
use crate::{
    object_storage::ObjectStorage,
    protocol::{Json, Object, headers::OBJECT_ID_HEADER},
};
use anyhow::Context as _;
use futures_util::future::try_join_all;
use serde_json::{Map, Value};

/// A message's passthrough: what earlier steps emitted, by step.
type Entries = Vec<(String, Object)>;

/// Where bodies are kept, if anywhere.
pub(super) struct Bodies(pub(super) Option<ObjectStorage>);

impl Bodies {
    /// Fetches the body of an incoming message and those of its passthrough, all at once. The ids go: what stands in
    /// the message now is the body, and an echo must not bring an old one back.
    ///
    /// Returns the passthrough to hand on: it keeps the ids, because nobody can change those bodies any more.
    pub(super) async fn resolve(&self, message: &mut Object) -> anyhow::Result<Option<Object>> {
        let mut headers = headers_of(message);
        let mut entries = passthrough(message);
        let main = async {
            match object_id(&headers) {
                Some(id) => self.fetch(id).await.map(Some),
                None => Ok(None),
            }
        };
        let (main, fetched) = tokio::try_join!(main, self.fetch_entries(&entries, |_| true))?;
        if let Some(body) = main {
            message.set("body", body);
            headers.remove(OBJECT_ID_HEADER);
            message.set("headers", Json::of(&headers)?);
        }
        if fetched.is_empty() {
            return Ok(message.get("passthrough").and_then(|p| Object::read(p.bytes()).ok()));
        }
        for (index, body) in fetched {
            entries[index].1.set("body", body);
        }
        let handed_on = object_from(&entries);
        entries.iter_mut().for_each(|(_, entry)| forget_id(entry));
        message.set("passthrough", object_from(&entries).to_json());
        Ok(Some(handed_on))
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
        let body_size = |object: &Object| object.get("body").map_or(0, |body| body.as_bytes().len());
        let total = body_size(message) + entries.iter().map(|(_, entry)| body_size(entry)).sum::<usize>();
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

    /// Makes a passthrough whole again: bodies that are only ids are fetched, and ids of bodies that are there go.
    pub(super) async fn internalize(&self, passthrough: &mut Object) -> anyhow::Result<()> {
        let mut entries = entries_of(passthrough);
        if entries.iter().all(|(_, entry)| object_id(&headers_of(entry)).is_none()) {
            return Ok(());
        }
        let is_empty = |entry: &Object| entry.get("body").is_none_or(Json::is_empty);
        for (index, body) in self.fetch_entries(&entries, is_empty).await? {
            entries[index].1.set("body", body);
        }
        entries.iter_mut().for_each(|(_, entry)| forget_id(entry));
        *passthrough = object_from(&entries);
        Ok(())
    }

    async fn fetch_entries(
        &self,
        entries: &Entries,
        wanted: impl Fn(&Object) -> bool,
    ) -> anyhow::Result<Vec<(usize, Json)>> {
        let wanted = entries.iter().enumerate().filter(|(_, (_, entry))| wanted(entry));
        let ids =
            wanted.filter_map(|(index, (_, entry))| object_id(&headers_of(entry)).map(|id| (index, id.to_owned())));
        try_join_all(ids.map(|(index, id)| async move { Ok((index, self.fetch(&id).await?)) })).await
    }

    /// The platform knows the sentence this fails with; the cause is for the log.
    async fn fetch(&self, id: &str) -> anyhow::Result<Json> {
        let fetched = async { anyhow::Ok(self.storage()?.get(id).await?) }.await;
        fetched.map_err(|cause| {
            tracing::error!("Object storage did not give a message body: {cause:#}");
            anyhow::anyhow!("Failed to get message body with id={id}")
        })
    }

    async fn store(&self, object: &mut Object) -> anyhow::Result<()> {
        let body = object.get("body").cloned().unwrap_or_else(|| Json::from(&Value::Null));
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
        self.0.as_ref().context(
            "no object storage is configured: set ELASTICIO_OBJECT_STORAGE_URI and ELASTICIO_OBJECT_STORAGE_TOKEN",
        )
    }
}

fn passthrough(message: &Object) -> Entries {
    let steps = message.get("passthrough").and_then(|steps| Object::read(steps.bytes()).ok());
    steps.map(|steps| entries_of(&steps)).unwrap_or_default()
}

fn entries_of(passthrough: &Object) -> Entries {
    let read = |(step, entry): (&str, &Json)| Some((step.to_owned(), Object::read(entry.bytes()).ok()?));
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
