//! One user's mailbox: folders, messages with attachments, contacts, calendars, events.

use bytes::Bytes;
use jiff::{SignedDuration, civil::date};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Something in a list. `fields` is more exact than Graph's responses: times have fractions of seconds.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) id: String,
    /// The folder or calendar that it is in.
    pub(super) within: String,
    pub(super) fields: Map<String, Value>,
    version: u32,
}

impl Item {
    /// A time that can be compared as text. In `start/dateTime`, the slash leads to a member.
    pub(super) fn time(&self, property: &str) -> Option<String> {
        let mut parts = property.split('/');
        let first = self.fields.get(parts.next()?)?;
        instant(
            parts
                .try_fold(first, |value, part| value.get(part))?
                .as_str()?,
        )
    }

    /// The item as Graph shows it, with whole seconds in times.
    pub(super) fn shown(&self) -> Value {
        let mut fields = self.fields.clone();
        for name in [
            "lastModifiedDateTime",
            "createdDateTime",
            "receivedDateTime",
        ] {
            if let Some(Value::String(time)) = fields.get_mut(name)
                && let Some((seconds, _)) = time.split_once('.')
            {
                *time = format!("{seconds}Z");
            }
        }
        fields.insert("id".to_owned(), self.id.clone().into());
        fields.insert("changeKey".to_owned(), self.change_key().into());
        fields.insert(
            "@odata.etag".to_owned(),
            format!("W/\"{}\"", self.change_key()).into(),
        );
        fields.into()
    }

    fn change_key(&self) -> String {
        format!("key/{}+{}=", self.id.len(), self.version)
    }
}

/// An attachment of a message.
pub(super) struct File {
    pub(super) message: String,
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) content_type: String,
    /// What the text of the message refers to an inline file by.
    pub(super) content_id: Option<String>,
    pub(super) bytes: Bytes,
}

/// How an item is broken.
#[derive(Clone, Copy)]
pub(super) struct Broken {
    pub(super) status: u16,
    /// Not even its id can be listed.
    pub(super) is_unlisted: bool,
}

/// Items of one kind, in the order in which they were added.
pub(super) type Items = Vec<Item>;

#[derive(Default)]
pub(super) struct State {
    /// Folders; `within` is empty at the top.
    pub(super) folders: Items,
    pub(super) messages: Items,
    pub(super) contacts: Items,
    pub(super) calendars: Items,
    pub(super) events: Items,
    pub(super) files: Vec<File>,
    pub(super) sent: Vec<Value>,
    /// What cannot be returned, by id.
    pub(super) broken: BTreeMap<String, Broken>,
    /// The largest page of a list.
    pub(super) page_size: usize,
    numbers: u32,
}

impl State {
    pub(super) fn new() -> Self {
        let mut state = Self {
            page_size: usize::MAX,
            ..Self::default()
        };
        for (id, name) in [
            ("inbox-id=", "Inbox"),
            ("sent-id=", "Sent Items"),
            ("deleted-id=", "Deleted Items"),
        ] {
            let folder = state.item(
                id,
                "",
                json!({ "displayName": name, "unreadItemCount": 0, "totalItemCount": 0 }),
            );
            state.folders.push(folder);
        }
        let calendar = state.item(
            "calendar-id=",
            "",
            json!({ "name": "Calendar", "isDefaultCalendar": true }),
        );
        state.calendars.push(calendar);
        state
    }

    /// A new item. Without times of its own it gets the current one. The mailbox's clock moves a second each time.
    pub(super) fn item(&mut self, id: &str, within: &str, fields: Value) -> Item {
        let now = self.now();
        let mut fields = if let Value::Object(fields) = fields {
            fields
        } else {
            Map::new()
        };
        for name in ["createdDateTime", "lastModifiedDateTime"] {
            fields.entry(name).or_insert_with(|| now.clone().into());
        }
        Item {
            id: id.to_owned(),
            within: within.to_owned(),
            fields,
            version: 1,
        }
    }

    /// An id like those of Exchange, with characters that must be encoded in a path.
    pub(super) fn new_id(&mut self, kind: &str) -> String {
        self.numbers += 1;
        format!("AAMk/{kind}+{}==", self.numbers)
    }

    /// The id in `fields`, or a new one.
    pub(super) fn id_of(&mut self, kind: &str, fields: &Value) -> String {
        fields["id"]
            .as_str()
            .map_or_else(|| self.new_id(kind), str::to_owned)
    }

    fn now(&mut self) -> String {
        self.numbers += 1;
        let time = date(2024, 6, 1).at(8, 0, 0, 0) + SignedDuration::from_secs(self.numbers.into());
        format!("{time}Z")
    }

    /// Changes an item. It gets a new version, and the time of change in `fields`, or the current one.
    pub(super) fn change(&mut self, id: &str, fields: Map<String, Value>) -> bool {
        let now = self.now();
        let all = self
            .messages
            .iter_mut()
            .chain(&mut self.contacts)
            .chain(&mut self.events);
        let Some(item) = all.into_iter().find(|item| item.id == id) else {
            return false;
        };
        item.fields
            .insert("lastModifiedDateTime".to_owned(), now.into());
        item.fields.extend(fields);
        item.version += 1;
        true
    }

    /// The folder with this id or well-known name.
    pub(super) fn folder(&self, name: &str) -> Option<&Item> {
        let id = match name {
            "inbox" => "inbox-id=",
            "sentitems" => "sent-id=",
            "deleteditems" => "deleted-id=",
            id => id,
        };
        self.folders.iter().find(|folder| folder.id == id)
    }

    /// A folder with the number of its child folders.
    pub(super) fn counted(&self, folder: &Item) -> Item {
        let mut folder = folder.clone();
        let count = self
            .folders
            .iter()
            .filter(|child| child.within == folder.id)
            .count();
        folder
            .fields
            .insert("childFolderCount".to_owned(), count.into());
        folder
    }
}

/// A time in UTC that can be compared as text; none when the text is not a time.
pub(super) fn instant(text: &str) -> Option<String> {
    let text = text.trim_matches('\'');
    let (seconds, fraction) = text
        .strip_suffix('Z')
        .unwrap_or(text)
        .split_once('.')
        .unwrap_or((text.trim_end_matches('Z'), ""));
    let shape: String = seconds
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let fits = shape == "0000-00-00T00:00:00"
        && fraction.len() <= 9
        && fraction.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| format!("{seconds}.{fraction:0<9}"))
}
