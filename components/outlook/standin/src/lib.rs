//! A stand-in for Microsoft Graph v1.0 on loopback: mail, calendar and contacts of one user.
//!
//! It has lists with `$filter`, `$orderby`, `$select`, `$top` and next links, folders, attachments, moving, sending, and the
//! calendar view. It accepts the access tokens of a [`TokenIssuer`], and writes errors as Graph does. It is written from
//! Microsoft's documentation of Graph. It responds 501, with the feature's name, to anything else: other lists and
//! filters, series of events, the calendar view of events outside of UTC, large uploads, batches, delta queries.

mod calendar;
mod error;
mod mail;
mod query;
mod response;
mod routes;
mod samples;
mod state;

pub use http_double::{
    BrokenBody, EmptyList, Encoding, Fault, Limit, LimitStyle, RandomTrouble, RecordedCall,
    SlowBody, Trouble,
};

use bytes::Bytes;
use http_double::{ServiceDouble, TokenIssuer};
use serde_json::{Map, Value, json};
use state::{File, Item, State};
use std::io;

/// A running stand-in with the mailbox of one user. Clones are handles to the same one; it stops with the last.
///
/// The mailbox has the folders `inbox`, `sentitems` and `deleteditems`, and one calendar.
///
/// ```
/// use emulator::provider::{Provider, ProviderConfig};
/// use graph_standin::Graph;
/// use serde_json::json;
///
/// # async fn example() -> std::io::Result<()> {
/// let provider = Provider::start(ProviderConfig::default()).await?;
/// let graph = Graph::start(&provider).await?;
/// let id = graph.add_message("inbox", json!({ "subject": "Hello", "lastModifiedDateTime": "2024-05-01T10:00:00.25Z" }));
/// // … a component reads mail from `graph.url()` with the tokens of `provider.issue()` …
/// assert_eq!(graph.calls_matching("GET .*/messages").len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    double: ServiceDouble<State>,
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
    /// Listens on a free port of 127.0.0.1, and accepts the tokens of this issuer.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(tokens: &(impl TokenIssuer + Clone)) -> io::Result<Self> {
        let double = ServiceDouble::start(tokens.clone(), State::new()).await?;
        Ok(Self { double })
    }

    /// The base of all paths: `http://127.0.0.1:PORT/v1.0`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/v1.0", self.double.url())
    }

    /// All calls so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.double.calls().all()
    }

    /// The calls so far that match a regular expression on [`RecordedCall::line`].
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    #[must_use]
    pub fn calls_matching(&self, pattern: &str) -> Vec<RecordedCall> {
        self.double.calls().matching(pattern)
    }

    /// Injects faults into calls that match `pattern`, a regular expression on [`RecordedCall::line`]: one for each such
    /// call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn inject_faults(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.double.calls().inject_faults(pattern, faults);
    }

    /// What goes wrong with its responses from now on. Faults that were injected come before it.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.double.set_trouble(trouble);
    }

    /// Does something once, before the next call that matches `pattern` is carried out.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn before_response(&self, pattern: &str, work: impl FnOnce(&Self) + Send + 'static) {
        self.double.before_response(pattern, |double| {
            let double = double.clone();
            work(&Self { double });
        });
    }

    /// Limits the pages of lists to this many items, even if `$top` is larger.
    pub fn limit_pages(&self, items: usize) {
        self.double.service().page_size = items.max(1);
    }

    /// Adds a contact and returns its id: that of `fields`, or a new one. Times of change may have fractions of seconds:
    /// Graph compares with them, but returns whole seconds.
    pub fn add_contact(&self, fields: Value) -> String {
        let mut state = self.double.service();
        let id = state.id_of("contact", &fields);
        let contact = state.item(&id, "", fields);
        state.contacts.push(contact);
        id
    }

    /// Adds a folder, below another one unless `within` is empty, and returns its id.
    pub fn add_folder(&self, within: &str, name: &str) -> String {
        let id = self.double.service().new_id("folder");
        self.add_folder_with_id(&id, within, name)
    }

    fn add_folder_with_id(&self, id: &str, within: &str, name: &str) -> String {
        let mut state = self.double.service();
        let within = state
            .folder(within)
            .map(|folder| folder.id.clone())
            .unwrap_or_default();
        let folder = state.item(id, &within, json!({ "displayName": name }));
        state.folders.push(folder);
        id.to_owned()
    }

    /// Adds a message to a folder (its id or well-known name) and returns its id: that of `fields`, or a new one.
    ///
    /// # Panics
    /// When there is no such folder.
    pub fn add_message(&self, folder: &str, fields: Value) -> String {
        let mut state = self.double.service();
        let folder = state.folder(folder).expect("no such folder").id.clone();
        let id = state.id_of("message", &fields);
        let message = state.item(&id, &folder, fields);
        state.messages.push(message);
        id
    }

    /// Adds an attachment to a message and returns its id.
    pub fn attach(
        &self,
        message: &str,
        kind: AttachmentKind,
        name: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        let mut state = self.double.service();
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

    /// Adds a calendar and returns its id.
    pub fn add_calendar(&self, name: &str) -> String {
        let id = self.double.service().new_id("calendar");
        self.add_calendar_with_id(&id, name);
        id
    }

    fn add_calendar_with_id(&self, id: &str, name: &str) {
        let mut state = self.double.service();
        let calendar = state.item(id, "", json!({ "name": name }));
        state.calendars.push(calendar);
    }

    /// Adds an event to the default calendar and returns its id. `start` and `end` are in UTC: `2024-06-01T10:00:00`.
    pub fn add_event(&self, start: &str, end: &str, fields: Value) -> String {
        let mut state = self.double.service();
        let id = state.new_id("event");
        let mut event = state.item(&id, "calendar-id=", fields);
        for (name, time) in [("start", start), ("end", end)] {
            let time = json!({ "dateTime": format!("{time}.0000000"), "timeZone": "UTC" });
            event.fields.insert(name.to_owned(), time);
        }
        state.events.push(event);
        id
    }

    /// Changes a message, contact or event: it gets a new version, and the time of change in `fields`. False when there is
    /// none with this id.
    pub fn change(&self, id: &str, fields: Map<String, Value>) -> bool {
        self.double.service().change(id, fields)
    }

    /// The messages of a folder (its id or well-known name).
    #[must_use]
    pub fn messages(&self, folder: &str) -> Vec<Value> {
        let state = self.double.service();
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
        self.double
            .service()
            .events
            .iter()
            .filter(|event| event.within == calendar)
            .map(Item::shown)
            .collect()
    }

    /// The bodies of all calls of `sendMail` that were accepted.
    #[must_use]
    pub fn sent(&self) -> Vec<Value> {
        self.double.service().sent.clone()
    }

    /// Stops listening and ends open calls.
    pub async fn shutdown(&self) {
        self.double.shutdown().await;
    }
}
