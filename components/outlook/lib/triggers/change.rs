//! The items of a list: what has changed, and what is at fault.

use crate::graph::{self, Item};
use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use sailor::{http::time_of, snapshot::Fingerprint};
use serde_json::Value;

/// How far clocks can differ. A later time of change is wrong.
const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(24);
/// The longest part of a text in an error.
const MAX_SHOWN: usize = 100;
/// The members that identify an item, for an item whose other members cannot be read.
pub const IDENTITY: &str = "id,changeKey,lastModifiedDateTime";

/// An item that is new or has changed.
pub struct Change {
    pub item: Item,
    pub id: String,
    pub version: String,
    pub at: Timestamp,
}

/// Something in a list that is passed over.
pub struct Fault {
    /// Identify it in this version. Any of them is enough.
    pub fingerprints: Vec<Fingerprint>,
    /// What identifies it for the user, and what is wrong.
    pub error: anyhow::Error,
}

impl Change {
    /// Reads an item of a list.
    pub fn of(item: Value) -> Result<Self, Fault> {
        let id = id(&item).map(str::to_owned);
        let at = item.get("lastModifiedDateTime").and_then(time_of);
        match (id, at, item) {
            (Some(id), Some(at), Value::Object(item)) => Ok(Self {
                id,
                version: version(&item),
                at,
                item: graph::without_annotations(item),
            }),
            (id, _, item) => Err(Fault::unusable(id, &item)),
        }
    }

    /// Identifies this version of the item.
    pub fn fingerprint(&self) -> Fingerprint {
        version_fingerprint(&self.id, &self.version)
    }

    /// Whether the time of change cannot be right. A position that follows it would skip all later changes.
    pub fn is_in_the_future(&self) -> bool {
        self.at
            > Timestamp::now()
                .saturating_add(MAX_CLOCK_DIFFERENCE)
                .unwrap_or(Timestamp::MAX)
    }

    /// The error for an item that can never be emitted.
    pub fn not_emitted(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!(
            "item {} is passed over: it cannot be emitted",
            self.id
        ))
    }
}

impl Fault {
    fn unusable(id: Option<String>, item: &Value) -> Self {
        let shown = match &id {
            Some(id) => format!("item {id}"),
            None => format!("an item without `id`{}", title(item)),
        };
        let reason = match (&id, item.get("lastModifiedDateTime")) {
            (None, _) => "without it, changes cannot be told apart".to_owned(),
            (_, None | Some(Value::Null)) => "it has no `lastModifiedDateTime`".to_owned(),
            (_, Some(time)) => format!(
                "the time {} in `lastModifiedDateTime` cannot be read",
                shortened(&time.to_string())
            ),
        };
        Self {
            fingerprints: vec![Fingerprint::of(&item.to_string())],
            error: anyhow!("{shown} is passed over: {reason}"),
        }
    }

    /// An item that Graph cannot return. `identity` has its [`IDENTITY`].
    pub fn unreadable(identity: &Value, error: anyhow::Error) -> Self {
        let id = id(identity).unwrap_or_default();
        let version = identity.as_object().map(version).unwrap_or_default();
        Self {
            fingerprints: vec![version_fingerprint(id, &version)],
            error: error.context(format!("item {id} is passed over: Graph cannot return it")),
        }
    }

    /// An item of which not even the id is known, at a place in the list at `path`.
    pub fn unidentified(path: &str, place: &Gap<'_>, error: anyhow::Error) -> Self {
        let shown = match (place.after, place.before) {
            (Some(after), Some(before)) => format!("the item between {after} and {before}"),
            (Some(after), None) => format!("the item after {after}"),
            (None, Some(before)) => format!("the item before {before}"),
            (None, None) => format!("the only item since {}", place.from),
        };
        // The items beside it can change, and the time moves. Usually one of them stays the same until the next poll.
        let after = match place.after {
            Some(after) => format!("{path} after {after} {}", place.from_start),
            None => format!("{path} since {} {}", place.from, place.from_start),
        };
        let before = place.before;
        let before = before.map(|before| format!("{path} before {before} {}", place.from_end));
        let places = [Some(after), before].into_iter().flatten();
        Self {
            fingerprints: places.map(|place| Fingerprint::of(&place)).collect(),
            error: error.context(format!(
                "{shown} in {path} is passed over: Graph cannot return it"
            )),
        }
    }
}

/// The place of an item among items that can be read.
pub struct Gap<'a> {
    /// All items changed at this time or later.
    pub from: Timestamp,
    /// The id of the last item before it that can be read.
    pub after: Option<&'a str>,
    /// The id of the first item after it that can be read.
    pub before: Option<&'a str>,
    /// How many others are between these and it.
    pub from_start: usize,
    pub from_end: usize,
}

/// The id of an item.
pub fn id(item: &Value) -> Option<&str> {
    item.get("id")?.as_str().filter(|id| !id.is_empty())
}

/// Identifies a version of an item.
pub fn version_fingerprint(id: &str, version: &str) -> Fingerprint {
    Fingerprint::of(&format!("{id} {version}"))
}

fn version(item: &Item) -> String {
    let version = item.get("changeKey").and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}

/// What a user recognizes an item without id by.
fn title(item: &Value) -> String {
    let names = ["subject", "displayName"].iter();
    let mut titles = names.filter_map(|name| item.get(name)?.as_str());
    titles
        .next()
        .map_or_else(String::new, |title| format!(" ({})", shortened(title)))
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}
