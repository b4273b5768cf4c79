//! Microsoft Graph v1.0, as far as mail, calendar and contacts of one user go: lists with `$filter`, `$orderby`,
//! `$select`, `$top` and next links, folders, attachments, moving, sending, the calendar view.
//!
//! It demands tokens of a [`Provider`] and refuses as Graph does. Written from Microsoft's documentation of Graph. What it
//! does not have is answered 501, by name: other lists and filters, series of events, the calendar view of events
//! outside of UTC, large uploads, batches, delta queries.

mod answer;
mod calendar;
mod mail;
mod query;
mod refusal;
mod routes;
mod samples;
mod state;

pub use super::calls::{Call, Fault};

use super::server::{Running, Shared};
use crate::provider::Provider;
use bytes::Bytes;
use serde_json::{Map, Value};
use state::{File, Item, State};
use std::{io, sync::Arc};

/// A running stand-in with the mailbox of one user. Clones are handles to the same one; it stops with the last.
///
/// The mailbox has the folders `inbox`, `sentitems` and `deleteditems`, and one calendar.
///
/// ```
/// use emulator::{provider::{Provider, ProviderConfig}, standins::graph::Graph};
/// use serde_json::json;
///
/// # async fn example() -> std::io::Result<()> {
/// let provider = Provider::start(ProviderConfig::default()).await?;
/// let graph = Graph::start(&provider).await?;
/// let id = graph.add_message("inbox", json!({ "subject": "Hello", "lastModifiedDateTime": "2024-05-01T10:00:00.25Z" }));
/// // … a component reads mail from `graph.url()` with the tokens of `provider.issue()` …
/// assert_eq!(graph.calls("GET .*/messages").len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    server: Arc<Running<State>>,
}

/// The kinds of attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A file.
    File,
    /// A message or an event; its value is MIME.
    Item,
    /// A link to a file elsewhere; it has no value.
    Reference,
}

impl Graph {
    /// Starts to listen on a free port of 127.0.0.1. Tokens of `provider` are let in.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(provider: &Provider) -> io::Result<Self> {
        Ok(Self {
            server: Running::start(provider.clone(), State::new()).await?.into(),
        })
    }

    fn shared(&self) -> &Shared<State> {
        &self.server.shared
    }

    /// The base of all paths: `http://127.0.0.1:PORT/v1.0`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/v1.0", self.shared().url())
    }

    /// The calls so far that match a regular expression on `METHOD /path?query`, the query decoded.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    #[must_use]
    pub fn calls(&self, pattern: &str) -> Vec<Call> {
        self.shared().calls.like(pattern)
    }

    /// Orders faults for calls that match `pattern` (as of [`calls`](Self::calls)): one for each such call, then all is
    /// as usual.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    pub fn fail(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared().calls.order(pattern, faults);
    }

    /// Has something happen when the next call that matches `pattern` comes, before it is answered: once.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    pub fn meanwhile(&self, pattern: &str, work: impl FnOnce(&Self) + Send + 'static) {
        // Weak, so that what never happens does not keep the mailbox alive.
        let server = Arc::downgrade(&self.server);
        let work = move || {
            if let Some(server) = server.upgrade() {
                work(&Self { server });
            }
        };
        self.shared().calls.meanwhile(pattern, Box::new(work));
    }

    /// From now on no page of a list has more items than this, whatever `$top` asks for.
    pub fn limit_pages(&self, items: usize) {
        self.shared().service().page_size = items.max(1);
    }

    /// Adds a contact and gives its id, which is that of `fields` where there is one. Times of change may have fractions
    /// of seconds: Graph compares with them, and shows whole seconds.
    pub fn add_contact(&self, fields: Value) -> String {
        let mut state = self.shared().service();
        let id = state.id_of("contact", &fields);
        let contact = state.item(&id, "", fields);
        state.contacts.push(contact);
        id
    }

    /// Adds a folder, below another one unless `within` is empty, and gives its id.
    pub fn add_folder(&self, within: &str, name: &str) -> String {
        let id = self.shared().service().new_id("folder");
        self.add_folder_with_id(&id, within, name)
    }

    fn add_folder_with_id(&self, id: &str, within: &str, name: &str) -> String {
        let mut state = self.shared().service();
        let within = state
            .folder(within)
            .map(|folder| folder.id.clone())
            .unwrap_or_default();
        let folder = state.item(id, &within, serde_json::json!({ "displayName": name }));
        state.folders.push(folder);
        id.to_owned()
    }

    /// Adds a message to a folder (its id or well-known name) and gives its id, which is that of `fields` where there is one.
    ///
    /// # Panics
    /// When there is no such folder.
    pub fn add_message(&self, folder: &str, fields: Value) -> String {
        let mut state = self.shared().service();
        let folder = state.folder(folder).expect("no such folder").id.clone();
        let id = state.id_of("message", &fields);
        let message = state.item(&id, &folder, fields);
        state.messages.push(message);
        id
    }

    /// Adds an attachment to a message and gives its id.
    pub fn attach(
        &self,
        message: &str,
        kind: AttachmentKind,
        name: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        let mut state = self.shared().service();
        let id = state.new_id("attachment");
        let file = File {
            message: message.to_owned(),
            id: id.clone(),
            kind: match kind {
                AttachmentKind::File => "#microsoft.graph.fileAttachment",
                AttachmentKind::Item => "#microsoft.graph.itemAttachment",
                AttachmentKind::Reference => "#microsoft.graph.referenceAttachment",
            },
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: bytes.into(),
        };
        state.files.push(file);
        if let Some(message) = state.messages.iter_mut().find(|known| known.id == message) {
            message
                .fields
                .insert("hasAttachments".to_owned(), true.into());
        }
        id
    }

    /// Adds a calendar and gives its id.
    pub fn add_calendar(&self, name: &str) -> String {
        let id = self.shared().service().new_id("calendar");
        self.add_calendar_with_id(&id, name);
        id
    }

    fn add_calendar_with_id(&self, id: &str, name: &str) {
        let mut state = self.shared().service();
        let calendar = state.item(id, "", serde_json::json!({ "name": name }));
        state.calendars.push(calendar);
    }

    /// Adds an event to the default calendar; `start` and `end` are in UTC, as `2024-06-01T10:00:00`. Gives its id.
    pub fn add_event(&self, start: &str, end: &str, fields: Value) -> String {
        let mut state = self.shared().service();
        let id = state.new_id("event");
        let mut event = state.item(&id, "calendar-id=", fields);
        for (name, time) in [("start", start), ("end", end)] {
            let time =
                serde_json::json!({ "dateTime": format!("{time}.0000000"), "timeZone": "UTC" });
            event.fields.insert(name.to_owned(), time);
        }
        state.events.push(event);
        id
    }

    /// Changes a message, contact or event: it has a new version, and the time of change that `fields` say. False when
    /// there is none of this id.
    pub fn change(&self, id: &str, fields: Map<String, Value>) -> bool {
        self.shared().service().change(id, fields)
    }

    /// The messages of a folder (its id or well-known name).
    #[must_use]
    pub fn messages(&self, folder: &str) -> Vec<Value> {
        let state = self.shared().service();
        let id = state
            .folder(folder)
            .map(|folder| folder.id.clone())
            .unwrap_or_default();
        state
            .messages
            .iter()
            .filter(|message| message.within == id)
            .map(Item::shown)
            .collect()
    }

    /// The events of a calendar.
    #[must_use]
    pub fn events(&self, calendar: &str) -> Vec<Value> {
        self.shared()
            .service()
            .events
            .iter()
            .filter(|event| event.within == calendar)
            .map(Item::shown)
            .collect()
    }

    /// What was sent: the bodies of all calls of `sendMail` that were accepted.
    #[must_use]
    pub fn sent(&self) -> Vec<Value> {
        self.shared().service().sent.clone()
    }

    /// Stops listening and ends calls that are under way.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}
